"""Labels against exact arithmetic: near ties, exact ties, offsets, scales, frames."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK, centers_for, frames_for, tables

from daskcluster.kernels.frame import Frame, frame_of
from daskcluster.kernels.nearest import Nearest
from daskcluster.sizing import ROW_TYPES, tile_rows


def check(rows, centers, frames=None):
    """Labels in all frames equal the oracle's; returns them."""
    wanted = reference.nearest(rows, centers)
    before = rows.copy(), centers.copy()
    for frame in frames or frames_for(centers):
        labels, norms = Nearest(centers, frame).labels(rows)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, wanted, err_msg=str(frame))
        again, same = Nearest(centers, frame).labels(rows, norms)
        np.testing.assert_array_equal(again, wanted)
        assert same is norms
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(centers, before[1])
    return wanted


@given(tables(max_rows=12), st.data())
@CHECK
def test_labels_in_every_frame(table, data):
    check(table, data.draw(centers_for(table)))


@given(tables(max_rows=12), st.data())
@CHECK
def test_bounds_hold_in_exact_arithmetic(table, data):
    centers = data.draw(centers_for(table))
    own = reference.fractions(centers)
    labels = reference.nearest(table, centers)
    for frame in frames_for(centers):
        found = Nearest(centers, frame).find(table)
        scale = reference.Fraction(2) ** frame.exponent
        shift = np.zeros(table.shape[1]) if frame.shift is None else frame.shift
        middle = [
            s + m * scale
            for s, m in zip(*reference.fractions([shift, frame.middle_of(len(shift))]), strict=True)
        ]
        for i, row in enumerate(reference.fractions(table)):
            squares = [reference.distance(row, center) / scale**2 for center in own]
            mine = squares.pop(labels[i])
            square = reference.distance(row, middle) / scale**2
            for bound, value in ((found.norms[i], square), (found.radii[i], mine)):
                assert not bound < np.inf or value <= reference.Fraction(float(bound)) ** 2
            gap = found.gaps[i]
            if squares and gap > -np.inf:
                assert reference.Fraction(float(gap)) <= min(squares) - mine


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("gap", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("d", [1, 3])
def test_a_step_from_the_midpoint(offset, gap, d):
    rng = np.random.default_rng(5)
    a = offset + rng.random(d)
    b = a.copy()
    b[0] += gap
    middle = (a + b) / 2
    rows = np.stack([middle] * 41)
    rows[:, 0] += np.arange(-20, 21) * np.spacing(middle[0])
    # Both orders: at an exact tie the lowest index wins.
    first, second = check(rows, np.stack([a, b])), check(rows, np.stack([b, a]))
    assert set(first) == {0, 1}
    assert ((first == 1 - second) | (first == 0)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_midpoints_one_ulp_either_side(dtype):
    for a, b in [(0.0, 1.0), (1.0, 3.0), (1e6, 1e6 + 1), (-1.0, 1.0), (0.25, 0.75)]:
        middle = np.array((a + b) / 2, dtype=dtype)
        rows = np.array(
            [[np.nextafter(middle, -np.inf)], [middle], [np.nextafter(middle, np.inf)]]
        ).astype(dtype)
        centers = np.array([[a], [b]])
        assert check(rows, centers).tolist() == [0, 0, 1]
        assert check(rows, centers[::-1].copy()).tolist() == [1, 0, 0]


@pytest.mark.parametrize("dtype", ROW_TYPES)
@pytest.mark.parametrize("k", [1, 2, 32, 33, 100])
def test_few_and_many_clusters(dtype, k):
    rng = np.random.default_rng(k)
    rows = rng.integers(0, 100, (150, 3)).astype(dtype)
    centers = rows[rng.integers(0, 150, k)].astype(np.float64)
    centers[k // 2 :] += rng.integers(0, 2, (k - k // 2, 3)) / 2
    check(rows, centers)


@pytest.mark.parametrize("k", [2, 33, 100])
def test_duplicate_centres_go_to_the_lowest_index(k):
    rng = np.random.default_rng(0)
    rows = rng.random((60, 4))
    base = rng.random((3, 4))
    centers = base[np.arange(k) % 3]
    centers[0] = -centers[1] * 0.0  # -0.0 and 0.0 are one centre
    centers[k - 1] = 0.0
    assert set(check(rows, centers)) <= {0, 1, 2, 3}
    assert (Nearest(centers, Frame(None, 0)).labels(np.zeros((5, 4)))[0] == 0).all()


@pytest.mark.parametrize(("k", "offset"), [(2, 0.0), (2, 1e6), (33, 1e6)])
def test_wide_rows(k, offset):
    d = 20000
    rng = np.random.default_rng(d)
    base = offset + rng.random(d)
    centers = np.stack([base] * k)
    centers[np.arange(k), np.arange(k)] += 1e-6
    middle = (centers[0] + centers[1]) / 2
    rows = np.stack([middle, centers[1], centers[k - 1], base, middle, middle])
    rows[4, 0] = np.nextafter(middle[0], np.inf)
    rows[5, 1] = np.nextafter(middle[1], np.inf)
    rows = rows if k == 2 else rows[4:]
    check(rows, centers, [frame_of(centers), Frame(None, 0)][: 2 if k == 2 else 1])


@pytest.mark.parametrize("k", [2, 40])
def test_a_tile_and_a_row_more(k):
    d = 700
    tile = tile_rows(d, k)
    rng = np.random.default_rng(1)
    centers = rng.integers(0, 256, (k, d)).astype(np.float64)
    for n in (1, tile - 1, tile, tile + 1, 2 * tile + 3):
        rows = rng.integers(0, 256, (n, d)).astype(np.uint8)
        rows[-1] = centers[k - 1]
        whole = rows.astype(np.int64)
        squares = np.stack([((whole - c.astype(np.int64)) ** 2).sum(axis=1) for c in centers])
        labels = Nearest(centers, frame_of(centers)).labels(rows)[0]
        np.testing.assert_array_equal(labels, squares.argmin(axis=0))


@pytest.mark.parametrize("k", [2, 40])
def test_many_exact_ties_past_one_run_of_undecided_rows(k):
    # Every row is halfway between two centres: float32 and float64 leave all of them open.
    values = np.arange(2 * k, dtype=np.float64)
    centers = values[::2].reshape(-1, 1)[::-1].copy()
    rows = np.tile(values[1:-1:2], 3000 // (k - 1) + 1).reshape(-1, 1).astype(np.float32)
    labels = Nearest(centers, Frame(None, 0)).labels(rows)[0]
    wanted = reference.nearest(rows[: k - 1], centers)
    np.testing.assert_array_equal(labels, np.resize(wanted, len(rows)))


@pytest.mark.parametrize("k", [2, 40])
@pytest.mark.parametrize("power", [-1000, -500, -130, -60, 60, 64, 66, 120, 300, 498])
def test_scales_that_float32_cannot_hold(k, power):
    rng = np.random.default_rng(abs(power))
    rows = np.ldexp(rng.integers(-8, 9, (80, 6)) / 8.0, power)
    centers = np.ldexp(rng.integers(-8, 9, (k, 6)) / 8.0, power)
    check(rows, centers, [Frame(None, 0), Frame(None, power), frame_of(centers)])


@pytest.mark.parametrize("k", [2, 40])
def test_products_that_overflow_on_the_way(k):
    # Norms stay finite in float32; the first product leaves its range, the second would undo it.
    rows = np.array([[1.2e19, 1.2e19, 1e18], [1.2e19, 1.2e19, -1e18], [1.2e19, -1.2e19, 1e18]])
    signs = np.where(np.arange(k) % 2, -1.0, 1.0)[:, np.newaxis]
    centers = signs * np.array([3e19, -3e19, -1e18]) + np.arange(k)[:, np.newaxis] * 1e16
    for order in ([0, 1, 2], [2, 1, 0], [0, 2, 1]):
        check(rows[:, order].copy(), centers[:, order].copy(), [Frame(None, 0)])


@pytest.mark.parametrize("k", [2, 40])
def test_small_and_large_in_one_table(k):
    rng = np.random.default_rng(3)
    rows = rng.choice([1e-200, 1.0, 1e100, -1e100, 3e-160, 0.0], (50, 3))
    centers = np.concatenate([rows[: k // 2], rows[: k - k // 2] * 0.5])
    check(rows, centers)


@pytest.mark.parametrize("far", [1e30, 1e40, 1e100, 1e150, 1e160, 1e300])
def test_centres_far_outside_the_data(far):
    rows = np.arange(12.0).reshape(4, 3)
    centers = np.array([[far, far, far], [far, far, -far], [0.0, 1.0, 2.0], [far, 0.0, 0.0]])
    check(rows, centers, [Frame(None, 0), Frame(None, 4), frame_of(centers)])
    check(rows, centers[[0, 1, 3]], [Frame(None, 0), Frame(None, 4), frame_of(centers)])
    tiny = rows * 2.0**-700
    check(tiny, centers, [Frame(None, -696), Frame(None, 0), frame_of(centers)])
    check(tiny, np.concatenate([centers] * 9)[:33] * np.arange(1, 34)[:, None] / 33)


def test_no_rows_and_one_centre():
    assert Nearest(np.ones((1, 2)), Frame(None, 0)).labels(np.ones((3, 2)))[0].tolist() == [0] * 3
    empty = np.empty((0, 2), dtype=np.uint8)
    assert len(Nearest(np.arange(4.0).reshape(2, 2), Frame(None, 0)).labels(empty)[0]) == 0
