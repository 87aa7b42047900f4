"""Sums in compiled loops, against NumPy's to the same bits."""

from fractions import Fraction
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK, centers_for, grid_for, tables

from daskcluster.kernels import compiled_sums, doubled, exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.moments import SumMoments, exponent_above
from daskcluster.sizing import INTEGER_BOUNDS, Grid, integer_grid

pytest.importorskip("numba")


def same_limbs(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize("dtype", INTEGER_BOUNDS)
def test_moved_integers(dtype):
    rng = np.random.default_rng(2)
    high = INTEGER_BOUNDS[dtype]
    low, grid = 0 if dtype[0] == "u" else 1 - high, integer_grid(500, high)
    rows = rng.choice([low, 0, 3, high - 1], (500, 7)).astype(dtype)
    at = np.sort(rng.choice(500, 200, replace=False))
    before, after = rng.integers(0, 5, (2, 200)).astype(np.int32)
    assert compiled_sums.can_add(rows, grid)
    sums, counts = compiled_sums.move(rows, at, before, after, 5, grid)
    wanted = np.zeros((5, 7), dtype=np.int64)
    np.add.at(wanted, after, rows[at].astype(np.int64))
    np.subtract.at(wanted, before, rows[at].astype(np.int64))
    np.testing.assert_array_equal(sums[0], wanted)
    np.testing.assert_array_equal(
        counts, np.bincount(after, minlength=5) - np.bincount(before, minlength=5)
    )


def test_moved_integers_beyond_int32():
    rows, grid = np.full((70_000, 2), 2**16 - 1, dtype=np.uint16), integer_grid(70_000, 2**16)
    zeros, ones = np.zeros(70_000, dtype=np.int32), np.ones(70_000, dtype=np.int32)
    sums, counts = compiled_sums.add(rows, zeros, 2, grid)
    assert sums[0].tolist() == [[70_000 * (2**16 - 1)] * 2, [0, 0]]
    assert counts.tolist() == [70_000, 0]
    sums, counts = compiled_sums.move(rows, np.arange(70_000), zeros, ones, 2, grid)
    assert sums[0].tolist() == [[-70_000 * (2**16 - 1)] * 2, [70_000 * (2**16 - 1)] * 2]
    assert counts.tolist() == [-70_000, 70_000]


def test_moved_integers_beyond_what_a_part_holds():
    rows, grid = np.full((3000, 1), 2**53, dtype=np.int64), integer_grid(500, 2**53)
    zeros = np.zeros(len(rows), dtype=np.int32)
    sums, _ = compiled_sums.add(rows[:500], zeros[:500], 1, grid)
    assert sums.ravel().tolist() == [500 * 2**53]
    assert not compiled_sums.can_add(rows, integer_grid(3000, 2**53))


@given(tables(dtypes=("float32", "float64")), st.data())
@CHECK
def test_sums_of_reals(table, data):
    n, k, grid = len(table), 3, grid_for(table)
    draw = st.lists(st.integers(0, k - 1), min_size=n, max_size=n).map(np.int32)
    before, after = data.draw(draw), data.draw(draw)
    ones = np.ones(n, dtype=np.int64)
    then, now = (exact.cluster_sums(table, own, ones, k, grid) for own in (before, after))
    if not compiled_sums.can_add(table, grid):
        assert abs(grid.exponent) >= 800
        return
    sums, counts = compiled_sums.add(table, after, k, grid)
    assert same_limbs(sums, now)
    np.testing.assert_array_equal(counts, np.bincount(after, minlength=k))
    at = np.flatnonzero(before != after)
    sums, counts = compiled_sums.move(table, at, before[at], after[at], k, grid)
    assert same_limbs(sums, exact.carry(now - then))
    difference = np.bincount(after, minlength=k) - np.bincount(before, minlength=k)
    np.testing.assert_array_equal(counts, difference)


@pytest.mark.parametrize("value", [1 - 2.0**-53, -(1 - 2.0**-53), 2.0**-60, 1 / 3])
def test_limbs_have_room_for_the_largest_reals(value):
    n = 3 * compiled_sums._RUN + 1
    rows = np.full((n, 1), value)
    grid, labels = grid_for(rows), np.zeros(n, dtype=np.int32)
    sums, _ = compiled_sums.add(rows, labels, 1, grid)
    (unit,) = exact.to_ints(exact.to_grid(rows[:1], grid))
    assert exact.to_ints(sums) == [n * unit]
    sums, _ = compiled_sums.move(rows, np.arange(n), labels, labels + 1, 2, grid)
    assert exact.to_ints(sums) == [-n * unit, n * unit]


@given(tables(dtypes=("float32", "float64"), max_rows=40), st.integers(1, 8))
@CHECK
def test_moments_of_reals(table, times):
    # Of few columns many rows are added at once.
    table = np.ascontiguousarray(np.tile(table, (times, 1)))
    exponent = exponent_above(float(np.abs(table).max()))
    job = SumMoments(len(table), table.dtype.name, exponent)
    own = job.step(Batch(0, table), None)[0]
    with patch.object(compiled_sums, "MANY", 0):
        found = job.step(Batch(0, table), None)[0]
    assert all(same_limbs(a, b) for a, b in zip(found, own, strict=True))


def test_moments_of_many_reals():
    rng = np.random.default_rng(5)
    for dtype in ("float32", "float64"):
        table = rng.normal(size=(20_000, 3)).astype(dtype)
        job = SumMoments(len(table), dtype, exponent_above(float(np.abs(table).max())))
        own = job.step(Batch(0, table), None)[0]
        with patch.object(compiled_sums, "MANY", 0):
            found = job.step(Batch(0, table), None)[0]
        assert all(same_limbs(a, b) for a, b in zip(found, own, strict=True))


@given(tables(), st.data())
@CHECK
def test_inertia_is_certified_or_exact(table, data):
    centers = data.draw(centers_for(table))
    k, n, grid = len(centers), len(table), grid_for(table)
    draw = st.lists(st.integers(0, k - 1), min_size=n, max_size=n)
    labels = np.array(data.draw(draw), dtype=np.int32)
    sums = exact.cluster_sums(table, labels, np.ones(n, dtype=np.int64), k, grid)
    counts = np.bincount(labels, minlength=k)
    squares = sum((Fraction(x) ** 2 for x in table.ravel().tolist()), Fraction(0))
    wanted = exact.inertia(squares, sums, counts, centers, grid)
    assert doubled.inertia(squares, sums, counts, centers, grid, loops=True) == wanted


def test_most_inertias_are_certified():
    """Of images, whose sums have one limb, and of reals, whose sums have two."""
    rng = np.random.default_rng(1)
    labels, ones = rng.integers(0, 9, 400).astype(np.int32), np.ones(400, dtype=np.int64)
    counts = np.bincount(labels, minlength=9)
    for rows in (rng.integers(0, 256, (400, 600)).astype(np.uint8), rng.normal(size=(400, 600))):
        grid = grid_for(rows)
        sums = exact.cluster_sums(rows, labels, ones, 9, grid)
        centers = exact.mean(sums, counts, grid)
        squares = sum((Fraction(x) ** 2 for x in rows.ravel().tolist()), Fraction(0))
        terms = compiled_sums.own_terms(sums, counts, centers, grid)
        assert doubled.certified(squares, *terms) == exact.inertia(
            squares, sums, counts, centers, grid
        )


def test_counts_that_no_float_holds_are_left_to_integers():
    heavy = np.array([2**53 + 1])
    centers, grid = np.array([[3.0]]), Grid(0, 2)
    sums = exact.from_ints([3 * (2**53 + 1)], 2).reshape(2, 1, 1)
    squares = Fraction(9 * (2**53 + 1))
    with patch.object(compiled_sums, "own_terms", side_effect=AssertionError):
        assert doubled.inertia(squares, sums, heavy, centers, grid, loops=True) == 0.0
    np.testing.assert_array_equal(doubled.can_count(heavy - 1), True)
