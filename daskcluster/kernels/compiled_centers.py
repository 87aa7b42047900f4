"""What all blocks need of the centres, in compiled loops, where numba is installed.

As in `compiled`, each does what is done in NumPy elsewhere, and no result depends on which does it.
Threads share this work at the start of a pass: NumPy's many short calls would wait for each other.
"""

from functools import cached_property

import numpy as np

from daskcluster.kernels import compiled
from daskcluster.kernels.bounds import TINY, UP, Drift, product_error
from daskcluster.kernels.frame import Floats, Frame, Singles
from daskcluster.kernels.prepared import Moved, moved_of
from daskcluster.kernels.products import center_loops
from daskcluster.kernels.projection import Narrow
from daskcluster.kernels.scratch import aligned
from daskcluster.sizing import pairs_width

_SCALES = 1000  # powers of two within float64


def can_move(frame: Frame) -> bool:
    """Whether `move` can: the frame neither shifts nor scales."""
    return frame.shift is None and not frame.exponent


def can_drift(frame: Frame) -> bool:
    """Whether `CompiledDrift` can."""
    return abs(frame.exponent) < _SCALES


def move(centers: Floats, frame: Frame) -> Moved:
    """`prepared.move` in a frame that neither shifts nor scales."""
    weights, single = np.empty(centers.shape), aligned(centers.shape, np.float32)
    squares, own_squares = np.empty((2, len(centers)))
    middle = frame.middle_of(centers.shape[1])
    center_loops().move(centers, middle, weights, single, squares, own_squares)
    return moved_of(weights, single, squares, own_squares, middle)


class CompiledDrift(Drift):
    """`Drift`, in a frame that does not scale by more than float64 can."""

    @cached_property
    def _moves(self) -> tuple[Singles, Singles]:
        moves = aligned(self._after.shape, np.float32)
        steps = np.empty(len(moves), dtype=np.float32)
        unit = 2.0**-self._frame.exponent
        center_loops().moves(self._before, self._after, unit, UP, TINY, moves, steps)
        return moves, steps

    @np.errstate(over="ignore", invalid="ignore")
    def _parting(self, run: slice) -> Singles:
        """The products alone, of which loops make bounds."""
        moves, _ = self._moves
        parting: Singles = moves[run] @ moves.T
        return parting

    @cached_property
    def pairs(self) -> tuple[Singles, Singles]:
        k = len(self._after)
        gain, apart = aligned((2, k, pairs_width(k)), np.float32)
        gain[:], apart[:] = 0, 0
        self._fill(slice(0, k), self.parting, gain, apart)
        return gain, apart

    def _lines(self, run: slice, parting: Singles) -> tuple[Singles, Singles]:
        gain = np.full(parting.shape, np.inf, dtype=np.float32)
        apart = np.zeros(parting.shape, dtype=np.float32)
        self._fill(run, parting, gain, apart)
        return gain, apart

    @np.errstate(over="ignore", invalid="ignore")
    def _fill(self, run: slice, parting: Singles, gain: Singles, apart: Singles) -> None:
        (moves, steps), (centers, lengths, lost) = self._moves, self._sizes
        own = np.einsum("ij,ij->i", centers, moves)
        center_loops().lines(
            run.start, centers[run] @ moves.T, parting, own, lengths, steps,
            product_error(moves), 4 * lost, UP, TINY, gain, apart,
        )  # fmt: skip

    def _lowest(self, gain: Singles, slope: Singles, places: Singles) -> Singles:
        return compiled.lowest_lines(gain, slope, places)


class CompiledNarrow(Narrow):
    """`Narrow`, with the same directions."""

    def _bound(self, products: Floats, here: Floats, squares: Floats, apart: Singles) -> None:
        center_loops().outside(products, here, squares, UP, apart)
