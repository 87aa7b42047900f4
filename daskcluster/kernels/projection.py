"""Distances bounded from a few coordinates: most rows are labelled without being looked at.

With B the leading directions of the rows as its p orthonormal rows, and Q = I - B^T B, the score of
a centre splits: ``x . c = (B x) . (B c) + (Q x) . (Q c)``. The first product costs p operations
instead of n_features. The second is bounded by Cauchy and Schwarz: two centres' scores differ by
what the coordinates say, up to ``2 ||Q x|| ||Q (c_j - c_b)||``. ``B x`` and ``||Q x||`` are kept of
each row, so that no row need be read whose label they decide. Such bounds from orthogonal parts are
those of Hwang and Ahn, "Convergent bounds on the Euclidean distance", NIPS 2011; the directions are
those of a sample, and whatever they are, the bounds hold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels.bounds import TINY, UP
from daskcluster.kernels.frame import Floats, Frame, Rows, Singles
from daskcluster.kernels.nearest import Labels
from daskcluster.kernels.prepared import Moved
from daskcluster.kernels.scratch import aligned, scratch
from daskcluster.sizing import OUTSIDE_ROWS, projection_tile_rows

_SEGMENT = 128  # shorter sums err less
_ROUNDS = 3
_SAFETY = 1.01
_REACH = 2.0**60  # products of numbers below it are far from infinity


@dataclass(frozen=True)
class Basis:
    """Directions to project on."""

    vectors: Singles
    """Nearly orthonormal rows, shape (n_directions, n_features)."""
    skew: float
    """How far from orthonormal: at least the norm of ``B B^T - I``."""
    share: float
    """Of the sample's squared distances from the middle that lies in them."""

    @cached_property
    def doubles(self) -> Floats:
        """The vectors in float64."""
        return self.vectors.astype(np.float64)


def basis_of(rows: Rows, frame: Frame, n_directions: int) -> Basis:
    """The leading directions of some rows, by subspace iteration.

    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53, 2011.
    """
    moved = frame.rows64(rows) - frame.middle_of(rows.shape[1])
    sample = moved.astype(np.float32)
    vectors = np.random.default_rng(0).normal(size=(rows.shape[1], n_directions))
    for _ in range(_ROUNDS):
        vectors = np.linalg.qr(sample.T @ (sample @ vectors.astype(np.float32)))[0]
    basis = np.ascontiguousarray(vectors.T, dtype=np.float32)
    wide = basis.astype(np.float64)
    skew = float(np.linalg.norm(wide @ wide.T - np.eye(n_directions)) * _SAFETY)
    inside = float(np.square(sample @ basis.T, dtype=np.float64).sum())
    whole = float(np.square(moved).sum())
    return Basis(basis, skew, inside / whole if whole > 0 else 1.0)


@dataclass(frozen=True)
class Sketch:
    """What is kept of a block's rows: 4 bytes a direction, and 4 more."""

    coordinates: Singles
    """Shape (n, n_directions), of the rows less the frame's middle."""
    rests: Singles
    """Upper bounds on the norms of what lies outside the directions, shape (n,)."""

    @property
    def nbytes(self) -> int:
        return self.coordinates.nbytes + self.rests.nbytes


def products_of(rows: Rows, frame: Frame, vectors: Singles) -> Singles:
    """Of rows in the frame and directions, shape (n, n_directions)."""
    n, d = rows.shape
    found = aligned((n, len(vectors)), np.float32)
    size = projection_tile_rows(d)
    for start in range(0, n, size):
        run = slice(start, min(start + size, n))
        tile = frame.rows32(rows[run], scratch("tile", rows[run].shape, np.float32))
        found[run] = 0
        for low in range(0, d, _SEGMENT):
            part = slice(low, low + _SEGMENT)
            found[run] += tile[:, part] @ vectors[:, part].T
    return found


@np.errstate(over="ignore", invalid="ignore")
def sketch_of(
    rows: Rows,
    norms: Singles,
    frame: Frame,
    basis: Basis,
    products: Callable[[Rows, Frame, Singles], Singles] = products_of,
) -> Sketch:
    """Project rows (n, n_features) with norms as in `nearest.Found`.

    ``products`` does what `products_of` does, in sums of no more terms one after the other.
    """
    vectors, middle = basis.vectors, frame.middle_of(rows.shape[1])
    found = products(rows, frame, vectors)
    found -= (basis.doubles @ middle).astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", found, found)) * np.float32(1 - 2.0**-18)
    error = _coordinate_error(rows.shape[1], len(vectors))
    lengths -= np.float32(error) * (norms + 2 * _length(middle))
    inside = np.square(np.maximum(lengths, 0)) * np.float32(1 - basis.skew)
    rests = np.maximum(norms * norms * UP - inside, 0)
    return Sketch(found, np.sqrt(rests) * UP + TINY)


def _length(vector: Floats) -> np.float32:
    return np.float32(np.sqrt(vector @ vector) * _SAFETY)


def _coordinate_error(n_features: int, n_directions: int) -> float:
    """By how much coordinates err together, in units of ``||r|| + ||m||``."""
    terms = min(_SEGMENT, n_features) + n_features / _SEGMENT + 24
    return float(np.sqrt(n_directions) * terms * 2.0**-24 * _SAFETY)


@dataclass(frozen=True)
class Narrowed:
    """What coordinates say of rows; arrays of shape (n,)."""

    labels: Labels
    gaps: Singles
    """As in `nearest.Found`; where above 0, the label is proved."""
    radii: Singles


class Narrow:
    """Centres prepared for rows of which a `Sketch` is kept.

    Parameters
    ----------
    moved : Moved
        Distinct centres.
    frame : Frame
    basis : Basis
    """

    def __init__(self, moved: Moved, frame: Frame, basis: Basis) -> None:
        self._moved, self._basis = moved, basis
        self._middle = frame.middle_of(moved.n_features)

    @cached_property
    def _inside(self) -> Floats:
        inside: Floats = self._moved.weights @ self._basis.doubles.T
        return inside

    @cached_property
    def coordinates(self) -> Singles:
        """Of the centres, shape (n_clusters, n_directions)."""
        return self._inside.astype(np.float32)

    @cached_property
    def columns(self) -> Singles:
        """The same with directions leading."""
        return np.ascontiguousarray(self.coordinates.T)

    @cached_property
    def squares(self) -> Singles:
        """Squared norms of the centres less the middle, shape (n_clusters,)."""
        return self._moved.own_squares.astype(np.float32)

    @property
    def alone(self) -> Singles:
        """Upper bounds on the norms of what lies outside the directions, shape (n_clusters,)."""
        return self._norms[0]

    @property
    def apart(self) -> Singles:
        """Upper bounds on ``||Q (c_j - c_b)||``, shape (n_clusters, n_clusters)."""
        return self._norms[1]

    @cached_property
    @np.errstate(over="ignore", invalid="ignore")
    def _norms(self) -> tuple[Singles, Singles]:
        """From ``(Q c) . (Q b) = c . b - 2 (B c) . (B b) + (B^T B c) . (B^T B b)``.

        The last product is the one before it but for the skew, and float64 loses in proportion to
        the squares.
        """
        inside, weights, k = self._inside, self._moved.weights, len(self._inside)
        own = np.einsum("ij,ij->i", inside, inside)
        lost = own * self._basis.skew + self._relative * (self._moved.own_squares + own)
        squares = self._moved.own_squares - own
        alone = np.sqrt(np.maximum(squares + lost, 0)).astype(np.float32) * UP + TINY
        squares += 2 * lost
        apart = np.empty((k, k), dtype=np.float32)
        for start in range(0, k, OUTSIDE_ROWS):
            run = slice(start, start + OUTSIDE_ROWS)
            products = weights[run] @ weights.T
            products -= inside[run] @ inside.T
            self._bound(products, squares[run], squares, apart[run])
        return alone, apart

    def _bound(self, products: Floats, here: Floats, squares: Floats, apart: Singles) -> None:
        """From products of some centres and all, and their squares, to their distances."""
        products *= -2
        products += squares
        products += here[:, np.newaxis]
        np.sqrt(np.maximum(products, 0, out=products), out=products)
        np.multiply(products, np.float64(UP), out=apart, casting="same_kind")

    @property
    def _relative(self) -> float:
        """What products of centres, or of their coordinates, lose in proportion to squares."""
        p, d = self._basis.vectors.shape
        return float((d + 16) * p) * 2.0**-50

    @cached_property
    def errors(self) -> tuple[np.float32, ...]:
        """By how much two scores may err: ``slope * (norm + beyond) + offset`` up to a limit."""
        p, d = self._basis.vectors.shape
        longest = float(np.sqrt(self.squares.max())) * _SAFETY
        largest = (longest + float(np.abs(self._middle).max())) * np.sqrt(d)
        unit = 2.0**-24
        slope = _coordinate_error(d, p) + (p + 16) * unit + self._basis.skew
        offset = 16 * unit * longest * longest + 2.0**-48 * longest * (largest + longest)
        beyond = 2 * float(_length(self._middle))
        # An infinite score is not an error in proportion.
        limit = _REACH * _REACH / (longest + 1) - beyond if longest <= _REACH else 0.0
        numbers = 4 * slope * longest * _SAFETY, offset + 2.0**-60, beyond, min(limit, _REACH)
        return tuple(np.float32(number) for number in numbers)

    def slack(self, norms: Singles) -> Singles:
        """By how much two scores of rows of such norms may err together."""
        slope, offset, beyond, limit = self.errors
        slack: Singles = slope * (norms + beyond) + offset
        slack[~(norms < limit)] = np.inf
        return slack

    def products(self, sketch: Sketch, at: npt.NDArray[np.intp]) -> Singles:
        """Of coordinates of rows and centres, (n, n_clusters), in a buffer of this thread."""
        out = scratch("product", (len(at), len(self.squares)), np.float32)
        return np.matmul(sketch.coordinates[at], self.coordinates.T, out=out)

    @np.errstate(over="ignore", invalid="ignore")
    def narrow(self, sketch: Sketch, norms: Singles, at: npt.NDArray[np.intp]) -> Narrowed:
        """Labels and bounds of the rows ``at`` some places, from what is kept of them."""
        n = len(at)
        found = Narrowed(np.empty(n, dtype=np.int32), *np.empty((2, n), dtype=np.float32))
        size = projection_tile_rows(len(self.squares))
        for start in range(0, n, size):
            run = slice(start, min(start + size, n))
            self._narrow_tile(sketch, norms, at[run], found, run)
        return found

    def _narrow_tile(
        self,
        sketch: Sketch,
        norms: Singles,
        at: npt.NDArray[np.intp],
        found: Narrowed,
        run: slice,
    ) -> None:
        norms, rests = norms[at], sketch.rests[at]
        scores = self.products(sketch, at)
        scores *= -2
        scores += self.squares
        labels, rows = scores.argmin(axis=1), np.arange(len(at))
        best = scores[rows, labels]
        scores -= best[:, np.newaxis]
        within = scratch("reach", scores.shape, np.float32)
        np.take(self.apart, labels, axis=0, out=within)
        within *= (2 * rests)[:, np.newaxis]
        scores -= within
        scores[rows, labels] = np.inf
        self.conclude(found, run, labels, best, scores.min(axis=1), norms, rests)

    def conclude(
        self, found: Narrowed, run: slice, labels: npt.NDArray[Any], best: Singles,
        least: Singles, norms: Singles, rests: Singles,
    ) -> None:  # fmt: skip
        """Fill a run of ``found`` from the best scores and the least bounds of the others."""
        slack = self.slack(norms)
        found.labels[run] = labels
        found.gaps[run] = (least - slack) * np.float32(1 - 2.0**-20)
        squares = norms * norms + best + 2 * rests * self.alone[labels] + slack
        squares += np.float32(2.0**-20) * (norms * norms + np.abs(best))
        found.radii[run] = np.sqrt(np.maximum(squares, 0)) * UP
