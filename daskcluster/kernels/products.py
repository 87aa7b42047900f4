"""float32 products of dense rows, and shares made of them, in compiled loops.

Used where numba is installed and the work is large. OpenBLAS is made for large factors: of ten
centres it fills its registers by half, and packs every row twice; here rows and centres are read
from the cache, by as many sums as there are registers.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from daskcluster.errors import EngineError
from daskcluster.kernels.compiling import LOADING, tell_of_compiling
from daskcluster.kernels.frame import Singles
from daskcluster.kernels.scratch import aligned, is_aligned, scratch
from daskcluster.sizing import LANES

_CENTERS = 5  # that loops take at once
_TILE_ROWS = 64  # they stay in cache until they are compared


def pack(weights: Singles) -> Singles:
    """Centres (k, d) as the loops read them: whole vectors, and enough of them; zeros beyond."""
    k, d = weights.shape
    shape = (max(k, _CENTERS), _whole(d))
    if weights.shape == shape and is_aligned(weights):
        return weights
    packed = aligned(shape, np.float32)
    packed[:] = 0
    packed[:k, :d] = weights
    return packed


def _whole(n_features: int) -> int:
    return -(-n_features // LANES) * LANES


def tile_for(packed: Singles) -> tuple[Singles, Singles]:
    """A tile for rows, zeros beyond their features, and one for their products with all centres.

    Beyond the products is room for a vector.
    """
    tile = scratch("loop tile", (_TILE_ROWS, packed.shape[1]), np.float32)
    tile[:, -LANES:] = 0
    return tile, scratch("loop products", (_TILE_ROWS + LANES, len(packed)), np.float32)


@cache
def _soft_loops() -> Any:
    try:
        from daskcluster.kernels import soft_loops  # noqa: PLC0415 - a second to import
    except ImportError as error:
        raise EngineError(
            "the process that started this fit has numba, and a worker has not: bits would depend "
            "on who computes, so install the extra 'fast' on all or on none"
        ) from error
    tell_of_compiling(Path(soft_loops.soften.stats.cache_path), "soft_loops.soften")
    return soft_loops


def soft_loops() -> Any:
    """The module of that name, which only numba can import."""
    with LOADING:
        return _soft_loops()
