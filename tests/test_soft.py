"""Soft k-means' reduction against loops over float64, and what no block may change."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK, FEW, centers_for, session_over, tables

from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.compiling import has_numba
from daskcluster.kernels.frame import Frame, frame_of
from daskcluster.kernels.gridsums import GridSum
from daskcluster.kernels.outputs import Membership
from daskcluster.kernels.responsibilities import METRICS, Softness, tiles
from daskcluster.kernels.soft import (
    Soften,
    free_energy,
    merge_soft,
    soft_centers,
    soft_grids,
)
from daskcluster.sizing import Cut, Grid, aligned, grain_rows, small_products, soft_rows
from daskcluster.survey import scale_of, survey

COMPILED = [False, True] if has_numba() else [False]


def job_for(table, centers, softness, compiled=False):
    with session_over(table) as session:
        scale = scale_of(survey(session, "X", len(table), table.dtype.name))
    grids = soft_grids(
        len(table), *table.shape[1:], len(centers), scale.reach, softness, scale.frame
    )
    return Soften(centers, softness, scale.frame, grids, compiled=compiled)


def step(table, centers, softness, compiled=False):
    """New centres, weights and free energy of one step."""
    job = job_for(table, centers, softness, compiled)
    total, _ = job.step(Batch(0, table), None)
    new, weights = soft_centers(total, centers, job.grids, job.frame)
    return new, weights, free_energy(total, softness, job.grids, job.frame)


@given(st.data())
@CHECK
def test_grid_sums_are_those_of_exact_arithmetic(data):
    exponent = data.draw(st.integers(-160, 60))
    grid = Grid(exponent, 2)
    numbers = st.floats(-(2.0**98), 2.0**98, allow_subnormal=False) | st.floats(-2.0, 2.0)
    values = data.draw(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=80))
    table = np.ldexp(np.array(values), exponent)
    total = GridSum((2,), grid)
    for row in table:
        total.add(row[np.newaxis].copy())
    np.testing.assert_array_equal(total.limbs(), exact.column_sums(table, grid))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("precision", "compiled"), [("float64", False), *(("float32", loops) for loops in COMPILED)]
)
@pytest.mark.parametrize(
    ("dtype", "offset"),
    [(dtype, 0) for dtype in ("uint8", "int32", "float32", "float64")]
    + [(dtype, 3000) for dtype in ("int32", "float32", "float64")],
)
def test_a_step_against_loops(metric, precision, compiled, dtype, offset, rng):
    table = (rng.integers(0, 200, (300, 5)) + offset).astype(dtype)
    centers = table[:7] + rng.random((7, 5))
    beta = 0.05 if metric == "euclidean" else 5e-4
    new, weights, energy = step(table, centers, Softness(beta, metric, precision), compiled)
    wanted, least = reference.soft_step(table.tolist(), centers.tolist(), beta, metric)
    rtol = 1e-9 if precision == "float64" else 1e-5
    np.testing.assert_allclose(new, wanted, rtol=rtol)
    np.testing.assert_allclose(energy, least, rtol=rtol)
    np.testing.assert_allclose(weights.sum(), 300, rtol=rtol)


@given(st.data())
@CHECK
def test_awkward_rows_are_shared_out_whole(data):
    table = data.draw(tables())
    centers = data.draw(centers_for(table))
    beta = 10.0 ** data.draw(st.integers(-8, 6))
    softness = Softness(
        beta,
        data.draw(st.sampled_from(METRICS)),
        data.draw(st.sampled_from(["float32", "float64"])),
    )
    shares = Membership(centers, softness)(table)
    assert ((shares >= 0) & (shares <= 1)).all()
    np.testing.assert_allclose(shares.sum(axis=1, dtype=np.float64), 1, atol=1e-5)
    compiled = softness.precision == "float32" and data.draw(st.sampled_from(COMPILED))
    new, weights, energy = step(table, centers, softness, compiled)
    assert np.isfinite(new).all()
    assert np.isfinite(energy)
    np.testing.assert_allclose(weights.sum(), len(table), rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("beta", [10.0**e for e in range(-8, 7)])
def test_any_stiffness_on_pixels(metric, precision, beta, rng):
    rows = rng.choice(np.array([0, 1, 254, 255], dtype=np.uint8), (200, 784))
    rows[:50], rows[50:100] = 0, 255
    centers = np.concatenate([np.zeros((1, 784)), np.full((1, 784), 255.0), rows[100:105]])
    shares = Membership(centers, Softness(beta, metric, precision))(rows)
    assert not np.isnan(shares).any()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_less(0, shares.max(axis=1))


@given(st.data())
@FEW
def test_no_bit_depends_on_the_blocks(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    d = data.draw(st.sampled_from([1, 2, 784, 3000]))
    k = data.draw(st.sampled_from([1, 3, 10]))
    size = soft_rows(d, k)
    n = data.draw(st.integers(1, 3)) * size + data.draw(st.integers(0, size - 1))
    table = rng.integers(0, 255, (n, d), dtype=np.uint8)
    centers = rng.random((k, d)) * 255
    weights = data.draw(st.sampled_from([None, rng.integers(0, 4, n)]))
    for precision, compiled in [("float64", False), *(("float32", loops) for loops in COMPILED)]:
        softness = Softness(1e-3, "sqeuclidean", precision)
        job = job_for(table, centers, softness, compiled)
        whole, norms = job.step(Batch(0, table, weights=weights), None)
        parts = [
            Batch(
                i, table[i : i + size], weights=None if weights is None else weights[i : i + size]
            )
            for i in range(0, n, size)
        ]
        found = [job.step(part, None)[0] for part in reversed(parts)]
        again, _ = job.step(Batch(0, np.array(table), weights=weights), norms)
        for other in (sum_up(found), again):
            for name, value in vars(whole).items():
                np.testing.assert_array_equal(getattr(other, name), value)


def sum_up(partials):
    total, *rest = partials
    for partial in rest:
        total = merge_soft(total, partial)
    return total


@given(st.integers(0, 10**6), st.integers(0, 5000), st.integers(1, 3000), st.integers(1, 200))
@CHECK
def test_tiles_are_cut_at_absolute_rows(start, n_rows, n_features, n_clusters):
    size = soft_rows(n_features, n_clusters)
    assert grain_rows(n_features) % size == 0
    runs = list(tiles(start, n_rows, size))
    assert [i for run in runs for i in range(run.start, run.stop)] == list(range(n_rows))
    assert all((start + run.start) % size == 0 for run in runs[1:])
    assert all(run.stop - run.start <= size for run in runs)
    assert size % small_products(size, n_features, n_clusters) == 0


@given(st.integers(1, 10**6), st.integers(1, 10**5), st.integers(0, 12), st.integers(1, 10**4))
@CHECK
def test_aligned_blocks_are_whole_runs(n_rows, rows_per_block, power, row_bytes):
    rows = 32 << power
    cut = aligned(Cut(n_rows, rows_per_block), rows, row_bytes)
    assert cut.rows_per_block % rows == 0
    assert cut.rows_per_block >= rows_per_block
    if rows_per_block % rows == 0:
        assert cut.rows_per_block == rows_per_block


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_free_energy_of_squares_never_rises(precision, rng):
    table = rng.integers(0, 255, (3000, 20), dtype=np.uint8)
    centers, before = table[:6].astype(np.float64), math.inf
    for _ in range(40):
        centers, _, energy = step(table, centers, Softness(1e-3, "sqeuclidean", precision))
        assert energy <= before + abs(energy) * (1e-14 if precision == "float64" else 1e-6)
        before = energy


def test_a_cluster_of_no_weight_keeps_its_centre(rng):
    table = rng.random((50, 3))
    centers = np.concatenate([table[:2], [[1e3, 1e3, 1e3]]])
    new, weights, _ = step(table, centers, Softness(10.0, "sqeuclidean"))
    assert weights[2] < 1e-12
    np.testing.assert_array_equal(new[2], centers[2])
    assert (new[:2] != centers[:2]).any()


@pytest.mark.parametrize("metric", METRICS)
def test_infinite_stiffness_gives_all_to_the_nearest(metric, rng):
    table = rng.integers(0, 5, (400, 3), dtype=np.uint8)
    centers = np.array([[0.0, 0, 0], [2.0, 2, 2], [4.0, 4, 4]])  # many ties
    shares = Membership(centers, Softness(math.inf, metric))(table)
    np.testing.assert_array_equal(shares.argmax(axis=1), reference.nearest(table, centers))
    assert set(np.unique(shares)) == {0.0, 1.0}
    new, weights, energy = step(table, centers, Softness(math.inf, metric))
    labels = shares.argmax(axis=1)
    np.testing.assert_array_equal(weights, np.bincount(labels, minlength=3))
    np.testing.assert_allclose(new, [table[labels == k].mean(axis=0) for k in range(3)], rtol=1e-15)
    squares = np.square(table - centers[labels]).sum(axis=1)
    wanted = squares.sum() if metric == "sqeuclidean" else np.sqrt(squares).sum()
    np.testing.assert_allclose(energy, wanted, rtol=1e-12)


def test_stiffness_is_in_units_of_the_data():
    assert Softness(2.0, "euclidean").stiffness(Frame(None, 3)) == 16
    assert Softness(2.0, "sqeuclidean").stiffness(Frame(None, 3)) == 128
    assert np.isfinite(Softness(1e6, "sqeuclidean", "float32").stiffness(Frame(None, 300)))


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e140])
def test_far_scales_share_out_the_same(scale, rng):
    table = rng.random((60, 4))
    centers = table[:3]
    near = Membership(centers, Softness(20.0, "euclidean"))(table)
    far = Membership(centers * scale, Softness(20.0 / scale, "euclidean"))(table * scale)
    assert frame_of(centers * scale).exponent
    np.testing.assert_allclose(far, near, rtol=1e-9)
