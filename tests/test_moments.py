"""Column moments against fractions, for any blocks; what cannot be clustered is named."""

import functools
from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK, batches, session_over, tables

from daskcluster.errors import InputError
from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.moments import Extremes, SumMoments, exponent_above, largest_magnitude
from daskcluster.sizing import INTEGER_BOUNDS, ROW_TYPES
from daskcluster.survey import scale_of, survey


def moments_of(table, rows_per_block=None):
    """Moments by the triads alone, over the batches of a cut."""
    parts = batches(table, rows_per_block or len(table))
    dtype, range_job = table.dtype.name, Extremes("X")
    largest = functools.reduce(range_job.merge, (range_job.step(p, None)[0] for p in parts))
    exponent = 0 if dtype in INTEGER_BOUNDS else exponent_above(largest)
    job = SumMoments(len(table), dtype, exponent)
    return job.finish(functools.reduce(job.merge, (job.step(p, None)[0] for p in reversed(parts))))


def same(a, b):
    assert (a.n_rows, a.dtype, a.exponent) == (b.n_rows, b.dtype, b.exponent)
    np.testing.assert_array_equal(a.sums, b.sums)
    np.testing.assert_array_equal(a.squares, b.squares)


@given(tables(), st.data())
@CHECK
def test_moments_equal_the_oracle_for_any_blocks(table, data):
    before = table.copy()
    whole = moments_of(table)
    same(moments_of(table, data.draw(st.integers(1, len(table)))), whole)
    with session_over(table, data.draw(st.integers(1, len(table)))) as session:
        same(survey(session, "X", len(table), table.dtype.name), whole)
    np.testing.assert_array_equal(table, before)

    columns = list(zip(*reference.fractions(table), strict=True))
    n, unit = len(table), reference.unit_of(whole.sum_grid)
    sums = [sum(reference.on_grid(x, unit) for x in c) for c in columns]
    assert [v * unit for v in exact.to_ints(whole.sums)] == sums
    assert whole.means().tolist() == [float(s / n) for s in sums]

    unit = reference.unit_of(whole.square_grid)
    squares = [[x * x for x in c] for c in columns]
    got = [v * unit for v in exact.to_ints(whole.squares)]
    if all(reference.on_grid(x, unit) == x for c in squares for x in c):
        assert got == [sum(c) for c in squares]
        assert whole.total_squares == sum(map(sum, squares))
    assert all(abs(g - sum(c)) <= n * unit for g, c in zip(got, squares, strict=True))
    spread = sum(s * s for s in sums)
    assert whole.total_variance() == whole.total_squares / n - spread / n**2


@given(tables(dtypes=tuple(INTEGER_BOUNDS)))
@CHECK
def test_integer_moments_are_exact(table):
    scale = scale_of(moments_of(table))
    rows = reference.fractions(table)
    assert scale.total_squares == sum(x * x for row in rows for x in row)
    assert scale.mean_variance == float(reference.variance(table))


@pytest.mark.parametrize("dtype", ROW_TYPES)
def test_largest_values_do_not_overflow(dtype):
    value = {"int64": 2**53, "float64": 2.0**480}.get(dtype)
    value = value or (np.iinfo if dtype[0] in "iu" else np.finfo)(dtype).max
    if dtype == "float64":
        value = np.nextafter(value, 0)
    n = 40_000
    table = np.full((n, 3), value, dtype=dtype)
    table[:, 1] = -value if dtype[0] != "u" else 0
    table[:, 2] = 1
    moments = moments_of(table, 16_385)
    unit = reference.unit_of(moments.sum_grid)
    top = Fraction(table[0, 0].item())
    last = reference.on_grid(Fraction(1), unit)
    wanted = [n * top, n * Fraction(table[0, 1].item()), n * last]
    assert [v * unit for v in exact.to_ints(moments.sums)] == wanted
    unit = reference.unit_of(moments.square_grid)
    square = reference.on_grid(top * top, unit)
    assert exact.to_ints(moments.squares)[0] * unit == n * square
    assert moments.means().tolist()[:2] == table[0, :2].astype(float).tolist()


def test_int32_squares_use_two_limbs_and_int64_three():
    low = np.full((3, 2), np.iinfo("int32").min, dtype="int32")
    moments = moments_of(low)
    assert moments.squares.shape == (2, 2)
    assert moments.total_squares == 6 * 2**62
    moments = moments_of(np.full((3, 2), -(2**53), dtype="int64"))
    assert moments.squares.shape == (3, 2)
    assert moments.total_squares == 6 * 2**106


@pytest.mark.parametrize("n", [2**14 - 1, 2**14, 2**14 + 1])
def test_runs_of_rows(n):
    table = np.random.default_rng(n).integers(0, 256, (n, 2)).astype(np.uint8)
    moments = moments_of(table)
    whole = table.astype(np.int64)
    assert moments.sums[0].tolist() == whole.sum(axis=0).tolist()
    assert moments.squares[0].tolist() == (whole**2).sum(axis=0).tolist()
    wide = np.ascontiguousarray(table[: 2 * (n // 128) * 64].reshape(64, -1))
    moments = moments_of(wide, 5)
    assert moments.squares[0].tolist() == (wide.astype(np.int64) ** 2).sum(axis=0).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (6, 1)])
def test_values_that_are_not_finite_are_named(dtype, bad, place):
    table = np.ones((7, 2), dtype=dtype)
    table[place] = bad
    words = f"there: row {place[0] + 100}, feature {place[1]} is {bad}: NaN, infinity"
    with pytest.raises(InputError, match=words):
        Extremes("there").step(Batch(100, table), None)


@pytest.mark.parametrize("value", [np.nextafter(2.0**480, np.inf), -1e300])
def test_values_too_large_to_square_are_named(value):
    with pytest.raises(InputError, match=r"row 0, feature 1 is .* magnitudes above 3.12e"):
        largest_magnitude(np.array([[1.0, value]]), 0, "X")
    assert largest_magnitude(np.array([[-(2.0**480)]]), 0, "X") == 2.0**480


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**62, -(2**63), 2**63 - 1])
def test_integers_that_float64_cannot_hold_are_named(value):
    table = np.array([[0, 0], [0, value]], dtype=np.int64)
    with pytest.raises(InputError, match=f"row 8, feature 1 is {value}: "):
        largest_magnitude(table, 7, "X")
    assert largest_magnitude(np.array([[2**53, -(2**53)]]), 0, "X") == 2.0**53


@pytest.mark.parametrize("dtype", list(INTEGER_BOUNDS))
def test_the_bounds_of_a_type_pass(dtype):
    low = -(2**53) if dtype == "int64" else np.iinfo(dtype).min
    assert largest_magnitude(np.array([[low, 0]], dtype=dtype), 0, "X") == -float(low)


@pytest.mark.parametrize(
    ("value", "exponent"),
    [(0.0, 0), (1.0, 1), (0.5, 0), (1.5, 1), (2.0**480, 481), (5e-324, -1073), (1 - 2.0**-53, 0)],
)
def test_exponents_above(value, exponent):
    assert exponent_above(value) == exponent
    assert value < Fraction(2) ** exponent


def test_a_shift_only_where_the_offset_outweighs_the_spread():
    near = np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, 2.0]])
    assert scale_of(moments_of(near)).frame.shift is None
    far = scale_of(moments_of(near + 1e6)).frame
    np.testing.assert_array_equal(far.shift, np.float32([1e6, 1e6 + 1]))
    assert scale_of(moments_of(near * 2.0**400)).frame.exponent == 402
