"""float32 products of dense rows in compiled loops, where numba is installed and the work is large.

OpenBLAS is made for large factors. Of ten centres it fills its registers by half, and packs every
row twice; here a row is read from the cache, by as many sums as there are registers.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from daskcluster.errors import EngineError
from daskcluster.kernels.compiling import LOADING, tell_of_compiling
from daskcluster.kernels.frame import Floats, Singles
from daskcluster.kernels.scratch import scratch
from daskcluster.sizing import LANES

# What any machine's loops take at once is no more.
_ROWS = 16


def pack(weights: Singles) -> Singles:
    """Centres (k, d) as the loops read them: shape (n_groups, d, LANES), zeros beyond k."""
    k, d = weights.shape
    packed = np.zeros((-(-k // LANES), d, LANES), dtype=np.float32)
    for j in range(k):
        packed[j // LANES, :, j % LANES] = weights[j]
    return packed


def padded(n_rows: int, n_features: int) -> Singles:
    """A tile for whole vectors, in a buffer of this thread; zeros beyond its rows and features."""
    shape = (n_rows + _ROWS, -(-n_features // LANES) * LANES)
    tile = scratch("padded", shape, np.float32)
    tile[n_rows:] = 0
    tile[:, n_features:] = 0
    return tile


def by_center(tile: Singles, packed: Singles, out: Singles) -> None:
    """Products of the first rows of a `padded` tile with `pack`ed centres, shape (k, n)."""
    _loops().by_center(tile, packed, out)


def weighted(tile: Singles, size: int, shares: Singles, d: int) -> tuple[Floats, Floats]:
    """Sums of rows by share (k, n), of each even run of ``size`` rows, and of the shares.

    Returns
    -------
    float64 ndarray of shape (n_runs, k, d)
        In a buffer of this thread.
    float64 ndarray of shape (n_runs, k)
    """
    k, n = shares.shape
    sums, totals = scratch("weighted64", (n // size, k, d), np.float64), np.zeros((n // size, k))
    sums[:] = 0
    _loops().weighted(tile, size, shares, sums, totals)
    return sums, totals


@cache
def _module() -> Any:
    try:
        from daskcluster.kernels import product_loops  # noqa: PLC0415 - a second to import
    except ImportError as error:
        raise EngineError(
            "the process that started this fit has numba, and a worker has not: bits would depend "
            "on who computes, so install the extra 'fast' on all or on none"
        ) from error
    tell_of_compiling(Path(product_loops.weighted.stats.cache_path), "product_loops.weighted")
    return product_loops


def _loops() -> Any:
    with LOADING:
        return _module()
