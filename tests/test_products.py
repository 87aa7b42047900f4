"""Compiled float32 products against float64, and what no tile may change."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK

from daskcluster.errors import EngineError
from daskcluster.kernels import products
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.gridsums import GridSum
from daskcluster.kernels.responsibilities import Responsibilities, Softness
from daskcluster.sizing import Grid

pytest.importorskip("numba")


def padded(table):
    tile = products.padded(*table.shape)
    tile[: len(table), : table.shape[1]] = table
    return tile


def by_center(table, weights):
    out = np.full((len(weights), len(table)), np.nan, dtype=np.float32)
    products.by_center(padded(table), products.pack(weights), out)
    return out


@st.composite
def factors(draw):
    n, k = draw(st.sampled_from([1, 15, 16, 17, 70, 300])), draw(st.integers(1, 40))
    d = draw(st.sampled_from([1, 2, 15, 16, 17, 64, 127, 128, 129, 300]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(k, d)).astype(np.float32)


@given(factors())
@CHECK
def test_products_with_centres(pair):
    table, weights = pair
    size = np.abs(weights).astype(np.float64) @ np.abs(table.T)
    error = np.abs(by_center(table, weights) - weights.astype(np.float64) @ table.T)
    # Chains of up to 128 features, and sums of what up to three of them gave.
    assert (error <= size * 132 * 2.0**-24).all()


@given(factors(), st.data())
@CHECK
def test_a_product_is_the_same_beside_any_others(pair, data):
    table, weights = pair
    rows = sorted(data.draw(st.sets(st.integers(0, len(table) - 1), min_size=1)))
    centers = sorted(data.draw(st.sets(st.integers(0, len(weights) - 1), min_size=1)))
    np.testing.assert_array_equal(
        by_center(table[rows], weights[centers]), by_center(table, weights)[centers][:, rows]
    )


@given(factors(), st.data())
@CHECK
def test_weighted_sums(pair, data):
    table, weights = pair
    size = data.draw(st.integers(1, len(table)))
    n = len(table) // size * size
    table, shares = table[:n], np.abs(by_center(table, weights))[:, :n].copy()
    found, totals = products.weighted(padded(table), size, shares, table.shape[1])
    sums = found.copy()  # a buffer of this thread, as the next ones are
    for run in range(n // size):
        at = slice(run * size, (run + 1) * size)
        own = shares[:, at].astype(np.float64)
        error = np.abs(sums[run] - own @ table[at])
        assert (error <= own @ np.abs(table[at]) * 132 * 2.0**-24).all()
        np.testing.assert_allclose(totals[run], own.sum(axis=1), rtol=1e-13)
        alone, _ = products.weighted(padded(table[at]), size, shares[:, at].copy(), table.shape[1])
        np.testing.assert_array_equal(alone[0], sums[run])


def test_without_numba_a_worker_says_so(monkeypatch):
    monkeypatch.setattr(products, "_modules", products._modules.__wrapped__)
    monkeypatch.delattr("daskcluster.kernels.product_loops", raising=False)
    monkeypatch.setitem(sys.modules, "daskcluster.kernels.product_loops", None)
    with pytest.raises(EngineError, match="install the extra 'fast' on all or on none"):
        by_center(np.ones((1, 1), dtype=np.float32), np.ones((1, 1), dtype=np.float32))


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize(("k", "d", "beta"), [(1, 3, 1.0), (3, 40, 0.1), (7, 17, 100.0)])
def test_shares_are_those_of_numpy(rng, metric, k, d, beta):
    """But for products, which are added in another order: of whole numbers all are exact."""
    rows = rng.integers(0, 9, (50, d)).astype(np.float32)
    centers = rng.integers(0, 9, (k, d)).astype(np.float64)
    rows[3] = centers[0]  # near enough for differences
    shared = Responsibilities(centers, Softness(beta, metric, "float32"), Frame(None, 0))
    tile, norms = padded(rows), shared.norms(rows)
    wanted = [np.array(part) for part in shared.of(rows, norms, rows, 1)]
    found = shared.of_padded(tile, norms, rows)
    for part, other in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(np.ravel(other), np.ravel(part))


def test_sums_on_a_grid_are_those_of_numpy(rng):
    values, grid = rng.normal(size=(40, 3, 5)), Grid(-60, 2)
    plain, compiled = (GridSum((3, 5), grid, by_loops) for by_loops in (False, True))
    for start in (0, 20):
        for total in (plain, compiled):
            total.add(values[start : start + 20].copy())
    np.testing.assert_array_equal(compiled.limbs(), plain.limbs())
