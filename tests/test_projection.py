"""Bounds from a few coordinates: never above the truth, whatever the directions."""

from copy import deepcopy

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK, centers_for, frames_for, grid_for, tables

from daskcluster import KMeans, convert_npy
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.compiled_centers import CompiledNarrow
from daskcluster.kernels.frame import Frame, centered
from daskcluster.kernels.hard import Assign
from daskcluster.kernels.nearest import Nearest
from daskcluster.kernels.projection import Basis, Narrow, basis_of, sketch_of
from daskcluster.sizing import n_directions, projection_bytes


def crooked(rng, n_directions, n_features):
    """Directions that are only nearly orthonormal."""
    exact = np.linalg.qr(rng.normal(size=(n_features, n_directions)))[0].T
    vectors = (exact + 1e-4 * rng.normal(size=exact.shape)).astype(np.float32)
    wide = vectors.astype(np.float64)
    skew = float(np.linalg.norm(wide @ wide.T - np.eye(n_directions)) * 1.001)
    return Basis(vectors, skew, 1.0)


def bases_for(data, table, frame):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    p = data.draw(st.integers(1, table.shape[1]))
    return data.draw(st.sampled_from([crooked(rng, p, table.shape[1]), basis_of(table, frame, p)]))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("kind", [Narrow, CompiledNarrow])
@given(tables(max_rows=12), st.data())
@CHECK
def test_bounds_hold_in_exact_arithmetic(kind, table, data):
    if kind is CompiledNarrow:
        pytest.importorskip("numba")
    centers = data.draw(centers_for(table))
    frame = data.draw(st.sampled_from(frames_for(centers)))
    nearest = Nearest(centers, frame)
    norms = nearest.labels(table)[1]
    with np.errstate(all="ignore"):
        basis = bases_for(data, table, frame)
    sketch = sketch_of(table, norms, frame, basis)
    at = np.arange(len(table))
    with np.errstate(all="ignore"):
        found = kind(nearest.moved, frame, basis).narrow(sketch, norms, at)
    scale = reference.Fraction(4) ** frame.exponent
    own = reference.fractions(nearest.centers)
    for i, row in enumerate(reference.fractions(table)):
        squares = [reference.distance(row, center) / scale for center in own]
        mine = squares.pop(found.labels[i])
        radius, gap = found.radii[i], found.gaps[i]
        assert not radius < np.inf or mine <= reference.Fraction(float(radius)) ** 2
        if squares and np.isfinite(gap):
            assert reference.Fraction(float(gap)) <= min(squares) - mine
        assert not (squares and gap == np.inf)


def images(n=3000, d=256, k=20, seed=0):
    """Rows that vary in few directions, as images do."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(24, d)) * np.linspace(3, 0.2, 24)[:, None]
    rows = rng.normal(size=(n, 24)) @ mixing + 0.3 * rng.normal(size=(n, d))
    return np.clip(rows * 20 + 128, 0, 255).astype(np.uint8), rng.choice(n, k, replace=False)


def some_means(rows, start):
    """Means of rows: what a fit's centres are after the first iteration."""
    model = KMeans(len(start), init=rows[start].astype(float), max_iter=5)
    return model.fit(rows).cluster_centers_


def test_leading_directions_prove_most_labels():
    rows, start = images()
    frame = centered(Frame(None, 0), rows.mean(axis=0))
    centers = some_means(rows, start)
    nearest = Nearest(centers, frame)
    found = nearest.find(rows)
    basis = basis_of(rows[::3], frame, 24)
    assert basis.share > 0.85
    sketch = sketch_of(rows, found.norms, frame, basis)
    assert sketch.nbytes == len(rows) * projection_bytes(24)
    at = np.flatnonzero(np.arange(len(rows)) % 2)
    narrowed = Narrow(nearest.moved, frame, basis).narrow(sketch, found.norms, at)
    proved = narrowed.gaps > 0
    assert proved.mean() > 0.6
    np.testing.assert_array_equal(narrowed.labels[proved], found.labels[at][proved])


def test_sketches_outlive_iterations_and_restarts():
    rows, start = images(n=500)
    frame = centered(Frame(None, 0), rows.mean(axis=0))
    grid, basis = grid_for(rows), basis_of(rows, frame, 24)
    centers = some_means(rows, start)
    first = Assign(centers, None, 1, frame, grid, basis=basis)
    state = first.step(Batch(0, rows), first.ask(None))[1]
    again = Assign(centers + 1, None, 40, frame, grid, basis=basis)
    later = again.step(Batch(0, rows), again.ask(state))[1]
    assert later.sketch is state.sketch is not None
    moved = centers + 6 * np.random.default_rng(1).normal(size=centers.shape)
    follows = Assign(moved, centers + 1, 41, frame, grid, basis=basis)
    plain = Assign(moved, centers + 1, 41, frame, grid)
    many = plain.ask(deepcopy(later)).rows
    few = follows.ask(later).rows
    assert set(few) < set(many)


@pytest.mark.parametrize("budget", [0, 150_000, 400_000, None])
@pytest.mark.parametrize("algorithm", ["lloyd", "hamerly", "projection", "auto"])
def test_no_algorithm_or_budget_changes_a_bit(tmp_path, algorithm, budget):
    rows, start = images()
    np.save(tmp_path / "rows.npy", rows)
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "rows.zarr", rows_per_chunk=256)
    expected = KMeans(20, init=rows[start].astype(float), tol=0, algorithm="lloyd").fit(rows)
    model = KMeans(
        20, init=rows[start].astype(float), tol=0, algorithm=algorithm, memory_budget=budget
    ).fit(store)
    assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
    assert (model.inertia_, model.n_iter_) == (expected.inertia_, expected.n_iter_)
    np.testing.assert_array_equal(model.labels_.compute(), expected.labels_)


def test_directions_follow_what_may_be_kept():
    assert n_directions(784, 10, np.inf) == 32
    assert n_directions(784, 100, np.inf) == 64
    assert n_directions(784, 100, projection_bytes(64) - 1) == 32
    assert n_directions(784, 100, projection_bytes(16) - 1) == 0
    assert n_directions(100, 10, np.inf) == 0
    assert n_directions(784, 1, np.inf) == 0
    assert n_directions(784, 4097, np.inf) == 0
