"""Certified labels: the lowest index among the centres nearest to a row in exact arithmetic.

A row's best two float32 scores decide its label when they differ by more than twice a rigorous
bound on their rounding errors. The rows left are decided by float64 products with the float64
bound, and what is left then by integers. No approximation reaches a result.

Scores are squared distances less what all centres share: with ``r = x - shift``,
``c_j - shift = w_j + v`` and ``v`` the mean of the shifted centres,
``||x - c_j||^2 = ||w_j + v||^2 - 2 r . w_j + (a term without j)``.
Errors of a product of length d follow Higham, *Accuracy and Stability of Numerical Algorithms*,
section 3.1: ``gamma_d = d u / (1 - d u)`` for any order of summation, with or without FMA.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact
from daskcluster.kernels.scratch import scratch
from daskcluster.plan import tile_rows

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Rows = npt.NDArray[Any]

_FEW_CLUSTERS = 32
# float32 keeps its relative precision for squares and products of such exponents.
EASY_EXPONENT = 20
_SAFETY = 1.01  # covers the second-order terms and the rounding of the bound itself


@dataclass(frozen=True)
class Frame:
    """Where rows and centres are moved to before products: ``(x - shift) * 2**-exponent``."""

    shift: Singles | None
    """float32 column means, shape (n_features,), where an offset would spoil the bound."""
    exponent: int
    """Chosen so that scaled values neither overflow nor vanish in float32; 0 for most data."""

    def rows64(self, rows: Rows, out: Floats | None = None) -> Floats:
        """Rows in the frame as float64, each element rounded at most once."""
        moved = np.empty(rows.shape) if out is None else out
        moved[...] = rows
        if self.shift is not None:
            moved -= self.shift
        return np.ldexp(moved, -self.exponent, out=moved) if self.exponent else moved

    def rows32(self, rows: Rows, out: Singles) -> Singles:
        """Rows in the frame as float32 in ``out``, with a relative error below 2**-23."""
        if self.exponent or rows.dtype.itemsize > (4 if rows.dtype.kind == "f" else 2):
            out[:] = self.rows64(rows, scratch("rows64", rows.shape, np.float64))
        elif self.shift is None:
            out[:] = rows
        else:
            np.subtract(rows, self.shift, out=out, dtype=np.float32)
        return out


@dataclass(frozen=True)
class _Scores:
    """Centres prepared in one precision, and ``margin = slope * ||r|| + offset`` for its errors."""

    weights: npt.NDArray[Any]
    squares: npt.NDArray[Any]
    slope: float
    offset: float
    reach: float
    """Norm of a row beyond which a product, or a sum on the way to it, may overflow."""

    def margin(self, norms: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """By how much two scores of rows of such norms must differ to decide."""
        kind = self.weights.dtype.type
        margin: npt.NDArray[Any] = kind(self.slope) * norms + kind(self.offset)
        margin[norms > self.reach] = np.inf
        return margin

    def product(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """``rows . weights`` in a buffer of this thread."""
        out = scratch("product", (len(rows), len(self.weights)), self.weights.dtype)
        return np.matmul(rows, self.weights.T, out=out)


@np.errstate(over="ignore", invalid="ignore")
def _prepare(centers: Floats, frame: Frame, dtype: Any) -> _Scores:
    """What overflows here becomes infinite or NaN, and leaves every row to exact arithmetic."""
    d = centers.shape[1]
    unit = float(np.finfo(dtype).eps) / 2
    # Gradual underflow or flush to zero costs at most this much an element.
    tiny = float(np.finfo(dtype).tiny)
    moved = frame.rows64(centers)
    middle = moved.mean(axis=0)
    weights = moved - middle
    squares = np.einsum("ij,ij->i", moved, moved)
    squares_error = (d + 4) * 2.0**-53 * float(squares.max())
    squares = squares - squares.mean()
    longest = float(np.sqrt(np.einsum("ij,ij->i", weights, weights).max()))
    # The weights are differences: they err in proportion to what was subtracted, once each way.
    weights_error = 2 * 2.0**-53 * float(np.sqrt(np.einsum("ij,ij->i", moved, moved).max()))
    # Two units for the rows, two for the weights, four for the last sum and the comparison.
    gamma = (d + 8) * unit / (1 - (d + 8) * unit)
    slope = 4 * (gamma * longest + weights_error) * _SAFETY + 2 * d * tiny
    offset = 2 * (4 * unit * float(np.abs(squares).max()) + squares_error) * _SAFETY
    offset += 4 * d * tiny * (1 + longest)
    # An infinite sum is not an error in proportion: far from infinity, or else undecided.
    top = float(np.finfo(dtype).max) / 8
    if float(np.abs(squares).max()) > top:
        offset = np.inf
    reach = top / max(longest, 1.0)
    return _Scores(weights.astype(dtype), squares.astype(dtype), slope, offset, reach)


def frame_of(centers: Floats) -> Frame:
    """A frame for rows that resemble the centres, where nothing else is known of them."""
    exponent = int(np.frexp(np.abs(centers).max())[1])
    if abs(exponent) > EASY_EXPONENT:
        return Frame(None, exponent)
    middle = centers.mean(axis=0)
    spread = float(np.square(centers - middle).sum(axis=1).mean())
    offset = float(np.square(middle).sum()) > 4 * spread
    return Frame(middle.astype(np.float32) if offset else None, 0)


class Nearest:
    """Assigns rows to centres, exactly.

    Parameters
    ----------
    centers : float64 ndarray of shape (n_clusters, n_features)
    frame : Frame
    """

    def __init__(self, centers: Floats, frame: Frame) -> None:
        first = {row.tobytes(): i for i, row in reversed(list(enumerate(centers + 0.0)))}
        self.kept = np.array(sorted(first.values()), dtype=np.int32)
        self.centers = np.ascontiguousarray(centers[self.kept])
        self.frame = frame

    @cached_property
    def _single(self) -> _Scores:
        return _prepare(self.centers, self.frame, np.float32)

    @cached_property
    def _double(self) -> _Scores:
        return _prepare(self.centers, self.frame, np.float64)

    def labels(self, rows: Rows, norms: Singles | None = None) -> tuple[Labels, Singles]:
        """Labels (n,) int32 and upper bounds (n,) float32 on the rows' norms in the frame.

        ``norms``, when given, are those of an earlier call on the same rows.
        """
        known = norms is not None
        norms = norms if norms is not None else np.empty(len(rows), dtype=np.float32)
        local = np.zeros(len(rows), dtype=np.int32)
        unsure = [
            self._label_tile(rows[t], local[t], norms[t], known) + t.start
            for t in self._tiles(rows)
        ]
        left = np.concatenate(unsure) if unsure else np.empty(0, dtype=np.intp)
        for start in range(0, len(left), 1024):
            pick = left[start : start + 1024]
            local[pick] = self._decide(rows[pick])
        return self.kept[local], norms

    def _tiles(self, rows: Rows) -> list[slice]:
        size = tile_rows(rows.shape[1], len(self.centers))
        return [slice(i, min(i + size, len(rows))) for i in range(0, len(rows), size)]

    def _label_tile(
        self, rows: Rows, labels: Labels, norms: Singles, known: bool
    ) -> npt.NDArray[np.intp]:
        """Fill ``labels``, and ``norms`` unless known; return the rows float32 leaves open."""
        # What overflows float32 becomes infinite or NaN, which leaves the row open.
        with np.errstate(over="ignore", invalid="ignore"):
            tile = self.frame.rows32(rows, scratch("tile", rows.shape, np.float32))
            if not known:
                norms[:] = _norms_above(tile)
            if len(self.centers) == 1:
                return np.empty(0, dtype=np.intp)
            scores = self._single
            margin = scores.margin(norms)
            nearest = _nearest_of_few if len(self.centers) <= _FEW_CLUSTERS else _nearest_of_many
            labels[:], sure = nearest(scores.product(tile), scores.squares, margin)
        return np.flatnonzero(~sure)

    def _decide(self, rows: Rows) -> npt.NDArray[np.intp]:
        """Labels of rows that float32 could not decide: float64 first, then integers."""
        # The same holds for float64, where rows and centres are hundreds of powers of ten apart.
        with np.errstate(over="ignore", invalid="ignore"):
            moved = self.frame.rows64(rows, scratch("rows64", rows.shape, np.float64))
            scores = self._double
            values = np.multiply(scores.product(moved), -2.0)
            values += scores.squares
            margin = scores.margin(np.sqrt(np.einsum("ij,ij->i", moved, moved)))
            near = ~(values > (values.min(axis=1) + margin)[:, np.newaxis])
        labels: npt.NDArray[np.intp] = near.argmax(axis=1)
        open_rows = np.flatnonzero(near.sum(axis=1) > 1)
        if len(open_rows):
            labels[open_rows] = self._decide_exactly(rows[open_rows], near[open_rows])
        return labels

    def _decide_exactly(self, rows: Rows, near: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        # Exact ties mostly come from repeated rows, and integers are slow: each value once.
        seen: dict[bytes, int] = {}
        for row, candidates in zip(rows, near, strict=True):
            if (key := row.tobytes()) not in seen:
                pick = np.flatnonzero(candidates)
                seen[key] = int(pick[exact.nearest(row.astype(np.float64), self.centers[pick])])
        return np.array([seen[row.tobytes()] for row in rows], dtype=np.intp)


def _norms_above(tile: Singles) -> Singles:
    """Upper bounds on the rows' Euclidean norms; sums of squares err by gamma_d at most."""
    d = tile.shape[1]
    growth = np.float32(1 + (d + 8) * 2.0**-24)
    floor = np.float32(d * 2.0**-62)  # squares below 2**-126 may have vanished
    norms: Singles = np.sqrt(np.einsum("ij,ij->i", tile, tile)) * growth + floor
    return norms


def _nearest_of_few(
    product: Singles, squares: Singles, margin: Singles
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Labels, and which rows are certain; clusters lead, so that few long loops run."""
    scores = np.ascontiguousarray(product.T)
    scores *= -2
    scores += squares[:, np.newaxis]
    near = (~(scores > scores.min(axis=0) + margin)).view(np.uint8)
    # Where one is near its index is the sum of all; several argmax of few booleans are slower.
    indices = np.arange(len(near), dtype=np.uint8)[:, np.newaxis]
    labels = (near * indices).sum(axis=0, dtype=np.intp)
    return labels, near.sum(axis=0, dtype=np.uint8) == 1


def _nearest_of_many(
    product: Singles, squares: Singles, margin: Singles
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """The same for long rows of scores."""
    scores = product
    scores *= -2
    scores += squares
    labels = scores.argmin(axis=1)
    rows = np.arange(len(scores))
    best = scores[rows, labels]
    scores[rows, labels] = np.inf
    return labels, scores.min(axis=1) > best + margin
