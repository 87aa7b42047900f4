"""float32 products of dense rows, and shares made of them, in compiled loops.

Used where numba is installed and the work is large. OpenBLAS is made for large factors: of ten
centres it fills its registers by half, and packs every row twice; here rows and centres are read
from the cache, by as many sums as there are registers.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.errors import EngineError
from daskcluster.kernels.compiling import LOADING, tell_of_compiling
from daskcluster.kernels.frame import Floats, Singles
from daskcluster.kernels.scratch import aligned, scratch
from daskcluster.sizing import LANES

# What any machine's loops take at once is no more.
_ROWS = 4
_CENTERS = 5
_TILE_ROWS = 64  # they stay in cache until they are compared


def pack(weights: Singles) -> Singles:
    """Centres (k, d) as the loops read them: whole vectors, and enough of them; zeros beyond."""
    k, d = weights.shape
    shape = (max(k, _CENTERS), _whole(d))
    packed = aligned(4 * shape[0] * shape[1]).view(np.float32).reshape(shape)
    packed[:] = 0
    packed[:k, :d] = weights
    return packed


def _whole(n_features: int) -> int:
    return -(-n_features // LANES) * LANES


def padded(n_rows: int, n_features: int) -> Singles:
    """A tile for whole vectors, in a buffer of this thread; zeros beyond its rows and features."""
    shape = (n_rows + _ROWS, _whole(n_features))
    tile = scratch("padded", shape, np.float32)
    tile[n_rows:] = 0
    tile[:, n_features:] = 0
    return tile


def tile_for(packed: Singles) -> tuple[Singles, Singles]:
    """A tile for rows, zeros beyond their features, and one for their products with all centres."""
    tile = scratch("loop tile", (_TILE_ROWS, packed.shape[1]), np.float32)
    tile[:, -LANES:] = 0
    return tile, scratch("loop products", (_TILE_ROWS, len(packed)), np.float32)


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


def copy(rows: npt.NDArray[Any], tile: Singles) -> None:
    """Rows of uint8 or float32 as the first rows of a `padded` tile."""
    _share_loops().copy(rows, tile)


def distances(shares: Singles, squares: Singles, norms: Singles, close: float) -> int:
    """From products with -2 times the centres to squared distances, shape (k, n), in place.

    Returns how many are below ``close`` times the row's squared norm.
    """
    n_close: int = _share_loops().distances(shares, squares, norms, np.float32(close))
    return n_close


def exponentials(shares: Singles, factor: float, vanishes: float) -> tuple[Singles, Singles]:
    """Distances (k, n) become shares, in place: ``exp(factor (d - least))`` over their sum.

    Exponents below ``vanishes`` give 0. Returns the rows' least distances and sums, shape (n,).
    """
    least, totals = np.empty((2, shares.shape[1]), dtype=np.float32)
    loops = _share_loops()
    loops.exponents(shares, np.float32(factor), np.float32(vanishes), least)
    np.exp(shares, out=shares)
    loops.divide(shares, totals)
    return least, totals


def to_grid(values: Floats, large: list[Any], high: Floats, low: Floats) -> None:
    """Add arrays (n, k, d) to the sums of both limbs: `gridsums.GridSum`."""
    _share_loops().to_grid(values, (large[0], large[1]), high, low)


@cache
def _modules() -> tuple[Any, Any]:
    try:
        from daskcluster.kernels import product_loops, share_loops  # noqa: PLC0415 - takes a second
    except ImportError as error:
        raise EngineError(
            "the process that started this fit has numba, and a worker has not: bits would depend "
            "on who computes, so install the extra 'fast' on all or on none"
        ) from error
    tell_of_compiling(Path(product_loops.weighted.stats.cache_path), "product_loops.weighted")
    return product_loops, share_loops


def _loops() -> Any:
    with LOADING:
        return _modules()[0]


def _share_loops() -> Any:
    with LOADING:
        return _modules()[1]
