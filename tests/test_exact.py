"""Exact arithmetic against fractions: every comparison is of bits."""

from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import CHECK, tables

from daskcluster.kernels import exact
from daskcluster.kernels.moments import exponent_above
from daskcluster.sizing import LIMB_BITS, ROW_TYPES, Grid, integer_grid, real_grid, sum_grid

reals = st.floats(-(2.0**499), 2.0**499).filter(lambda v: v == 0 or abs(v) > 2.0**-400)


def ints(n_limbs):
    """Values of so many limbs, many of them near powers of two."""
    top = LIMB_BITS * n_limbs
    near = st.tuples(st.integers(0, top), st.integers(-3, 3)).map(lambda p: (1 << p[0]) + p[1])
    values = st.integers(-(2**top), 2**top) | near | near.map(lambda v: -v) | st.integers(-9, 9)
    return st.lists(values, min_size=1, max_size=6)


@given(reals, reals)
@example(1 + 2.0**-52, 1 - 2.0**-53)
@example(0.1, 0.1)
@example(2.0**499, 2.0**499)
@CHECK
def test_two_product_is_exact(a, b):
    product, error = exact.two_product(np.array([a]), np.array([b]))
    assert Fraction(product[0]) + Fraction(error[0]) == Fraction(a) * Fraction(b)
    assert product[0] == a * b


@given(st.integers(1, 3).flatmap(lambda n: st.tuples(st.just(n), ints(n))))
@CHECK
def test_limbs_and_integers_are_inverse(case):
    n_limbs, values = case
    if n_limbs == 1:
        values = [v % 2**62 for v in values]
    limbs = exact.from_ints(values, n_limbs)
    assert limbs.shape == (n_limbs, len(values))
    assert exact.to_ints(limbs) == values
    assert (limbs[:-1] >= 0).all()
    assert (limbs[:-1] < 2**LIMB_BITS).all()


@given(st.integers(1, 3), st.data())
@CHECK
def test_carry_is_canonical(n_limbs, data):
    limb = st.integers(-(2**60), 2**60)
    loose = np.array([data.draw(st.lists(limb, min_size=4, max_size=4)) for _ in range(n_limbs)])
    values = exact.to_ints(loose)
    kept = exact.carry(loose.copy())
    assert exact.to_ints(kept) == values
    np.testing.assert_array_equal(kept, exact.from_ints(values, n_limbs))
    np.testing.assert_array_equal(exact.carry(kept.copy()), kept)


@given(tables(dtypes=("float64", "float32")), st.integers(1, 2**40))
@CHECK
def test_reals_are_rounded_once_to_the_grid(table, n_rows):
    values = table.astype(np.float64)
    grid = real_grid(n_rows, exponent_above(np.abs(values).max()))
    unit = reference.unit_of(grid)
    wanted = [round(Fraction(v) / unit) for v in values.ravel().tolist()]
    assert exact.to_ints(exact.to_grid(values, grid)) == wanted


@pytest.mark.parametrize("largest", [1.0, 1 - 2.0**-53, 3e-310, 2.0**500])
@pytest.mark.parametrize("n_rows", [1, 3, 2**40])
def test_grids_take_the_largest_value(largest, n_rows):
    grid = real_grid(n_rows, exponent_above(largest))
    limbs = exact.to_grid(np.array([largest, -largest]), grid)
    total = Fraction(largest) / reference.unit_of(grid)
    assert exact.to_ints(limbs) == [round(total), -round(total)]
    assert round(total) * n_rows <= 2**96


@given(st.sampled_from(ROW_TYPES).flatmap(lambda t: tables(dtypes=(t,))), st.data())
@CHECK
def test_cluster_sums(table, data):
    k = data.draw(st.integers(1, 4))
    n = len(table)
    labels = np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)))
    signs = np.array(data.draw(st.lists(st.sampled_from([1, -1]), min_size=n, max_size=n)))
    grid = sum_grid(n, table.dtype.name, exponent_above(float(np.abs(table.astype(float)).max())))
    limbs = exact.cluster_sums(table, labels.astype(np.int32), signs, k, grid)
    assert limbs.shape == (grid.n_limbs, k, table.shape[1])
    wanted = [[Fraction(0)] * table.shape[1] for _ in range(k)]
    unit = reference.unit_of(grid)
    for row, label, sign in zip(reference.fractions(table), labels, signs, strict=True):
        wanted[label] = [
            w + int(sign) * round(x / unit) for w, x in zip(wanted[label], row, strict=True)
        ]
    assert exact.to_ints(limbs) == [w for row in wanted for w in row]


@given(tables(), st.data())
@CHECK
def test_sums_of_rows_that_move(table, data):
    k, n = data.draw(st.integers(2, 4)), len(table)
    pairs = data.draw(st.lists(st.permutations(range(k)), min_size=n, max_size=n))
    after, before = np.array([p[:2] for p in pairs], dtype=np.int32).T.copy()
    largest = float(np.abs(table.astype(float)).max())
    grid = sum_grid(n, table.dtype.name, exponent_above(largest))
    ones = np.ones(n, dtype=np.int64)
    gain, loss = (
        exact.cluster_sums(table, x, s * ones, k, grid) for x, s in ((after, 1), (before, -1))
    )
    labels, signs = np.stack([after, before], axis=1), np.stack([ones, -ones], axis=1)
    got = exact.cluster_sums(table, labels, signs, k, grid)
    np.testing.assert_array_equal(got, exact.carry(gain + loss))


@pytest.mark.parametrize("dtype", ROW_TYPES)
def test_sums_of_the_most_rows_of_the_largest_value(dtype):
    n = 2**14
    info = np.iinfo if dtype[0] in "iu" else np.finfo
    value = {"int64": 2**53, "float64": 1 - 2.0**-53}.get(dtype, info(dtype).max)
    rows = np.full((n, 2), value, dtype=dtype)
    rows[:, 1] = {"int64": -(2**53), "float64": -value}.get(dtype, info(dtype).min)
    grid = sum_grid(n, dtype, exponent_above(float(value)))
    ones = np.ones(n, dtype=np.int64)
    limbs = exact.cluster_sums(rows, np.zeros(n, dtype=np.int32), ones, 1, grid)
    totals = [v * reference.unit_of(grid) for v in exact.to_ints(limbs)]
    assert totals == [n * Fraction(v) for v in rows[0].tolist()]
    again = exact.column_sums(rows.astype(np.float64), grid)
    np.testing.assert_array_equal(again, limbs[:, 0])


@given(
    st.integers(1, 3).flatmap(lambda n: st.tuples(st.just(n), ints(n))),
    st.integers(1, 2**40) | st.integers(1, 100),
    st.sampled_from([0, -96, -700, 300]),
)
@example((2, [2**95 + 2**42]), 1, 0)
@example((2, [2**95 + 2**42 + 1, 2**95 + 2**42 - 1, -(2**95) - 2**42 - 1]), 1, 0)
@example((1, [2**61 + 2**8 + 1, 2**53 + 1, 2**53 + 3]), 1, 0)
@example((3, [2**140 + 2**87 + 1, 2**140 + 2**87 - 1]), 1, 0)
@CHECK
def test_means_are_correctly_rounded(case, count, exponent):
    n_limbs, values = case
    if n_limbs == 1:
        values = [v % 2**62 - 2**61 for v in values]
    limbs = exact.from_ints(values, n_limbs).reshape(n_limbs, 1, -1)
    got = exact.mean(limbs, np.array([count]), Grid(exponent, n_limbs))
    unit = Fraction(2) ** exponent
    assert got[0].tolist() == [float(v * unit / count) for v in values]


@given(st.integers(0, 2**52), st.integers(1, 60), st.integers(2, 1000))
@CHECK
def test_means_at_and_beside_a_tie(mantissa, shift, count):
    middle = (2 * (2**52 + mantissa) + 1) << shift  # halfway between two float64
    values = [middle * count + off for off in (-1, 0, 1)]
    values += [-v for v in values]
    n_limbs = 2 if abs(values[0]) < 2**95 else 3
    limbs = exact.from_ints(values, n_limbs).reshape(n_limbs, 1, -1)
    got = exact.mean(limbs, np.array([count]), Grid(0, n_limbs))
    assert got[0].tolist() == [float(Fraction(v, count)) for v in values]


def test_means_below_the_normal_range_are_rounded_once():
    least = 5e-324
    rows = np.array([[(2**51 + 1) * least], [(2**51 + 1) * least], [(2**51 + 2) * least]])
    grid = real_grid(3, exponent_above(rows.max()))
    limbs = exact.carry(exact.to_grid(rows, grid).sum(axis=1))
    got = exact.mean(limbs.reshape(2, 1, 1), np.array([3]), grid)
    assert got[0, 0] == float(sum(map(Fraction, rows.ravel().tolist())) / 3)


@given(tables(dtypes=("float64",)), st.integers(8, 26))
@CHECK
def test_float_pieces_add_up(table, bits):
    pieces = exact.float_pieces(table, bits)
    total = [Fraction(0)] * table.size
    for shift, piece in pieces:
        assert np.abs(piece).max() < 2**bits
        assert (piece == np.rint(piece)).all()
        for i, v in enumerate(piece.ravel().tolist()):
            total[i] += Fraction(v) * Fraction(2) ** shift
    assert total == [Fraction(v) for v in table.ravel().tolist()]


@given(st.integers(1, 3).flatmap(lambda n: st.tuples(st.just(n), ints(n))), st.integers(8, 26))
@CHECK
def test_limb_pieces_add_up(case, bits):
    n_limbs, values = case
    if n_limbs == 1:
        values = [v % 2**62 - 2**61 for v in values]
    total = [0] * len(values)
    for shift, piece in exact.limb_pieces(exact.from_ints(values, n_limbs), bits):
        assert np.abs(piece).max() < 2**bits
        total = [t + (int(v) << shift) for t, v in zip(total, piece.tolist(), strict=True)]
    assert total == values


@pytest.mark.parametrize("n_features", [1, 3, 20000])
def test_row_dots_fill_float64_and_no_more(n_features):
    bits = (53 - n_features.bit_length()) // 2
    a = np.full((2, n_features), 2.0**bits - 1)
    a[1] *= -1
    (shift, piece), *rest = exact.float_pieces(a * (1 + 2.0**-26), bits)
    totals, low = exact.row_dots([(shift, piece), *rest], [(0, a)], 2)
    wanted = n_features * Fraction((2.0**bits - 1) * (1 + 2.0**-26)) * int(a[0, 0])
    assert [exact.scaled(t, low) for t in totals] == [wanted, wanted]


@given(tables(), st.data())
@CHECK
def test_inertia_of_given_sums(table, data):
    k = data.draw(st.integers(1, 4))
    n, d = table.shape
    dtype = table.dtype.name
    labels = np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)))
    grid = sum_grid(n, dtype, exponent_above(float(np.abs(table.astype(float)).max())))
    ones = np.ones(n, dtype=np.int64)
    limbs = exact.cluster_sums(table, labels.astype(np.int32), ones, k, grid)
    counts = np.bincount(labels, minlength=k)
    scale = float(np.abs(table.astype(float)).max())
    noise = data.draw(hnp.arrays(np.float64, (k, d), elements=st.floats(-2, 2, width=32)))
    centers = noise * scale
    totals, sizes = reference.sums(table, labels, k, reference.unit_of(grid))
    squares = sum((x * x for row in reference.fractions(table) for x in row), Fraction(0))
    got = exact.inertia(squares, limbs, counts, centers, grid)
    assert got == reference.inertia(squares, totals, sizes, centers)
    unit = reference.unit_of(grid)
    if all(reference.on_grid(x, unit) == x for row in reference.fractions(table) for x in row):
        assert got == float(reference.direct_inertia(table, labels, centers))


def test_inertia_survives_cancellation():
    rows = 1e6 + np.arange(8.0).reshape(-1, 1) * 2.0**-20
    centers = np.array([[float(rows.mean())]])
    grid = real_grid(8, exponent_above(rows.max()))
    sums = exact.column_sums(rows, grid).reshape(2, 1, 1)
    squares = sum(Fraction(v) ** 2 for v in rows.ravel().tolist())
    got = exact.inertia(squares, sums, np.array([8]), centers, grid)
    assert got == float(reference.direct_inertia(rows, [0] * 8, centers)) == 42 * 2.0**-40


@given(tables(dtypes=("float64",), max_rows=8))
@CHECK
def test_nearest_and_squared_distance(table):
    row, centers = table[0], table[1:] if len(table) > 1 else table
    assert exact.nearest(row, centers) == reference.nearest([row], centers)[0]
    a, b = reference.fractions([row, centers[-1]])
    assert exact.squared_distance(row, centers[-1]) == reference.distance(a, b)


def test_integer_grids_add_to_their_limit():
    n, bound = 2**16, 2**46 - 1
    grid = integer_grid(n, bound)
    assert grid.n_limbs == 1
    limbs = exact.from_ints([n * bound, -n * bound], 1)
    assert exact.to_ints(limbs) == [n * bound, -n * bound]
    got = exact.mean(limbs.reshape(1, 1, 2), np.array([n]), grid)
    assert got.tolist() == [[float(bound), -float(bound)]]
