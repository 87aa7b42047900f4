"""Centres prepared for products in one precision, with a bound on the errors of scores.

Errors of a product of length d follow Higham, *Accuracy and Stability of Numerical Algorithms*,
section 3.1: ``gamma_d = d u / (1 - d u)`` for any order of summation, with or without FMA.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import products
from daskcluster.kernels.frame import Floats, Frame, Singles
from daskcluster.kernels.scratch import aligned, scratch
from daskcluster.sizing import LANES

_FLOAT32_BITS = 22  # of a number of terms for which `gamma` is a small part
_SHORT_TERMS = 8  # roundings of integers, of their sum in pairs, of a scale and of the product
_SAFETY = 1.01  # covers the second-order terms and the rounding of the bound itself


@dataclass(frozen=True)
class Scores:
    """Centres prepared in one precision, and ``margin = slope * ||r|| + offset`` for its errors."""

    weights: npt.NDArray[Any]
    """The centres less the frame's middle, shape (n_clusters, n_features)."""
    squares: npt.NDArray[Any]
    """Squared norms of the centres less their mean, shape (n_clusters,)."""
    lift: float
    """What a score lacks, beside ``||r - m||^2``, to be a squared distance."""
    away: float
    """Norm of the middle."""
    slope: float
    offset: float
    reach: float
    """Norm of a row beyond which a product, or a sum on the way to it, may overflow."""

    def margin(self, lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """By how much two scores of rows of norms up to ``lengths`` must differ to decide."""
        kind = self.weights.dtype.type
        margin: npt.NDArray[Any] = kind(self.slope) * lengths + kind(self.offset)
        margin[lengths > self.reach] = np.inf
        return margin

    @property
    def errors(self) -> tuple[Any, ...]:
        """Slope, offset, reach, away and lift, for loops."""
        kind = self.weights.dtype.type
        with np.errstate(over="ignore"):
            return tuple(map(kind, (self.slope, self.offset, self.reach, self.away, self.lift)))

    @cached_property
    def columns(self) -> npt.NDArray[Any]:
        """The weights with a row a feature: what products of sparse rows go over."""
        return np.ascontiguousarray(self.weights.T)

    @cached_property
    def packed(self) -> Singles:
        """The weights, in float32, as compiled products read them."""
        return products.pack(self.weights)

    @cached_property
    def padded(self) -> npt.NDArray[Any]:
        """The squares, and room for a vector, which loops read and do not use."""
        return np.append(self.squares, np.zeros(LANES, dtype=self.squares.dtype))

    def product(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """``rows . weights`` in a buffer of this thread."""
        out = scratch("product", (len(rows), len(self.weights)), self.weights.dtype)
        return np.matmul(rows, self.weights.T, out=out)


@dataclass(frozen=True)
class Shorts:
    """Centres in 16 bits, whose products with rows of bytes are integers."""

    packed: npt.NDArray[np.int16]
    """As `products.shorten` makes them."""
    scales: Singles
    errors: tuple[Any, ...]
    """As in `Scores`."""


@dataclass(frozen=True)
class Moved:
    """The centres in the frame, in float64, for both precisions."""

    weights: Floats
    """Less the middle, shape (n_clusters, n_features)."""
    squares: Floats
    """Squared norms of the centres, shape (n_clusters,)."""
    own_squares: Floats
    """And of the weights."""
    longest: float
    """Largest norm of the weights."""
    subtracted: float
    """Largest norm of a centre, and that of the middle: differences of them are the weights."""
    away: float
    """Norm of the middle."""
    lift: float
    """Mean of the squares less the middle's."""
    n_features: int
    """Of the centres, whatever part of them the weights are."""
    single: Singles
    """The weights in float32."""


@np.errstate(over="ignore", invalid="ignore")
def move(centers: Floats, frame: Frame) -> Moved:
    """What overflows here becomes infinite or NaN, and leaves every row to exact arithmetic."""
    moved = frame.rows64(centers)
    middle = frame.middle_of(centers.shape[1])
    squares = np.einsum("ij,ij->i", moved, moved)
    weights = np.subtract(moved, middle, out=moved)
    single = aligned(weights.shape, np.float32)
    single[:] = weights
    return moved_of(weights, single, squares, np.einsum("ij,ij->i", weights, weights), middle)


@np.errstate(over="ignore", invalid="ignore")
def moved_of(
    weights: Floats, single: Singles, squares: Floats, own_squares: Floats, middle: Floats
) -> Moved:
    """With what follows from the squares."""
    away = float(np.sqrt(middle @ middle)) * _SAFETY
    longest = float(np.sqrt(own_squares.max()))
    subtracted = float(np.sqrt(squares.max())) + away
    lift = float(squares.mean()) - float(middle @ middle)
    n_features = len(middle)
    return Moved(weights, squares, own_squares, longest, subtracted, away, lift, n_features, single)


@np.errstate(over="ignore", invalid="ignore")
def prepare(moved: Moved, dtype: Any, n_terms: int | None = None) -> Scores:
    """Centres in a precision, for rows of which up to ``n_terms`` elements are not 0."""
    terms = moved.n_features if n_terms is None else n_terms
    squares = moved.squares - moved.squares.mean()
    slope, offset, reach = _errors(moved, squares, dtype, terms)
    weights = moved.single if dtype == np.float32 else moved.weights
    return Scores(weights, squares.astype(dtype), moved.lift, moved.away, slope, offset, reach)


def _errors(moved: Moved, squares: Floats, dtype: Any, terms: Any) -> tuple[Any, Any, float]:
    """Slope and offset of `Scores` for each number of terms, and its reach."""
    unit = float(np.finfo(dtype).eps) / 2
    # Gradual underflow or flush to zero costs at most this much an element.
    tiny = float(np.finfo(dtype).tiny)
    squares_error = (moved.n_features + 4) * 2.0**-53 * float(moved.squares.max())
    # The weights are differences: they err in proportion to what was subtracted, once each way.
    weights_error = 2 * 2.0**-53 * moved.subtracted
    # Two units for the rows, two for the weights, four for the last sum and the comparison.
    gamma = (terms + 8) * unit / (1 - (terms + 8) * unit)
    slope = 4 * (gamma * moved.longest + weights_error) * _SAFETY + 2 * terms * tiny
    offset = 2 * (4 * unit * float(np.abs(squares).max()) + squares_error) * _SAFETY
    offset += 4 * terms * tiny * (1 + moved.longest)
    # An infinite sum is not an error in proportion: far from infinity, or else undecided.
    top = float(np.finfo(dtype).max) / 8
    if float(np.abs(squares).max()) > top:
        offset = offset + np.inf
    return slope, offset, top / max(moved.longest, 1.0)


@np.errstate(over="ignore", invalid="ignore")
def shorten(moved: Moved) -> Shorts:
    """Centres in 16 bits: products err by what that takes from the weights, and little more."""
    packed, scales, lost = products.shorten(moved.weights)
    squares = moved.squares - moved.squares.mean()
    slope, offset, reach = _errors(moved, squares, np.float32, _SHORT_TERMS)
    slope += 4 * lost * _SAFETY
    errors = tuple(map(np.float32, (slope, offset, reach, moved.away, moved.lift)))
    return Shorts(packed, scales, errors)


@dataclass(frozen=True)
class SparseScores:
    """Centres prepared in float32 for loops over the elements of sparse rows."""

    columns: Singles
    """The weights with a row a feature, padded to whole runs of `sizing.LANES`."""
    squares: Singles
    """As in `Scores`; infinite for the columns that are no centre's."""
    lift: float
    errors: Floats
    """Slopes and offsets for rows of less than ``2**i`` elements, shape (2, n)."""
    reach: float

    def margin(self, lengths: Floats, stored: npt.NDArray[np.int64]) -> Floats:
        """`Scores.margin` of rows that hold so many elements."""
        slope, offset = self.errors[:, np.frexp(stored)[1]]
        margin: Floats = slope * lengths + offset
        margin[lengths > self.reach] = np.inf
        return margin


@np.errstate(over="ignore", invalid="ignore")
def prepare_sparse(moved: Moved, columns: Singles) -> SparseScores:
    """Of centres with such columns. A sum of very many float32 has no bound."""
    squares = moved.squares - moved.squares.mean()
    *errors, reach = _errors(moved, squares, np.float32, 2.0 ** np.arange(_FLOAT32_BITS))
    unbounded = ((0, 0), (0, 64 - _FLOAT32_BITS))
    padded = np.full(columns.shape[1], np.inf, dtype=np.float32)
    padded[: len(squares)] = squares
    return SparseScores(
        columns,
        padded,
        moved.lift,
        np.pad(np.array(errors), unbounded, constant_values=np.inf),
        reach,
    )
