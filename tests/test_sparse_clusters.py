"""Sparse sums and centres hold what dense ones hold, to the last bit."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from strategies import CHECK, FEW, centers_for, tables
from test_moments import moments_of

from daskcluster import KMeans
from daskcluster.fit import data as fit_data
from daskcluster.fit.lloyd import Progression
from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import frame_of, unmoved
from daskcluster.kernels.hard import Assign
from daskcluster.kernels.nearest import Nearest
from daskcluster.kernels.sparse import SparseRows
from daskcluster.kernels.sparse_centers import NearestSparse
from daskcluster.kernels.sparse_clusters import SparseSums, same, squared_shift
from daskcluster.kernels.sparse_hard import AssignSparse
from daskcluster.sizing import Grid


def as_sparse(table):
    return SparseRows.of(sparse.csr_array(table))


def dense_sums(data, n_limbs, k, d):
    """Carried limbs of which some are 0."""
    values = data.draw(st.lists(
        st.one_of(st.just(0), st.integers(-(2 ** (48 * n_limbs - 8)), 2 ** (48 * n_limbs - 8))),
        min_size=k * d, max_size=k * d,
    ))  # fmt: skip
    return exact.from_ints(values, n_limbs).reshape(n_limbs, k, d)


@given(st.data())
@CHECK
def test_sums_add_up_as_dense_ones(data):
    n_limbs, k, d = (data.draw(st.integers(1, 3)) for _ in range(3))
    a, b = dense_sums(data, n_limbs, k, d), dense_sums(data, n_limbs, k, d)
    if data.draw(st.booleans()):
        b[:, 0] = exact.carry(-a[:, 0].copy())  # what cancels is not kept
    found = SparseSums.of(a).plus(SparseSums.of(b))
    wanted = exact.carry(a + b)
    np.testing.assert_array_equal(found.dense(), wanted)
    assert len(found.places) == np.count_nonzero(wanted.any(axis=0))
    assert (np.diff(found.places) > 0).all()


@given(st.data())
@CHECK
def test_elements_are_gathered_by_place(data):
    k, d = 3, 4
    places = np.array(data.draw(st.lists(st.integers(0, k * d - 1), max_size=30)), dtype=np.int64)
    n = len(places)
    limbs = np.array(
        [data.draw(st.lists(st.integers(-(2**40), 2**40), min_size=n, max_size=n)) for _ in "ab"],
        dtype=np.int64,
    ).reshape(2, n)
    wanted = np.zeros((2, k * d), dtype=np.int64)
    for limb, into in zip(limbs, wanted, strict=True):
        np.add.at(into, places, limb)
    found = SparseSums.gathered(k, d, places, limbs)
    np.testing.assert_array_equal(found.dense().reshape(2, -1), exact.carry(wanted))


@given(st.data())
@CHECK
def test_means_and_inertia_are_those_of_dense_sums(data):
    n_limbs, k, d = (data.draw(st.integers(1, 3)) for _ in range(3))
    sums = dense_sums(data, n_limbs, k, d)
    counts = np.array(data.draw(st.lists(st.integers(1, 2**40), min_size=k, max_size=k)))
    grid = Grid(data.draw(st.sampled_from([0, -60, -30, 7, -380, -420, -1000])), n_limbs)
    found = SparseSums.of(sums)
    means = found.means(counts, grid)
    wanted = exact.mean(sums, counts, grid)
    np.testing.assert_array_equal(np.asarray(means), wanted)
    others = data.draw(st.sampled_from([wanted, wanted * 1.25, np.zeros_like(wanted)]))
    # Squares that leave the inertia near the others' size, and such that nearly all cancels.
    squares = data.draw(st.sampled_from([
        Fraction(float(np.abs(wanted).max())) ** 2 * int(counts.sum()),
        -exact.own_terms(sums, counts, others, grid), Fraction(0),
    ]))  # fmt: skip
    ours = found.inertia(squares, counts, as_sparse(others), grid)
    assert ours == exact.inertia(squares, sums, counts, others, grid)


def test_most_inertias_need_no_integers(monkeypatch, rng):
    """Of data as it is; else the certificate would be worth nothing."""
    table = rng.random((400, 300)) * (rng.random((400, 300)) < 0.05)
    exactly = []
    monkeypatch.setattr(
        SparseSums, "_exactly", lambda self, *rest: exactly.append(rest) or float("nan")
    )
    model = KMeans(5, random_state=0, tol=0).fit(sparse.csr_array(table))
    assert model.n_iter_ > 3
    assert not exactly


@given(st.data())
@CHECK
def test_labels_are_those_of_dense_centres(data):
    table = data.draw(tables())
    centers = data.draw(centers_for(table))
    if data.draw(st.booleans()):
        centers = np.concatenate([centers, centers[:1]])
    frame = unmoved(frame_of(centers))
    wanted = Nearest(centers, frame).find(as_sparse(table))
    found = NearestSparse(as_sparse(centers), frame)
    got = found.find(as_sparse(table))
    np.testing.assert_array_equal(got.labels, wanted.labels)
    again = found.find(as_sparse(table), got.norms)
    np.testing.assert_array_equal(again.labels, wanted.labels)
    assert found.repeats == Nearest(centers, frame).repeats


@given(st.data())
@FEW
def test_steps_are_those_of_dense_centres(data):
    table = data.draw(tables())
    weights = None
    if data.draw(st.booleans()):
        draws = st.lists(st.integers(0, 5), min_size=len(table), max_size=len(table))
        weights = np.array(data.draw(draws))
    batch = Batch(0, as_sparse(table), weights=weights)
    first, second = (data.draw(centers_for(table)) for _ in range(2))
    second = np.resize(second, first.shape)
    grid = moments_of(table).sum_grid
    if weights is not None:
        grid = Grid(grid.exponent, max(grid.n_limbs, 2))
    frame = unmoved(frame_of(first))
    wanted = Assign(first, None, 1, frame, grid).step(batch, None)[0]
    partial, state = AssignSparse(as_sparse(first), None, 1, frame, grid).step(batch, None)
    after = Assign(second, first, 2, frame, grid).step(batch, None)[0]
    job = AssignSparse(as_sparse(second), as_sparse(first), 2, frame, grid)
    for kept in (state, None):
        change, _ = job.step(batch, kept)
        np.testing.assert_array_equal(change.sums.dense(), exact.carry(after.sums.copy()))
        np.testing.assert_array_equal(change.counts, after.counts)
        assert change.changed == after.changed
    np.testing.assert_array_equal(partial.sums.dense(), exact.carry(wanted.sums.copy()))
    both = job.merge(partial, change)
    np.testing.assert_array_equal(both.sums.dense(), exact.carry(wanted.sums + after.sums))


@given(st.data())
@CHECK
def test_shifts_and_equality(data):
    table = data.draw(tables(max_rows=4)).astype(np.float64)
    if np.abs(table).max() > 1e100:
        return
    other = table.copy()
    other[0, 0] += data.draw(st.sampled_from([0.0, 1.0, -table[0, 0]]))
    a, b = as_sparse(table), as_sparse(other)
    assert same(a, b) == np.array_equal(table, other)
    np.testing.assert_allclose(squared_shift(a, b, 3), (((table - other) / 8) ** 2).sum())


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_fits_by_sparse_and_by_dense_centres_are_alike(monkeypatch, rng, metric):
    matrix = sparse.random_array((900, 200), density=0.05, rng=rng, format="csr")
    options = {"init": matrix[:7].toarray(), "tol": 0, "metric": metric}
    found = KMeans(7, **options).fit(matrix)
    monkeypatch.setattr(fit_data, "WIDE_FEATURES", 0)
    wanted = KMeans(7, **options).fit(matrix)
    assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
    np.testing.assert_array_equal(found.labels_, wanted.labels_)
    names = ("inertia", "changed", "empty")
    histories = [[[e[n] for n in names] for e in model.history_] for model in (found, wanted)]
    assert histories[0] == histories[1]


def test_the_state_of_a_run_is_kept_and_restored(rng):
    table = rng.random((30, 9)) * (rng.random((30, 9)) < 0.3)
    grid = moments_of(table).sum_grid
    job = AssignSparse(as_sparse(table[:3]), None, 1, unmoved(frame_of(table)), grid)
    run = Progression(job.centers)
    run.add(job.step(Batch(0, as_sparse(table)), None)[0])
    run.previous, run.history = job.centers, [{"iteration": 1}]
    again = Progression.from_state(run.to_state())
    assert same(again.centers, run.centers)
    assert same(again.previous, run.previous)
    np.testing.assert_array_equal(again.total.sums.dense(), run.total.sums.dense())
    np.testing.assert_array_equal(again.total.counts, run.total.counts)
