"""float32 products of dense rows, and shares made of them, in compiled loops.

Used where numba is installed and the work is large. OpenBLAS is made for large factors: of ten
centres it fills its registers by half, and packs every row twice; here rows and centres are read
from the cache, by as many sums as there are registers.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.errors import EngineError
from daskcluster.kernels.compiling import Loops
from daskcluster.kernels.frame import Floats, Singles
from daskcluster.kernels.scratch import aligned, is_aligned, scratch
from daskcluster.sizing import LANES, SHORT_LANES

FEWEST_PACKED = 5  # that loops take at once
_MOST_SHORT = 2.0**15 - 1
_LEAST_SCALE = 2.0**-60  # products of far smaller ones would vanish
_TILE_ROWS = 64  # they stay in cache until they are compared


def pack(weights: Singles) -> Singles:
    """Centres (k, d) as the loops read them: whole vectors, and enough of them; zeros beyond."""
    k, d = weights.shape
    shape = (max(k, FEWEST_PACKED), _whole(d))
    if weights.shape == shape and is_aligned(weights):
        return weights
    packed = aligned(shape, np.float32)
    packed[:] = 0
    packed[:k, :d] = weights
    return packed


def shorten(weights: Floats) -> tuple[npt.NDArray[np.int16], Singles, float]:
    """Centres in 16 bits, as the loops read them, their scales, and the most that one loses.

    Of a vector of features at least. A row's last vector begins among the one before: what is there
    twice is zero the second time.
    """
    k, d = weights.shape
    most = max(k, FEWEST_PACKED)
    packed = aligned((most, -(-d // SHORT_LANES) * SHORT_LANES), np.int16)
    packed[:] = 0
    scales = np.zeros(most, dtype=np.float32)
    lost = center_loops().shorten(weights, _MOST_SHORT, _LEAST_SCALE, packed, scales)
    return packed, scales, lost


def _whole(n_features: int) -> int:
    return -(-n_features // LANES) * LANES


def tile_for(packed: Singles) -> tuple[Singles, Singles]:
    """A tile for rows, zeros beyond their features, and one for their products with all centres.

    Beyond the products is room for a vector.
    """
    tile = scratch("loop tile", (_TILE_ROWS, packed.shape[1]), np.float32)
    tile[:, -LANES:] = 0
    return tile, scratch("loop products", (_TILE_ROWS + LANES, len(packed)), np.float32)


center_loops = Loops("center_loops", "move")
_soft_loops = Loops("soft_loops", "soften")


def soft_loops() -> Any:
    """The module of that name, which only numba can import."""
    try:
        return _soft_loops()
    except ImportError as error:
        raise EngineError(
            "the process that started this fit has numba, and a worker has not: bits would depend "
            "on who computes, so install the extra 'fast' on all or on none"
        ) from error
