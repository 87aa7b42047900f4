"""Compiled loops against the same oracles as NumPy's, and against NumPy itself."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import centers_for, frames_for, grid_for, tables
from test_bounds import moves_for
from test_projection import crooked, images, some_means

from daskcluster import KMeans
from daskcluster.kernels import compiled
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.bounds import Drift
from daskcluster.kernels.compiled import is_plain
from daskcluster.kernels.frame import Frame, centered
from daskcluster.kernels.hard import Assign
from daskcluster.kernels.nearest import Nearest
from daskcluster.kernels.prepared import move
from daskcluster.kernels.projection import Basis, Narrow, basis_of, sketch_of
from daskcluster.kernels.together import Together

pytest.importorskip("numba")


@given(tables(), st.data())
@settings(max_examples=50, deadline=None)
def test_labels_and_bounds_over_many_moves(table, data):
    centers = data.draw(centers_for(table))
    frame = data.draw(st.sampled_from(frames_for(centers)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    basis = crooked(rng, data.draw(st.integers(1, table.shape[1])), table.shape[1])
    grid, batch = grid_for(table), Batch(0, table)
    paired = data.draw(st.booleans())
    previous, state, total = None, None, None
    for iteration in range(4):
        job = Assign(centers, previous, iteration, frame, grid, True, basis, True, paired)
        asked = job.ask(state)
        seen = batch
        if asked.rows is not None and data.draw(st.booleans()):
            seen = batch.pick(asked.rows)
        partial, state = job.step(seen, asked)
        labels = reference.nearest(table, centers)
        np.testing.assert_array_equal(state.labels, labels)
        total = partial if total is None else job.merge(total, partial)
        whole = Assign(centers, None, 0, frame, grid).step(batch, None)[0]
        np.testing.assert_array_equal(total.sums, whole.sums)
        np.testing.assert_array_equal(total.counts, whole.counts)
        check_bounds(table, centers, frame, state)
        if state.pairs is not None:
            check_pairs(table, centers, frame, state)
        previous, centers = centers, moves_for(data, centers)


@given(tables(), st.data())
@settings(max_examples=30, deadline=None)
def test_one_tall_product_serves_several_models(table, data):
    models = data.draw(st.lists(centers_for(table), min_size=2, max_size=3))
    frame = centered(Frame(None, 0), np.mean(table, axis=0, dtype=np.float64))
    grid, batch = grid_for(table), Batch(0, table)
    first = Together(tuple(Assign(c, None, 0, frame, grid, True, None, True) for c in models))
    plain = is_plain(table, frame)
    looked = [job for job in first.jobs if plain and not job.nearest.repeats]
    found = first._looked(batch, [None] * len(models))
    assert len(found) == (len(looked) if len(looked) > 1 else 0)
    partials, states = first.step(batch, None)
    for i, (centers, partial) in enumerate(zip(models, partials, strict=True)):
        state = states[i][1]
        np.testing.assert_array_equal(state.labels, reference.nearest(table, centers))
        alone = Assign(centers, None, 0, frame, grid).step(batch, None)[0]
        np.testing.assert_array_equal(partial.sums, alone.sums)
        check_bounds(table, centers, frame, state)


def check_bounds(table, centers, frame, state):
    scale = reference.Fraction(4) ** frame.exponent
    own = reference.fractions(centers)
    for row, label, gap, radius in zip(
        reference.fractions(table), state.labels, state.gaps, state.radii, strict=True
    ):
        squares = [reference.distance(row, center) / scale for center in own]
        mine = squares.pop(label)
        assert not radius < np.inf or mine <= reference.Fraction(float(radius)) ** 2
        if squares and np.isfinite(gap):
            assert reference.Fraction(float(gap)) <= max(min(squares) - mine, 0)


def check_pairs(table, centers, frame, state):
    scale = reference.Fraction(4) ** frame.exponent
    own, k = reference.fractions(centers), len(centers)
    # Lanes that are no centre's never look lost.
    assert (state.pairs[:, k:] > 0).all()
    for row, label, gaps in zip(
        reference.fractions(table), state.labels, state.pairs[:, :k], strict=True
    ):
        squares = [reference.distance(row, center) / scale for center in own]
        for j, bound in enumerate(gaps.tolist()):
            assert j == label or reference.Fraction(bound) <= squares[j] - squares[label]


@pytest.mark.parametrize("paired", [False, True])
def test_centres_so_far_that_scores_overflow(paired):
    """They come near step by step, and are not forgotten on the way."""
    far = np.sqrt(float(np.finfo(np.float32).max)) * (1 - 2.0**-22)
    near = 3e16
    table = np.array([[-near, 0], [-near, 1e12], [near, 0], [near, -1e12]] * 8, np.float32)
    basis, frame, grid = (
        Basis(np.eye(2, dtype=np.float32), 1e-7, 1.0),
        Frame(None, 0),
        grid_for(table),
    )
    previous = state = None
    for iteration, third in enumerate([far, far, far, far * 0.75, far / 2, far / 4, 4e9 - near]):
        centers = np.array([[-near, 0], [near, 0], [third, 0]])
        if third < 0:
            centers[0, 0] = 4e11 - near
        job = Assign(centers, previous, iteration, frame, grid, True, basis, True, paired)
        state = job.step(Batch(0, table), job.ask(state))[1]
        np.testing.assert_array_equal(state.labels, reference.nearest(table, centers))
        assert state.pairs is None or np.isfinite(state.pairs).all()
        previous = centers


def test_each_loop_says_what_numpy_says():
    rows, start = images()
    frame = centered(Frame(None, 0), rows.mean(axis=0))
    before = some_means(rows, start)
    after = before + np.random.default_rng(1).normal(size=before.shape)
    found = Nearest(before, frame).find(rows)
    drift = Drift(before, after, frame)
    gaps, radii = drift.widen(found.labels, found.gaps, found.radii)
    own_gaps, own_radii = found.gaps.copy(), found.radii.copy()
    loose = compiled.widen(drift, found.labels, own_gaps, own_radii)
    # Two orders of float32 operations on gaps of some 1e5, cancelled where they are near 0.
    np.testing.assert_allclose(own_gaps, gaps, rtol=1e-4, atol=1)
    np.testing.assert_allclose(own_radii, radii, rtol=1e-6)
    np.testing.assert_array_equal(loose, np.flatnonzero(~(own_gaps > 0)))

    basis = basis_of(rows, frame, 24)
    sketch, narrow = (
        sketch_of(rows, found.norms, frame, basis),
        Narrow(move(after, frame), frame, basis),
    )
    expected = narrow.narrow(sketch, found.norms, loose)
    open_rows, reach = compiled.narrow(
        narrow, sketch, loose, found.labels, found.norms, own_gaps, own_radii
    )
    keeps = (expected.gaps > 0) & (expected.labels == found.labels[loose])
    np.testing.assert_array_equal(open_rows, loose[~keeps])
    proved = loose[keeps]
    # Here products of another order too, of scores up to 1e6: float32 leaves 0.1 of each of them.
    np.testing.assert_allclose(own_gaps[proved], expected.gaps[keeps], rtol=1e-5, atol=1)

    labels = found.labels.copy()
    same = compiled.compare(
        Nearest(after, frame), rows, open_rows, open_rows, reach,
        labels, found.norms, own_gaps, own_radii,
    )  # fmt: skip
    np.testing.assert_array_equal(same, found.labels[open_rows])
    np.testing.assert_array_equal(labels, Nearest(after, frame).find(rows).labels)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("offset", [0, 10_000])
def test_a_fit_of_any_type(monkeypatch, dtype, offset):
    monkeypatch.setattr(compiled, "WORTHWHILE", 0)
    rows, start = images(n=1500)
    rows = (rows.astype(np.int32) + (0 if dtype == "uint8" else offset)).astype(dtype)
    init = rows[start].astype(np.float64)
    expected = KMeans(20, init=init, tol=0, algorithm="lloyd").fit(rows)
    for algorithm in ("hamerly", "projection"):
        model = KMeans(20, init=init, tol=0, algorithm=algorithm).fit(rows)
        assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
        assert (model.inertia_, model.n_iter_) == (expected.inertia_, expected.n_iter_)
        np.testing.assert_array_equal(model.labels_, expected.labels_)


def test_adversarial_rows(monkeypatch):
    """Duplicates, exact ties, constant columns, only 255s, clusters 1e-6 apart, k = n."""
    monkeypatch.setattr(compiled, "WORTHWHILE", 0)
    rng = np.random.default_rng(0)
    d = 300
    close = np.repeat(rng.normal(size=(4, 1, d)), 40, 0).reshape(-1, d)
    tables = {
        "duplicates": np.repeat(rng.integers(0, 9, (20, d)), 8, 0).astype(np.uint8),
        "ties": (rng.integers(0, 2, (200, d)) * 2).astype(np.uint8),
        "constant": np.where(np.arange(d) % 7, 3, rng.integers(0, 255, (200, d))).astype(np.uint8),
        "only 255": np.full((50, d), 255, np.uint8),
        "close": close + 1e-6 * rng.integers(0, 4, (len(close), 1)),
        "far": 1e6 + rng.normal(size=(200, d)),
    }
    for name, table in tables.items():
        for k in (2, 5, len(np.unique(table, axis=0))):
            init = np.unique(table, axis=0)[:k].astype(np.float64)
            results = [
                KMeans(len(init), init=init, tol=0, algorithm=a).fit(table)
                for a in ("lloyd", "hamerly", "projection")
            ]
            first = results[0]
            np.testing.assert_array_equal(
                first.labels_, reference.nearest(table, first.cluster_centers_), err_msg=name
            )
            for other in results[1:]:
                assert other.cluster_centers_.tobytes() == first.cluster_centers_.tobytes(), name
                assert other.inertia_ == first.inertia_
                np.testing.assert_array_equal(other.labels_, first.labels_, err_msg=name)
