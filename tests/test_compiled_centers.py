"""What centres are prepared with in loops, against NumPy, and two lowest scores against sorting."""

import os
import subprocess
import sys

import numpy as np
import pytest
from test_projection import images, some_means

from daskcluster.kernels import compiled, compiled_centers, prepared, products
from daskcluster.kernels.bounds import Drift
from daskcluster.kernels.compiled_centers import CompiledDrift, CompiledNarrow
from daskcluster.kernels.frame import Frame, centered
from daskcluster.kernels.nearest import Nearest, first_of_equals
from daskcluster.kernels.projection import Narrow, basis_of, products_of

pytest.importorskip("numba")

CLOSE = {"rtol": 1e-4, "atol": 1e-3}  # float32 sums in two orders, cancelled where they are near 0


def settled(seed=0):
    """Images, their frame, and centres before and after they moved."""
    rows, start = images()
    before = some_means(rows, start)
    after = before + np.random.default_rng(seed).normal(size=before.shape)
    return rows, centered(Frame(None, 0), rows.mean(axis=0)), before, after


def test_centres_in_the_frame():
    _, frame, centers, _ = settled()
    mine, wanted = compiled_centers.move(centers, frame), prepared.move(centers, frame)
    np.testing.assert_array_equal(mine.weights, wanted.weights)
    np.testing.assert_array_equal(mine.single, wanted.single)
    for name in ("squares", "own_squares", "longest", "subtracted", "away", "lift"):
        np.testing.assert_allclose(getattr(mine, name), getattr(wanted, name), rtol=1e-12)


@pytest.mark.parametrize("exponent", [0, 30])
def test_drift(exponent):
    _, frame, before, after = settled()
    frame = centered(Frame(None, exponent), frame.middle_of(before.shape[1]))
    mine, wanted = CompiledDrift(before, after, frame), Drift(before, after, frame)
    np.testing.assert_allclose(mine.steps, wanted.steps, rtol=1e-6)
    for own, other in zip(mine.pairs, wanted.pairs, strict=True):
        np.testing.assert_allclose(own, other, **CLOSE)
    for name in ("table", "width", "least", "slope"):
        own, other = (getattr(drift.losses, name) for drift in (mine, wanted))
        np.testing.assert_allclose(own, other, **CLOSE)


def test_norms_outside_the_directions():
    rows, frame, _, centers = settled()
    basis, moved = basis_of(rows, frame, 24), prepared.move(centers, frame)
    mine, wanted = CompiledNarrow(moved, frame, basis), Narrow(moved, frame, basis)
    apart = ~np.eye(len(centers), dtype=bool)  # from itself: what is lost, and no more
    np.testing.assert_allclose(mine.apart[apart], wanted.apart[apart], rtol=1e-6)
    np.testing.assert_allclose(mine.alone, wanted.alone, rtol=1e-6)
    assert (mine.apart[~apart] < 1e-2 * mine.alone).all()
    true = centers - frame.middle_of(centers.shape[1])
    true = true - (true @ basis.doubles.T) @ basis.doubles
    assert (mine.alone >= np.linalg.norm(true, axis=1)).all()
    assert (mine.apart >= np.linalg.norm(true[:, np.newaxis] - true, axis=2) * (1 - 1e-9)).all()


@pytest.mark.parametrize("n_rows", [1, 3, 64, 131])
@pytest.mark.parametrize(("dtype", "n_features"), [("uint8", 48), ("float32", 48), ("uint8", 50)])
def test_products_of_all_rows(n_rows, dtype, n_features, rng):
    rows = rng.integers(0, 255, (n_rows, n_features)).astype(dtype)
    for n_directions in (1, 5, 24):
        vectors = rng.normal(size=(n_directions, n_features)).astype(np.float32)
        found = compiled.products_of(rows, Frame(None, 0), vectors)
        wanted = products_of(rows, Frame(None, 0), vectors)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-2)
        assert found.shape == (n_rows, n_directions)


@pytest.mark.parametrize("n_features", [32, 33, 63, 64, 784, 4096])
@pytest.mark.parametrize("n_clusters", [1, 5, 12])
def test_products_in_16_bits(n_features, n_clusters, rng):
    """Within what they say that they err by; integers do not overflow where all are largest."""
    rows = rng.integers(0, 256, (9, n_features)).astype(np.uint8)
    rows[0] = 255
    centers = rng.uniform(0, 255, (n_clusters, n_features))
    centers[0] = 255.0
    nearest = Nearest(centers, Frame(None, 0))
    shorts, wanted = nearest.shorts, rows @ nearest.moved.weights.T
    found = np.full((9, max(n_clusters, 5)), np.nan, np.float32)
    product_loops = pytest.importorskip("daskcluster.kernels.product_loops")
    if not compiled._row_loops().HAS_SHORTS:
        pytest.skip("this machine has no products of 16 bits")
    at = np.arange(9)
    product_loops.products_of_bytes(rows, at, shorts.packed, shorts.scales, found)
    margin = shorts.errors[0] * np.linalg.norm(rows, axis=1) / 4
    assert (np.abs(found[:, :n_clusters] - wanted) <= margin[:, np.newaxis]).all()
    # A half of the least digit is lost of each weight, and no more.
    assert margin.max() < 3e-5 * np.linalg.norm(rows, axis=1).max() * np.linalg.norm(centers[0])


def test_centres_that_are_zero_or_tiny_in_16_bits():
    weights = np.zeros((3, 40))
    weights[1] = 1e-300
    weights[2, 7] = -3.0
    packed, scales, lost = products.shorten(weights)
    assert (packed[:2] == 0).all()
    assert packed[2, 7] == -(2**15 - 1)
    assert scales[2] == np.float32(3.0 / (2**15 - 1))
    assert lost < 1e-6


@pytest.mark.parametrize("sizes", [(1, 1), (3, 2), (2, 1, 9), (40, 2)])
def test_a_tall_product_in_16_bits(sizes, rng):
    rows = rng.integers(0, 256, (150, 50)).astype(np.uint8)
    frame = centered(Frame(None, 0), rows.mean(axis=0))
    models = [Nearest(rows[:size] * 0.5 + size, frame) for size in sizes]
    for found, model in zip(compiled.find_all(models, rows, None), models, strict=True):
        wanted = model.find(rows)
        np.testing.assert_array_equal(found.labels, wanted.labels)
        # Both are less than the gap by up to the margin, and float32 takes 1e-2 of 1e6.
        np.testing.assert_allclose(found.gaps, wanted.gaps, rtol=1e-2, atol=100)
        np.testing.assert_allclose(found.radii, wanted.radii, rtol=1e-3)


WITHOUT_SHORTS = """
import numpy as np
from daskcluster.kernels import compiled
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.nearest import Nearest
rows = np.random.default_rng(0).integers(0, 256, (40, 64)).astype(np.uint8)
model = Nearest(rows[:6].astype(float), Frame(None, 0))
found = compiled.find(model, rows, None, None)
assert (found.labels == model.find(rows).labels).all()
print(compiled._row_loops().HAS_SHORTS)
"""


@pytest.mark.slow
def test_code_for_less_than_this_machine(tmp_path):
    """numba may be told to compile for any machine: instructions are its, not this one's."""
    env = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SHORTS], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 40])
def test_two_lowest(n, rng):
    from daskcluster.kernels import vectors  # noqa: PLC0415 - needs numba

    numba = pytest.importorskip("numba")

    @numba.njit
    def call(table, row, column, squares, first, n):
        return vectors.two_lowest(table, row, column, squares, first, n)

    table = rng.normal(size=(4, n + 32)).astype(np.float32)
    squares = rng.normal(size=n + 32).astype(np.float32)
    for column in (0, 3):
        scores = squares[2 : 2 + n] - 2 * table[1, column : column + n]
        place, lowest, second = call(table, 1, column, squares, 2, n)
        assert place == scores.argmin()
        assert lowest == np.sort(scores)[0]
        assert second == (np.sort(scores)[1] if n > 1 else np.inf)
    table[1, : n // 2] = np.nan
    scores = squares[:n] - 2 * table[1, :n]
    assert call(table, 1, 0, squares, 0, n)[0] == np.nanargmin(scores)
    table[1], squares[:] = 0, 1
    assert call(table, 1, 0, squares, 0, n)[1:] == (1, 1 if n > 1 else np.inf)


def test_first_of_equals():
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(6, 3))
    np.testing.assert_array_equal(first_of_equals(centers), np.arange(6))
    centers[4] = centers[1]
    centers[5], centers[2] = 0.0, -0.0
    np.testing.assert_array_equal(first_of_equals(centers), [0, 1, 2, 3])
    # The same numbers in another order have the same sum of bits.
    centers[0] = centers[3, ::-1]
    np.testing.assert_array_equal(first_of_equals(centers), [0, 1, 2, 3])
