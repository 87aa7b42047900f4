"""The loops over sparse rows and sums come to what NumPy comes to, to the last bit."""

import pickle
from unittest.mock import patch

import numpy as np
import pytest
from scipy import sparse

from daskcluster import KMeans
from daskcluster.fit import lloyd
from daskcluster.kernels import exact, sparse_compiled
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.moments import SumMoments, exponent_above
from daskcluster.kernels.nearest import Nearest
from daskcluster.kernels.sparse import SparseRows
from daskcluster.kernels.sparse_centers import NearestSparse
from daskcluster.kernels.sparse_clusters import SparseSums, squared_shift
from daskcluster.kernels.sparse_drift import SparseDrift
from daskcluster.kernels.sparse_hard import AssignSparse
from daskcluster.sizing import Grid, sum_grid

pytest.importorskip("numba")

ORIGIN = Frame(None, 0)


@pytest.fixture
def both():
    """Calls a function with loops and without."""

    def call(function):
        with patch.object(sparse_compiled, "MANY", 0):
            looped = function()
        with patch.multiple(sparse_compiled, MANY=np.inf, WORTH_A_CALL=np.inf):
            return looped, function()

    return call


def documents(n=300, d=500, scale=1.0, dtype=np.float64, seed=0):
    """Short rows of a few frequent features and many rare ones, some empty, some repeated."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 30, n)
    row_of = np.repeat(np.arange(n), lengths)
    columns = (d * rng.random(len(row_of)) ** 3).astype(int)
    values = scale * rng.normal(size=len(row_of))
    table = sparse.csr_array((values, (row_of, columns)), shape=(n, d)).tolil()
    table[n // 2 : n // 2 + 20] = table[:20]
    return SparseRows.of(table.tocsr().astype(dtype))


def same_limbs(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize("scale", [1.0, 2.0**-300, 2.0**300])
def test_moments(both, scale):
    rows = documents(scale=scale)
    job = SumMoments(len(rows), "float64", exponent_above(np.abs(rows.data).max()))
    (sums, squares), (own_sums, own_squares) = both(lambda: job.step(Batch(0, rows), None)[0])
    assert same_limbs(sums, own_sums)
    assert same_limbs(squares, own_squares)


def test_integer_moments(both):
    rows = documents(scale=1e9, dtype=np.int64)
    job = SumMoments(len(rows), "int64", 0)
    found, own = both(lambda: job.step(Batch(0, rows), None)[0])
    assert all(same_limbs(a, b) for a, b in zip(found, own, strict=True))


def pass_of(rows, centers, previous, iteration=2, state=None):
    """What a pass finds; the labels before are those of ``previous``."""
    grid = sum_grid(len(rows), rows.dtype.name, exponent_above(np.abs(rows.data).max()))
    job = AssignSparse(centers, previous, iteration, ORIGIN, grid)
    return job.step(Batch(0, rows), state)


def centers_of(rows, n, seed=0):
    """Means of a few rows each, two of them equal, one of a row and one of none."""
    rng = np.random.default_rng(seed)
    picked = rng.choice(len(rows), (n, 5))
    dense = np.array([np.asarray(rows[some]).mean(axis=0) for some in picked])
    dense[1] = dense[0]
    dense[2] = rows[int(rows.lengths.argmax())]
    dense[-1] = 0
    return SparseRows.of(sparse.csr_array(dense))


@pytest.mark.parametrize("n_clusters", [4, 20, 40])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_pass(both, n_clusters, dtype):
    rows = documents(dtype=dtype)
    before, after = (centers_of(rows, n_clusters, seed) for seed in (0, 1))
    for previous in (None, before):
        (found, state), (own, own_state) = both(lambda p=previous: pass_of(rows, after, p))
        assert np.array_equal(state.labels, own_state.labels)
        assert np.array_equal(found.counts, own.counts)
        assert found.changed == own.changed
        assert np.array_equal(found.sums.places, own.sums.places)
        assert same_limbs(found.sums.limbs, own.sums.limbs)


@pytest.mark.parametrize("exponent", [0, -300, 300])
@pytest.mark.parametrize("step", [0.0, 1e-12, 1e-4, 0.1])
def test_rows_left_alone_keep_their_label(both, exponent, step):
    """Centres that move a little, one of them not, and one twice as far as the others."""
    rows, frame = documents(scale=2.0**exponent), Frame(None, exponent)
    start = np.asarray(centers_of(rows, 20))[1:]
    moves = step * start * np.random.default_rng(3).uniform(-1, 1, start.shape)
    moves[4], moves[5] = 0, 2 * moves[5]
    before, after = (SparseRows.of(sparse.csr_array(c)) for c in (start, start + moves))
    grid = sum_grid(len(rows), "float64", exponent_above(np.abs(rows.data).max()))

    def labelled():
        _, state = AssignSparse(before, None, 1, frame, grid).step(Batch(0, rows), None)
        job = AssignSparse(after, before, 2, frame, grid, bounded=True)
        left_alone = job._drift.narrowed(state.labels, state.norms, state.gaps) > 0
        return left_alone, *job.step(Batch(0, rows), state)

    exactly = [exact.nearest(row, start + moves) for row in np.asarray(rows)]
    for left_alone, partial, state in both(labelled):
        assert state.labels.tolist() == exactly
        full = NearestSparse(after, frame).find(rows)
        assert (state.gaps <= full.gaps * 1.001 + 1e-9).all()
        assert left_alone.mean() > 0.5 if step <= 1e-4 else left_alone.mean() < 1
        assert partial.changed <= (~left_alone).sum()


def test_a_gap_beyond_float32_proves_nothing_for_ever():
    """A centre comes from 1e30 away to where it is the nearest."""
    rows = SparseRows.of(sparse.csr_array([[1.0, 0.0], [0.0, 1.0]]))
    far, near = (SparseRows.of(sparse.csr_array([[1.0, 0.0], [0.0, y]])) for y in (1e30, 1.0))
    grid = sum_grid(2, "float64", 2)
    _, state = AssignSparse(far, None, 1, ORIGIN, grid).step(Batch(0, rows), None)
    job = AssignSparse(near, far, 2, ORIGIN, grid, bounded=True)
    assert job.step(Batch(0, rows), state)[1].labels.tolist() == [0, 1]


def test_a_fit_whose_late_passes_are_bounded(monkeypatch):
    rows = documents(n=600).matrix()
    passes, models = [], []
    narrowed = SparseDrift.narrowed
    monkeypatch.setattr(SparseDrift, "narrowed", lambda *a: passes.append(1) or narrowed(*a))
    for few, seen in ((10**9, False), (1, True)):
        monkeypatch.setattr(lloyd, "_FEW", few)
        models.append(KMeans(8, random_state=0, tol=0).fit(rows))
        assert bool(passes) == seen
    wanted, model = models
    np.testing.assert_array_equal(model.labels_, wanted.labels_)
    np.testing.assert_array_equal(model.cluster_centers_, wanted.cluster_centers_)
    assert model.inertia_ == wanted.inertia_


def test_columns_are_left_to_the_next_iteration():
    """And only as long as somebody holds the room."""
    rows, centers = documents(), [centers_of(documents(), 20, seed) for seed in (0, 1)]
    first, second = (NearestSparse(c, ORIGIN) for c in centers)
    with patch.object(sparse_compiled, "MANY", 0):
        room, columns = first.room, first._columns32
        place, wanted = columns.ctypes.data, NearestSparse(centers[1], ORIGIN)._columns32.copy()
        second.join(room)
        del first, columns
        assert second._columns32.ctypes.data == place
        np.testing.assert_array_equal(second._columns32, wanted)
        assert second.find(rows).labels.any()
    assert pickle.loads(pickle.dumps(room))._left == []


def test_labels_of_dense_centers(both):
    rows = documents()
    centers = centers_of(rows, 20)
    dense = np.asarray(centers)
    labels, own = both(lambda: Nearest(dense, ORIGIN).find(rows).labels)
    assert np.array_equal(labels, own)
    exactly = [exact.nearest(row, dense) for row in np.asarray(rows)]
    assert labels.tolist() == exactly
    with patch.object(sparse_compiled, "MANY", 0):
        assert NearestSparse(centers, ORIGIN).find(rows).labels.tolist() == exactly


@pytest.mark.parametrize("exponent", [-1040, -300, 300])
def test_labels_in_a_frame(exponent):
    rows = documents(scale=2.0**exponent)
    centers = centers_of(rows, 20)
    with patch.object(sparse_compiled, "MANY", 0):
        found = NearestSparse(centers, Frame(None, exponent)).find(rows)
    dense = np.asarray(centers)
    assert found.labels.tolist() == [exact.nearest(row, dense) for row in np.asarray(rows)]
    assert (found.gaps[found.gaps > 0] < 1e4).all()


def test_what_float32_cannot_tell_stays_open():
    """Gaps are never above what they bound; nothing is known of numbers beyond float32."""
    rows, far = documents(), documents(scale=2.0**80)
    # Without the centre that is there twice: it may leave, at no distance.
    centers, others = (centers_of(some, 20)[1:] for some in (rows, far))
    with patch.object(sparse_compiled, "MANY", 0):
        found = NearestSparse(centers, ORIGIN).find(rows)
        huge = NearestSparse(others, ORIGIN).find(far)
    difference = np.asarray(rows)[:, np.newaxis] - np.asarray(centers)
    distances = np.sort(np.square(difference).sum(axis=2), axis=1)
    assert (found.gaps <= distances[:, 1] - distances[:, 0] + 1e-12).all()
    assert found.gaps.any()
    assert not huge.gaps.any()


def sums_of(rows, labels, n_clusters, grid):
    limbs = exact.to_grid(rows.data.astype(np.float64), grid)
    places = labels[rows.row_of] * np.int64(rows.n_features) + rows.indices
    return SparseSums.gathered(n_clusters, rows.n_features, places, limbs)


def test_sums_means_and_inertia(both):
    rows, k = documents(), 20
    grid = sum_grid(len(rows), "float64", exponent_above(np.abs(rows.data).max()))
    labels = np.random.default_rng(3).integers(0, k, len(rows))
    counts = np.bincount(labels, minlength=k)
    whole = sums_of(rows, labels, k, grid)
    part, rest = (sums_of(rows[run], labels[run], k, grid) for run in (slice(90), slice(90, None)))
    minus = SparseSums(k, rows.n_features, part.places, exact.carry(-part.limbs))
    for a, b, expected in ((part, rest, whole), (whole, minus, rest)):
        for total in both(lambda a=a, b=b: a.plus(b)):
            assert np.array_equal(total.places, expected.places)
            assert same_limbs(total.limbs, expected.limbs)
    means, own = both(lambda: whole.means(counts, grid))
    assert np.array_equal(means.data, own.data)
    others = centers_of(rows, k)
    squares = exact.scaled(sum(exact.to_ints(exact.to_grid(rows.data**2, grid))), grid.exponent)
    for centers in (means, others):
        dense = np.asarray(centers)
        expected = exact.inertia(squares, whole.dense(), counts, dense, grid)
        assert both(lambda c=centers: whole.inertia(squares, counts, c, grid)) == (expected,) * 2
    shift, own_shift = both(lambda: squared_shift(means, others, 0))
    assert shift == own_shift > 0


def test_quotients_of_large_and_small_sums(both):
    """Where both limbs matter, of either sign."""
    rng = np.random.default_rng(5)
    values = [int(v) << int(s) for v, s in zip(rng.integers(-(2**40), 2**40, 400),
                                               rng.integers(0, 50, 400), strict=True)]  # fmt: skip
    limbs, grid = exact.from_ints(values, 2), Grid(-77, 2)
    sums = SparseSums(1, 400, np.arange(400), limbs)
    found, own = both(lambda: sums.means(np.array([7]), grid))
    assert np.array_equal(found.data, own.data)
    exactly = [float(exact.scaled(value, grid.exponent) / 7) for value in values]
    assert found.data.tolist() == exactly


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_fit(both, metric):
    rows = documents(n=1200, d=3000).matrix()
    model, own = both(
        lambda: KMeans(6, metric=metric, random_state=0, tol=0, max_iter=20).fit(rows)
    )
    assert np.array_equal(model.labels_, own.labels_)
    assert np.array_equal(model.predict(rows), model.labels_)
    assert np.array_equal(model.cluster_centers_, own.cluster_centers_)
    assert (model.inertia_, model.history_) == (own.inertia_, own.history_)
