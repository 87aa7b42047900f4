"""Bounds on what moving centres can change: rows that provably keep their label are left alone.

For a row x of cluster a and any other centre j, squared distances before and after the centres
moved by ``e`` give, without any inequality,
``gap'_j = gap_j + 2 (c_j - c_a) . e_j + ||e_j||^2 - ||e_a||^2 - 2 (x - c_a) . (e_j - e_a)``,
and the last product is at most ``||x - c_a|| ||e_j - e_a||`` (Cauchy and Schwarz). The least over
all j is a loss that depends on a and on ``||x - c_a||`` alone. This is the idea of Hamerly, "Making
k-means even faster", SDM 2010 (one bound for all other centres) on squared distances, where what
moves all centres alike, or moves them apart, costs nothing.

A row keeps its label while its gap stays above 0. All roundings are towards less gap.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from daskcluster.kernels.frame import Floats, Frame, Singles
from daskcluster.kernels.nearest import Labels
from daskcluster.kernels.scratch import aligned
from daskcluster.sizing import pairs_width

_BINS = 32
_REACH = 3.0  # the bins of distances end at so many times the longest centre
_ROWS = 256  # centres whose losses are computed together: n_clusters wide, never squared
_UP = np.float32(1 + 2.0**-20)
_TINY = np.float32(2.0**-60)  # more than what underflows amounts to


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
    lowest : callable, default=lowest_lines
        Does what `lowest_lines` does.
    """

    def __init__(
        self,
        before: Floats,
        after: Floats,
        frame: Frame,
        lowest: Callable[[Singles, Singles, Singles], Singles] = lowest_lines,
    ) -> None:
        self._before, self._after, self._frame = before, after, frame
        self._lowest = lowest

    @np.errstate(over="ignore", invalid="ignore")
    def widen(self, labels: Labels, gaps: Singles, radii: Singles) -> tuple[Singles, Singles]:
        """Gaps and radii, shape (n,) each, that hold after the move; see `nearest.Found`."""
        losses = self.losses.at(labels, radii)
        widened = gaps + losses
        widened -= np.float32(2.0**-22) * (np.abs(gaps) + np.abs(losses))
        return widened, (radii + self.steps[labels]) * _UP

    @cached_property
    def _moves(self) -> Singles:
        moves, exponent = self._after - self._before, self._frame.exponent
        return (np.ldexp(moves, -exponent) if exponent else moves).astype(np.float32)

    @cached_property
    def steps(self) -> Singles:
        """Upper bounds on how far each centre has moved."""
        moves = self._moves.astype(np.float64)
        steps: Singles = np.sqrt(np.einsum("ij,ij->i", moves, moves)).astype(np.float32)
        return steps * _UP + _TINY

    @cached_property
    def _sizes(self) -> tuple[Singles, Singles, np.float32]:
        """The centres less the middle, their lengths, and what differences may have lost."""
        d = self._before.shape[1]
        middle = self._frame.middle_of(d)
        centers = (self._frame.rows64(self._before) - middle).astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", centers, centers)) * _UP + _TINY
        # Differences err in proportion to what was subtracted.
        largest = float(lengths.max())
        lost = np.float32(2.0**-49 * ((largest + np.abs(middle).max()) * np.sqrt(d) + largest))
        return centers, lengths, lost

    @cached_property
    @np.errstate(over="ignore", invalid="ignore")
    def losses(self) -> Losses:
        centers, lengths, lost = self._sizes
        k = len(centers)
        width = np.float32(_REACH * lengths.max() / _BINS)
        places = 2 * width * np.arange(_BINS + 1, dtype=np.float32)
        table = np.empty((k, _BINS + 1), dtype=np.float32)
        least, slope = np.empty((2, k), dtype=np.float32)
        for start in range(0, k, _ROWS):
            run = slice(start, min(start + _ROWS, k))
            gain, apart = self._lines(run, centers, lengths, lost)
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
        centers, lengths, lost = self._sizes
        k = len(centers)
        gain, apart = aligned((2, k, pairs_width(k)), np.float32)
        gain[:], apart[:] = 0, 0
        gain[:, :k], apart[:, :k] = self._lines(slice(0, k), centers, lengths, lost)
        np.fill_diagonal(gain, 0)
        return gain, apart

    def _lines(
        self, run: slice, centers: Singles, lengths: Singles, lost: np.float32
    ) -> tuple[Singles, Singles]:
        """For the centres of a run and all others: the gain at distance 0, and half how it falls.

        What float32 may have lost is taken off pair by pair, in proportion to the factors: a
        centre that hardly moves hardly costs.
        """
        moves, steps = self._moves, self.steps
        error = np.float32((centers.shape[1] + 16) * 2.0**-23)
        squares, here = steps * steps, steps[run, np.newaxis]
        own = np.einsum("ij,ij->i", centers, moves)
        gain = 2 * (own - centers[run] @ moves.T) + squares - here * here
        gain -= error * ((lengths[run, np.newaxis] + lengths) * steps + squares + here * here)
        gain -= np.float32(2.0**-20) * np.abs(gain) + 4 * lost * steps + _TINY
        apart = squares + here * here - 2 * (moves[run] @ moves.T)
        apart += error * (here + steps) ** 2
        apart = np.sqrt(np.maximum(apart, 0)) * _UP + _TINY
        itself = np.arange(run.start, run.stop)
        gain[itself - run.start, itself] = np.inf
        apart[itself - run.start, itself] = 0
        return gain, apart
