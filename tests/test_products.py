"""Compiled float32 products against float64, and what no tile may change."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import CHECK

from daskcluster.errors import EngineError
from daskcluster.kernels import exact, products
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.compiling import Loops
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.responsibilities import Softness
from daskcluster.kernels.soft import Soften, soft_grids
from daskcluster.sizing import LANES

pytest.importorskip("numba")


def padded(table):
    tile = np.zeros((len(table) + 8, -(-table.shape[1] // LANES) * LANES), dtype=np.float32)
    tile[: len(table), : table.shape[1]] = table
    return tile


def by_center(table, weights):
    from daskcluster.kernels import product_loops  # noqa: PLC0415 - only where numba is

    out = np.full((len(weights), len(table)), np.nan, dtype=np.float32)
    product_loops.by_center(padded(table), products.pack(weights), out)
    return out


def weighted(table, shares):
    from daskcluster.kernels import product_loops  # noqa: PLC0415 - only where numba is

    tile, sums = padded(table), np.zeros((len(shares), table.shape[1]))
    part, totals = np.empty((len(shares), tile.shape[1]), dtype=np.float32), np.zeros(len(shares))
    product_loops.weighted(tile, shares, part, sums, totals)
    return sums, totals


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
    # Chains of up to 19 features a lane, whose sums are added in pairs.
    assert (error <= size * 24 * 2.0**-24).all()


@given(factors(), st.data())
@CHECK
def test_a_product_is_the_same_beside_any_others(pair, data):
    table, weights = pair
    rows = sorted(data.draw(st.sets(st.integers(0, len(table) - 1), min_size=1)))
    centers = sorted(data.draw(st.sets(st.integers(0, len(weights) - 1), min_size=1)))
    np.testing.assert_array_equal(
        by_center(table[rows], weights[centers]), by_center(table, weights)[centers][:, rows]
    )


@given(factors())
@CHECK
def test_weighted_sums(pair):
    table, weights = pair[0][:128], pair[1]
    shares = np.abs(by_center(table, weights))
    found, totals = weighted(table, shares)
    own = shares.astype(np.float64)
    assert (np.abs(found - own @ table) <= own @ np.abs(table) * 132 * 2.0**-24).all()
    np.testing.assert_allclose(totals, own.sum(axis=1), rtol=1e-13)
    alone, _ = weighted(table, shares[-1:].copy())
    np.testing.assert_array_equal(alone[0], found[-1])


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize(
    ("dtype", "k", "d", "beta"),
    [("uint8", 1, 3, 1.0), ("float32", 3, 40, 0.1), ("float64", 7, 17, 50.0), ("int16", 12, 64, 1)],
)
def test_shares_in_loops_are_those_of_float64(rng, metric, dtype, k, d, beta):
    rows = rng.integers(0, 9, (300, d)).astype(dtype)
    centers = rng.normal(4, 2, (k, d))
    centers[0] = rows[3]  # near enough for differences
    frame = Frame(np.full(d, 3.0, dtype=np.float32) if dtype == "int16" else None, 0)
    weights = rng.integers(0, 4, 300) if dtype == "float32" else None
    softness = [Softness(beta, metric, precision) for precision in ("float32", "float64")]
    grids = soft_grids(300, d, k, 6, softness[1], frame)
    jobs = [
        Soften(centers, softness[0], frame, grids, compiled=True),
        Soften(centers, softness[1], frame, grids),
    ]
    found, wanted = (job.step(Batch(0, rows, weights=weights), None)[0] for job in jobs)
    for name, tolerance in (("sums", 1e-4), ("weights", 1e-4), ("energy", 1e-4)):
        numbers = [exact.rounded(getattr(p, name), getattr(grids, name)) for p in (found, wanted)]
        np.testing.assert_allclose(*numbers, rtol=tolerance, atol=tolerance, err_msg=name)


def test_exponentials_in_loops():
    from daskcluster.kernels.soft_loops import _exp  # noqa: PLC0415 - only where numba is

    x = -np.concatenate([np.linspace(0, 80, 20001), 2.0 ** np.arange(-149, 6)]).astype(np.float32)
    found, wanted = np.array([_exp(one) for one in x]), np.exp(x.astype(np.float64))
    assert (np.abs(found - wanted) <= wanted * 2.0**-22).all()


def test_without_numba_a_worker_says_so(monkeypatch):
    monkeypatch.setattr(products, "_soft_loops", Loops("soft_loops", "soften"))
    monkeypatch.setitem(sys.modules, "daskcluster.kernels.soft_loops", None)
    with pytest.raises(EngineError, match="install the extra 'fast' on all or on none"):
        products.soft_loops()
