"""Bounds on what moving centres can change: rows that provably keep their label are left alone.

For a row x of cluster a and any other centre j, squared distances before and after the centres
moved by ``e`` give, without any inequality,
``gap'_j = gap_j + 2 (c'_j - c'_a) . e_j - ||e_j - e_a||^2 - 2 (x - c_a) . (e_j - e_a)``, where c'
are the centres after, and the last product is at most ``||x - c_a|| ||e_j - e_a||`` (Cauchy and
Schwarz). The least over all j is a loss that depends on a and on ``||x - c_a||`` alone. This is the
idea of Hamerly, "Making k-means even faster", SDM 2010 (one bound for all other centres) on squared
distances, where what moves all centres alike, or moves them apart, costs nothing.

A row keeps its label while its gap stays above 0. All roundings are towards less gap.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from daskcluster.kernels.frame import Floats, Frame, Singles
from daskcluster.kernels.nearest import Labels
from daskcluster.kernels.prepared import Moved, move
from daskcluster.kernels.scratch import aligned
from daskcluster.sizing import pairs_width

_BINS = 32
_REACH = 3.0  # the bins of distances end at so many times the longest centre
_ROWS = 256  # centres whose losses are computed together: n_clusters wide, never squared
UP = np.float32(1 + 2.0**-20)
TINY = np.float32(2.0**-60)  # more than what underflows amounts to


@dataclass(frozen=True)
class Losses:
    """Lower bounds on what each centre's rows gain, by their distance from it."""

    table: Singles
    """At the edges of the bins, shape (n_clusters, n_bins + 1)."""
    width: np.float32
    """Of a bin."""
    least: Singles
    """Beyond the bins, as a line: the value at 0, shape (n_clusters,)."""
    slope: Singles
    """And how it falls."""

    def at(self, labels: Labels, radii: Singles) -> Singles:
        """By interpolation: a least value of lines is concave, and lies above its chords."""
        place = radii / self.width
        inside = place < _BINS
        left = np.where(inside, place, 0).astype(np.intp)
        part = place - left.astype(np.float32)
        left += labels * np.intp(_BINS + 1)
        table = self.table.ravel()
        low = table[left]
        losses: Singles = low + (table[left + 1] - low) * part
        beyond = np.flatnonzero(~inside)
        far = labels[beyond]
        losses[beyond] = self.least[far] - radii[beyond] * self.slope[far]
        return losses


def lowest_lines(gain: Singles, slope: Singles, places: Singles) -> Singles:
    """The least over the last axis of ``gain - place * slope``, at each of some places.

    Returns shape (n_rows, n_places); NaN where any is.
    """
    lowest = np.empty((len(gain), len(places)), dtype=np.float32)
    for i, place in enumerate(places):
        lowest[:, i] = (gain - place * slope).min(axis=1)
    return lowest


class Drift:
    """What the move from ``before`` to ``after`` may take from a gap.

    Parameters
    ----------
    before, after : float64 ndarray of shape (n_clusters, n_features)
    frame : Frame
    moved : Moved, optional
        ``after`` in the frame, where that is known already.
    """

    def __init__(
        self,
        before: Floats,
        after: Floats,
        frame: Frame,
        moved: Moved | None = None,
    ) -> None:
        self._before, self._after, self._frame = before, after, frame
        self._known = moved

    @np.errstate(over="ignore", invalid="ignore")
    def widen(self, labels: Labels, gaps: Singles, radii: Singles) -> tuple[Singles, Singles]:
        """Gaps and radii, shape (n,) each, that hold after the move; see `nearest.Found`."""
        losses = self.losses.at(labels, radii)
        widened = gaps + losses
        widened -= np.float32(2.0**-22) * (np.abs(gaps) + np.abs(losses))
        return widened, (radii + self.steps[labels]) * UP

    @cached_property
    @np.errstate(over="ignore", invalid="ignore")
    def _moves(self) -> tuple[Singles, Singles]:
        """How each centre has moved, and upper bounds on how far."""
        moves, exponent = self._after - self._before, self._frame.exponent
        moves = np.ldexp(moves, -exponent, out=moves) if exponent else moves
        steps: Singles = np.sqrt(np.einsum("ij,ij->i", moves, moves)).astype(np.float32)
        return moves.astype(np.float32), steps * UP + TINY

    @property
    def steps(self) -> Singles:
        """Upper bounds on how far each centre has moved."""
        return self._moves[1]

    def _lowest(self, gain: Singles, slope: Singles, places: Singles) -> Singles:
        return lowest_lines(gain, slope, places)

    @cached_property
    @np.errstate(over="ignore", invalid="ignore")
    def _sizes(self) -> tuple[Singles, Singles, np.float32]:
        """The centres less the middle, their lengths, and what differences may have lost."""
        moved = move(self._after, self._frame) if self._known is None else self._known
        lengths = np.sqrt(moved.own_squares).astype(np.float32) * UP + TINY
        # Differences err in proportion to what was subtracted.
        return moved.single, lengths, np.float32(2.0**-50 * moved.subtracted)

    @cached_property
    @np.errstate(over="ignore", invalid="ignore")
    def losses(self) -> Losses:
        k, lengths = len(self._after), self._sizes[1]
        width = np.float32(_REACH * lengths.max() / _BINS)
        places = 2 * width * np.arange(_BINS + 1, dtype=np.float32)
        table = np.empty((k, _BINS + 1), dtype=np.float32)
        least, slope = np.empty((2, k), dtype=np.float32)
        for start in range(0, k, _ROWS):
            run = slice(start, min(start + _ROWS, k))
            gain, apart = self._lines(run, self._parting(run))
            table[run] = self._lowest(gain, apart, places)
            least[run], slope[run] = gain.min(axis=1), 2 * apart.max(axis=1)
        return Losses(table, width, least, slope)

    @cached_property
    @np.errstate(over="ignore", invalid="ignore")
    def pairs(self) -> tuple[Singles, Singles]:
        """What each centre's rows gain on each other: at distance 0, and half how it falls.

        Shape (n_clusters, pairs_width(n_clusters)) each, for few centres; 0 between a centre and
        itself, and in the columns that are no centre's.
        """
        k = len(self._after)
        gain, apart = aligned((2, k, pairs_width(k)), np.float32)
        gain[:], apart[:] = 0, 0
        gain[:, :k], apart[:, :k] = self._lines(slice(0, k), self.parting)
        np.fill_diagonal(gain, 0)
        return gain, apart

    @cached_property
    def parting(self) -> Singles:
        """What `_lines` makes ``||e_j - e_a||^2`` of, shape (n_clusters, n_clusters)."""
        return self._parting(slice(0, len(self._after)))

    @np.errstate(over="ignore", invalid="ignore")
    def _parting(self, run: slice) -> Singles:
        """Upper bounds, for the centres of a run and all others."""
        moves, steps = self._moves
        here = steps[run, np.newaxis]
        parting: Singles = moves[run] @ moves.T
        parting *= -2
        parting += steps * steps + here * here
        parting += product_error(moves) * (here + steps) ** 2
        return np.maximum(parting, 0, out=parting)

    def _lines(self, run: slice, parting: Singles) -> tuple[Singles, Singles]:
        """For the centres of a run and all others: the gain at distance 0, and half how it falls.

        What float32 may have lost is taken off pair by pair, in proportion to the factors: a
        centre that hardly moves hardly costs.
        """
        (moves, steps), (centers, lengths, lost) = self._moves, self._sizes
        own = np.einsum("ij,ij->i", centers, moves)
        gain = centers[run] @ moves.T
        np.subtract(own, gain, out=gain)
        gain *= 2
        gain -= parting
        gain -= (product_error(moves) * (lengths[run, np.newaxis] + lengths) + 4 * lost) * steps
        gain -= np.float32(2.0**-20) * np.abs(gain) + TINY
        apart = np.sqrt(parting) * UP + TINY
        itself = np.arange(run.start, run.stop)
        gain[itself - run.start, itself] = np.inf
        apart[itself - run.start, itself] = 0
        return gain, apart


def product_error(moves: Singles) -> np.float32:
    """What products with moves lose, in proportion to their factors' lengths."""
    return np.float32((moves.shape[1] + 16) * 2.0**-23)
