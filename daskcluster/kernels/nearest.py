"""Certified labels: the lowest index among the centres nearest to a row in exact arithmetic.

A row's best two float32 scores decide its label when they differ by more than twice a rigorous
bound on their rounding errors. The rows left are decided by float64 products with the float64
bound, and what is left then by integers. No approximation reaches a result.

Scores are squared distances less what all centres share: with ``r = x - shift`` and
``c_j - shift = w_j + m``, where ``m`` is the frame's middle,
``||x - c_j||^2 = ||w_j + m||^2 - 2 r . w_j + (a term without j)``, and that term is
``||r - m||^2 - ||m||^2``.
Errors of a product of length d follow Higham, *Accuracy and Stability of Numerical Algorithms*,
section 3.1: ``gamma_d = d u / (1 - d u)`` for any order of summation, with or without FMA.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact, sparse_compiled, sparse_nearest
from daskcluster.kernels.frame import Floats, Frame, Rows, Singles
from daskcluster.kernels.prepared import (
    Moved,
    Scores,
    Shorts,
    SparseScores,
    move,
    prepare,
    prepare_sparse,
    shorten,
)
from daskcluster.kernels.scratch import scratch
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.kernels.sparse_nearest import TILE_ROWS
from daskcluster.sizing import tile_rows

Labels = npt.NDArray[np.int32]

# The gap of a row's own centre; less than it where nothing is known.
UNKNOWN = np.float32(2.0**100)

_FEW_CLUSTERS = 32


@dataclass(frozen=True)
class Found:
    """What a look at all centres says of rows; arrays of shape (n,).

    Distances are Euclidean and in the frame; squares of them overflow to infinity, which bounds
    nothing and so is safe.
    """

    labels: Labels
    norms: Singles
    """Upper bounds on the rows' distances from the frame's middle."""
    gaps: Singles
    """Lower bounds on ``||x - c_j||^2 - ||x - c_label||^2`` over all other centres; NaN or 0 where
    nothing is known."""
    radii: Singles
    """Upper bounds on ``||x - c_label||``."""


class Nearest:
    """Assigns rows to centres, exactly.

    Parameters
    ----------
    centers : float64 ndarray of shape (n_clusters, n_features)
    frame : Frame
    mover : callable, default=move
        Does what `prepared.move` does.
    """

    def __init__(
        self, centers: Floats, frame: Frame, mover: Callable[[Floats, Frame], Moved] = move
    ) -> None:
        self.kept = first_of_equals(centers)
        self.repeats = len(self.kept) < len(centers)
        self.centers = np.ascontiguousarray(centers[self.kept] if self.repeats else centers)
        self.frame, self._mover = frame, mover

    @cached_property
    def moved(self) -> Moved:
        """The distinct centres in the frame."""
        return self._mover(self.centers, self.frame)

    @property
    def _sizes(self) -> Moved:
        """The same, but for the weights."""
        return self.moved

    @cached_property
    def single(self) -> Scores:
        """The centres in float32."""
        return prepare(self.moved, np.float32)

    @cached_property
    def double(self) -> Scores:
        """And in float64."""
        return prepare(self.moved, np.float64)

    @cached_property
    def shorts(self) -> Shorts:
        """And in 16 bits."""
        return shorten(self.moved)

    def sparse(self, n_terms: int) -> Scores:
        """In float64, for sparse rows with up to so many elements."""
        size = 1 << n_terms.bit_length()
        if size not in self._sparse:
            self._sparse[size] = prepare(self.moved, np.float64, size)
        return self._sparse[size]

    @cached_property
    def _sparse(self) -> dict[int, Scores]:
        return {}

    def labels(self, rows: Rows, norms: Singles | None = None) -> tuple[Labels, Singles]:
        """Labels (n,) int32 and norms (n,) float32 as in `Found`."""
        found = self.find(rows, norms)
        return found.labels, found.norms

    def find(
        self,
        rows: Rows,
        norms: Singles | None = None,
        at: npt.NDArray[np.intp] | None = None,
        pairs: Singles | None = None,
    ) -> Found:
        """Labels and bounds of rows (n, n_features), or of those ``at`` some places.

        ``norms``, when given, are those of an earlier call on the same rows in the same frame.
        ``pairs``, of shape (n, n_clusters or more), gets a gap of each centre, `UNKNOWN` of a row's
        own; not where centres repeat.
        """
        n, known = len(rows) if at is None else len(at), norms is not None
        norms = norms if norms is not None else np.empty(n, dtype=np.float32)
        found = Found(np.zeros(n, dtype=np.int32), norms, *np.empty((2, n), dtype=np.float32))
        unsure = [np.empty(0, dtype=np.intp)]
        for run in self.tiles(n, rows):
            tile = rows[run] if at is None else rows[at[run]]
            part = None if pairs is None else pairs[run, : len(self.centers)]
            unsure.append(self._label_tile(tile, run, found, known, part) + run.start)
        left = np.concatenate(unsure)
        found.labels[left] = self.decide(rows[left if at is None else at[left]])
        found.labels[:] = self.kept[found.labels]
        if self.repeats:
            # Of centres that are equal now one may leave: the others are as near to its rows.
            found.gaps[:] = 0
        return found

    def decide(self, rows: Rows) -> npt.NDArray[np.intp]:
        """Places among the distinct centres of rows that float32 could not decide."""
        runs = [self._decide(rows[i : i + 1024]) for i in range(0, len(rows), 1024)]
        return np.concatenate(runs) if runs else np.empty(0, dtype=np.intp)

    def tiles(self, n: int, rows: Rows) -> list[slice]:
        """Runs of rows that stay in cache with their products."""
        size = TILE_ROWS if is_sparse(rows) else tile_rows(rows.shape[1], len(self.centers))
        return [slice(i, min(i + size, n)) for i in range(0, n, size)]

    @np.errstate(over="ignore", invalid="ignore")
    def _label_tile(
        self, rows: Rows, run: slice, found: Found, known: bool, pairs: Singles | None
    ) -> npt.NDArray[np.intp]:
        """Fill a run of ``found``; return those of its rows that float32 leaves open."""
        if is_sparse(rows):
            return self._label_sparse(rows, run, found, known)
        # What overflows float32 becomes infinite or NaN, which leaves the row open.
        tile = self.frame.rows32(rows, scratch("tile", rows.shape, np.float32))
        norms, scores = found.norms[run], self.single
        if not known:
            norms[:] = norms_above(tile, self.frame)
        margin = scores.margin(norms + np.float32(scores.away))
        nearest = _nearest_of_few if len(self.centers) <= _FEW_CLUSTERS else _nearest_of_many
        found.labels[run], best, second, sure = nearest(
            scores.product(tile), scores.squares, margin, pairs
        )
        if pairs is not None:
            pairs -= (best + margin)[:, np.newaxis]
            pairs *= np.float32(1 - 2.0**-21)
            # Of a number and NaN, fmax is the number: what overflowed is not known.
            np.fmax(np.minimum(pairs, UNKNOWN, out=pairs), -UNKNOWN, out=pairs)
            pairs[~sure] = -UNKNOWN
        found.gaps[run] = np.where(sure, gaps_below(best, second, margin), 0)
        found.radii[run] = radii_above(norms, best, margin, scores.lift)
        return np.flatnonzero(~sure)

    @np.errstate(over="ignore", invalid="ignore")
    def _label_sparse(
        self, rows: SparseRows, run: slice, found: Found, known: bool
    ) -> npt.NDArray[np.intp]:
        moved = sparse_nearest.scaled(rows, self.frame)
        if not known:
            found.norms[run] = sparse_nearest.norms_above(moved, self.frame)
        # From the origin the norms are the lengths.
        at_origin = self.frame.middle is None
        lengths = found.norms[run].astype(np.float64) if at_origin else None
        if sparse_compiled.pays(len(rows.data)):
            everywhere = np.arange(len(moved))
            found.labels[run], best, second, margin = self._two_best(moved, everywhere, lengths)
        else:
            prepared = self.sparse(rows.most_stored)
            values, margin = sparse_nearest.scores(moved, prepared, lengths)
            found.labels[run], best, second = sparse_nearest.two_best(values)
        gap = second - best - margin
        sure = gap > 0
        found.gaps[run] = np.where(sure, sparse_nearest.downwards(gap), 0)
        norms, lift = found.norms[run].astype(np.float64), self._sizes.lift
        squares = norms * norms + best + lift + 2 * margin
        squares += 2.0**-48 * (norms * norms + np.abs(best) + abs(lift))
        found.radii[run] = sparse_nearest.upwards(np.sqrt(np.maximum(squares, 0)))
        return np.flatnonzero(~sure)

    def _two_best(
        self, rows: SparseRows, at: npt.NDArray[np.intp], lengths: Floats | None
    ) -> tuple[Labels, Floats, Floats, Floats]:
        """What `sparse_nearest.scores` and `two_best` say of some rows, in float32."""
        prepared = self._looped
        numbers = prepared.columns, prepared.squares
        labels, best, second = sparse_compiled.two_best(rows, at, *numbers)
        lengths = sparse_nearest.lengths_above(rows)[at] if lengths is None else lengths
        margin = prepared.margin(lengths, rows.lengths[at])
        return labels, best.astype(np.float64), second.astype(np.float64), margin

    @cached_property
    def _looped(self) -> SparseScores:
        return prepare_sparse(self._sizes, self._columns32)

    @property
    def _columns32(self) -> Singles:
        return sparse_compiled.dense_columns_of(self.moved.weights)

    def _decide(self, rows: Rows) -> npt.NDArray[np.intp]:
        """Labels of rows that float32 could not decide: float64 first, then integers."""
        if is_sparse(rows):
            return self._decide_sparse(rows, self.sparse(rows.most_stored), self.centers)
        near = self._near(rows)
        labels: npt.NDArray[np.intp] = near.argmax(axis=1)
        open_rows = np.flatnonzero(near.sum(axis=1) > 1)
        if len(open_rows):
            labels[open_rows] = self._decide_exactly(rows[open_rows], near[open_rows])
        return labels

    @np.errstate(over="ignore", invalid="ignore")
    def _decide_sparse(
        self, rows: SparseRows, prepared: Scores, centers: Floats
    ) -> npt.NDArray[np.intp]:
        """The same, given the centres in float64 and as they are."""
        values, margin = sparse_nearest.scores(sparse_nearest.scaled(rows, self.frame), prepared)
        near = ~(values > (values.min(axis=1) + margin)[:, np.newaxis])
        labels: npt.NDArray[np.intp] = near.argmax(axis=1)
        open_rows = np.flatnonzero(near.sum(axis=1) > 1)
        if len(open_rows):
            labels[open_rows] = sparse_nearest.decide_exactly(
                rows[open_rows], near[open_rows], centers, self._exact_squares
            )
        return labels

    def _near(self, rows: Rows) -> npt.NDArray[np.bool_]:
        # The same holds for float64, where rows and centres are hundreds of powers of ten apart.
        with np.errstate(over="ignore", invalid="ignore"):
            moved = self.frame.rows64(rows, scratch("rows64", rows.shape, np.float64))
            scores = self.double
            values = np.multiply(scores.product(moved), -2.0)
            values += scores.squares
            margin = scores.margin(np.sqrt(np.einsum("ij,ij->i", moved, moved)))
            near: npt.NDArray[np.bool_] = ~(values > (values.min(axis=1) + margin)[:, np.newaxis])
        return near

    @cached_property
    def _exact_squares(self) -> list[Fraction]:
        return exact.squared_norms(self.centers)

    def _decide_exactly(self, rows: Rows, near: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        # Exact ties mostly come from repeated rows, and integers are slow: each value once.
        seen: dict[bytes, int] = {}
        labels = []
        for i, candidates in enumerate(near):
            row = rows[i]
            if (key := row.tobytes()) not in seen:
                pick = np.flatnonzero(candidates)
                seen[key] = int(pick[exact.nearest(row.astype(np.float64), self.centers[pick])])
            labels.append(seen[key])
        return np.array(labels, dtype=np.intp)


def first_of_equals(centers: Floats) -> npt.NDArray[np.int32]:
    """Ascending places of the distinct centres; of those that are equal, of the first."""
    positive = np.add(centers, 0.0, dtype=np.float64)  # zeros have one sign
    # Sums of bits, whatever their order, are equal where centres are; seldom elsewhere.
    if len(np.unique(positive.view(np.int64).sum(axis=1))) == len(centers):
        return np.arange(len(centers), dtype=np.int32)
    first = {row.tobytes(): i for i, row in reversed(list(enumerate(positive)))}
    return np.array(sorted(first.values()), dtype=np.int32)


def norm_errors(frame: Frame, n_features: int) -> tuple[np.float32, np.float32, np.float32]:
    """For norms from the middle: its square, and how far squares err, in parts and at least.

    Sums of products of length d err by ``gamma_d`` times the sum of magnitudes, which is at most
    ``(||r|| + ||m||)^2 <= 2 ||r||^2 + 2 ||m||^2``.
    """
    middle = frame.middle_of(n_features)
    error = 2.1 * (n_features + 8) * 2.0**-24
    # Squares below 2**-126 may have vanished.
    return np.float32(middle @ middle), np.float32(error), np.float32(n_features * 2.0**-62)


def norms_above(tile: Singles, frame: Frame) -> Singles:
    """Upper bounds on the rows' distances from the frame's middle."""
    own, error, floor = norm_errors(frame, tile.shape[1])
    squares = np.einsum("ij,ij->i", tile, tile)
    moved = squares + error * (squares + own)
    if frame.middle is not None:
        moved += own - 2 * (tile @ frame.middle.astype(np.float32))
    norms: Singles = np.sqrt(np.maximum(moved, 0)) * np.float32(1 + 2.0**-21) + floor
    return norms


def gaps_below(best: Singles, second: Singles, margin: Singles) -> Singles:
    """Lower bounds on the difference of two scores that err by ``margin`` together."""
    return ((second - best) - margin) * np.float32(1 - 2.0**-21)


def radii_above(norms: Singles, best: Singles, margin: Singles, lift: float) -> Singles:
    """Upper bounds on the distance from the centre of score ``best``, or one within a margin."""
    raised = np.float32(lift)
    squares = norms * norms + best + raised + 2 * margin
    squares += np.float32(2.0**-21) * (norms * norms + np.abs(best) + abs(raised))
    radii: Singles = np.sqrt(np.maximum(squares, 0)) * np.float32(1 + 2.0**-21)
    return radii + np.float32(2.0**-62)


def _nearest_of_few(
    product: Singles, squares: Singles, margin: Singles, pairs: Singles | None
) -> "_Scored":
    """Labels, best and second scores, and which labels are certain.

    Clusters lead, so that few long loops run. ``pairs`` gets the scores of all but the label.
    """
    scores = np.ascontiguousarray(product.T)
    scores *= -2
    scores += squares[:, np.newaxis]
    best = scores.min(axis=0)
    near = ~(scores > best + margin)
    # Where one is near its index is the sum of all; several argmax of few booleans are slower.
    indices = np.arange(len(near), dtype=np.uint8)[:, np.newaxis]
    near8 = near.view(np.uint8)
    labels = (near8 * indices).sum(axis=0, dtype=np.intp)
    sure = near8.sum(axis=0, dtype=np.uint8) == 1
    np.copyto(scores, np.inf, where=near)
    if pairs is not None:
        pairs[:] = scores.T
    return labels, best, scores.min(axis=0), sure


def _nearest_of_many(
    product: Singles, squares: Singles, margin: Singles, pairs: Singles | None
) -> "_Scored":
    """The same for long rows of scores."""
    scores = product
    scores *= -2
    scores += squares
    labels = scores.argmin(axis=1)
    rows = np.arange(len(scores))
    best = scores[rows, labels]
    scores[rows, labels] = np.inf
    if pairs is not None:
        pairs[:] = scores
    second = scores.min(axis=1)
    return labels, best, second, second > best + margin


_Scored = tuple[npt.NDArray[np.intp], Singles, Singles, npt.NDArray[np.bool_]]
