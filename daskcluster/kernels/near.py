"""Which rows may be nearer to some point than to what is nearest so far, by float32 products.

Of most rows a new seed changes nothing. What may change is computed as if this were not here.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact
from daskcluster.kernels.frame import Floats, Frame, Singles
from daskcluster.kernels.scratch import scratch
from daskcluster.kernels.sparse import is_sparse

FARTHEST = 2.0**61  # units that a distance may count; a sum of few stays in int64

_TILE = 4096


@np.errstate(over="ignore", invalid="ignore")
def squared_norms(rows: Any, frame: Frame) -> Singles:
    """Of rows in the frame, in float32, shape (n,); none of sparse rows."""
    if is_sparse(rows):
        return np.empty(0, dtype=np.float32)
    out = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _TILE):
        x = _singles(rows[start : start + _TILE], frame)
        np.einsum("ij,ij->i", x, x, out=out[start : start + _TILE])
    return out


def _singles(rows: Any, frame: Frame) -> Singles:
    return (
        rows if frame.has32(rows) else frame.rows32(rows, scratch("rows32", rows.shape, np.float32))
    )


class Near:
    """Points, for float32 products with dense rows.

    A squared distance in float32, ``fl(x.x + y.y - 2 x.y)``, errs by at most
    ``e (|x| + |y|)^2 <= 2 e (x.x + y.y)``, with ``e = 2 gamma_d`` of Higham, section 3.1. So a row
    of which ``(1 - 2 e) (x.x + y.y) - 2 x.y`` is not below a number is no nearer than that.
    """

    @np.errstate(over="ignore", invalid="ignore")
    def __init__(self, points: Floats, frame: Frame, unit: int) -> None:
        self._frame, self._scale = frame, unit - 2 * frame.exponent
        y, d = frame.rows64(points), points.shape[1]
        # Sixteen units for what becomes of rows, points and norms, and for the last sums.
        self._left = 1 - 2 * 2.2 * (d + 16) * 2.0**-24
        squares = np.einsum("ij,ij->i", y, y)
        self._doubled = (-2 * y).astype(np.float32)
        self._squares = (self._left * squares).astype(np.float32)[:, np.newaxis]
        # What underflows costs at most this much.
        self._tiny = 8 * d * float(np.finfo(np.float32).tiny) * (1 + squares.max())

    @np.errstate(over="ignore", invalid="ignore")
    def rows(self, rows: Any, below: npt.NDArray[np.int64], norms: Singles) -> npt.NDArray[np.intp]:
        """Ascending places of the rows that may be nearer to some point than ``below`` units."""
        if self._left <= 0:
            return np.arange(len(below))
        own = norms.astype(np.float64)
        # Units were rounded, by less than one.
        known = exact.shifted(below.astype(np.float64) + 2, self._scale) * (1 + 2.0**-20)
        enough = (known - self._left * own + self._tiny * (1 + own)).astype(np.float32)
        # Nothing is known yet of rows that no distance is known of.
        enough[~np.isfinite(enough) | (below > FARTHEST)] = np.nan
        shape = (len(self._doubled), len(rows))
        scores = scratch("near", shape, np.float32)
        np.matmul(self._doubled, _singles(rows, self._frame).T, out=scores)
        scores += self._squares
        # No number is at least, or below, one that is none.
        return np.flatnonzero(~(scores >= enough).all(axis=0))
