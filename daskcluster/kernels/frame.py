"""Where rows and centres are moved to before products, so that float32 loses little."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels.scratch import scratch

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Rows = npt.NDArray[Any]

# float32 keeps its relative precision for squares and products of such exponents.
EASY_EXPONENT = 20


@dataclass(frozen=True)
class Frame:
    """Where rows and centres are moved to before products: ``(x - shift) * 2**-exponent``."""

    shift: Singles | None
    """float32 column means, shape (n_features,), where an offset would spoil the bound."""
    exponent: int
    """Chosen so that scaled values neither overflow nor vanish in float32; 0 for most data."""
    middle: Floats | None = None
    """A point of the frame that is near the rows, shape (n_features,); None is its origin."""

    def middle_of(self, n_features: int) -> Floats:
        """The middle, float64 of shape (n_features,)."""
        return np.zeros(n_features) if self.middle is None else self.middle

    def rows64(self, rows: Rows, out: Floats | None = None) -> Floats:
        """Rows in the frame as float64, each element rounded at most once."""
        moved = np.empty(rows.shape) if out is None else out
        moved[...] = rows
        if self.shift is not None:
            moved -= self.shift
        return np.ldexp(moved, -self.exponent, out=moved) if self.exponent else moved

    def has32(self, rows: Rows) -> bool:
        """Whether rows are those of the frame, in float32."""
        return rows.dtype == np.float32 and self.shift is None and not self.exponent

    def rows32(self, rows: Rows, out: Singles) -> Singles:
        """Rows in the frame as float32 in ``out``, with a relative error below 2**-23."""
        if self.exponent or rows.dtype.itemsize > (4 if rows.dtype.kind == "f" else 2):
            out[:] = self.rows64(rows, scratch("rows64", rows.shape, np.float64))
        elif self.shift is None:
            out[:] = rows
        else:
            np.subtract(rows, self.shift, out=out, dtype=np.float32)
        return out


def frame_of(centers: Floats) -> Frame:
    """A frame for rows that resemble the centres, where nothing else is known of them."""
    exponent = int(np.frexp(np.abs(centers).max())[1])
    exponent = exponent if abs(exponent) > EASY_EXPONENT else 0
    with np.errstate(over="ignore", invalid="ignore"):
        middle = centers.mean(axis=0)
        spread = float(np.square(centers - middle).sum(axis=1).mean())
        offset = exponent == 0 and float(np.square(middle).sum()) > 4 * spread
    return centered(Frame(middle.astype(np.float32) if offset else None, exponent), middle)


def unmoved(frame: Frame) -> Frame:
    """The frame for sparse rows, which lose their zeros when they are moved."""
    return Frame(None, frame.exponent)


def centered(frame: Frame, point: Floats) -> Frame:
    """The frame with its middle at ``point``, given in the coordinates of the rows."""
    with np.errstate(over="ignore", invalid="ignore"):
        middle = frame.rows64(point[np.newaxis])[0]
    return replace(frame, middle=middle if np.isfinite(middle).all() else None)
