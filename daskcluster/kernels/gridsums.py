"""Sums of float64 arrays on a grid, in floats while they are exact: `exact.to_grid`, but faster."""

import math

import numpy as np

from daskcluster.kernels import exact
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.scratch import scratch
from daskcluster.sizing import LIMB_BITS, Grid

# Low limbs are below 2**47 each way, and sums of them below 2**53.
_MOST = 32


class GridSum:
    """Adds arrays of one shape, every element rounded once to a grid of two limbs.

    A number less than 2**51 units away becomes a whole number of units when 1.5 * 2**52 units are
    added to it and taken away again.
    """

    def __init__(self, shape: tuple[int, ...], grid: Grid) -> None:
        low, high = grid.exponent, grid.exponent + LIMB_BITS
        self._large = (math.ldexp(1.5, 52 + low), math.ldexp(1.5, 52 + high))
        self._units = [np.ldexp(1.0, -exponent) for exponent in (low, high)]
        self._floats = np.zeros((2, *shape))
        self._limbs = np.zeros((2, *shape), dtype=np.int64)
        self._count = 0

    def add(self, values: Floats) -> None:
        """Add arrays, shape (n, *shape) with n up to 32, which are overwritten.

        Magnitudes are below 2**51 units of the upper limb.
        """
        self.room(len(values))
        part = scratch("grid", values.shape, np.float64)
        for i in (1, 0):
            np.add(values, self._large[i], out=part)
            part -= self._large[i]
            self._floats[i] += part.sum(axis=0)
            if i:
                values -= part

    def room(self, n: int) -> tuple[tuple[float, float], Floats, Floats]:
        """For up to 32 arrays: what rounds to each limb, and sums of the upper and lower limbs."""
        self._count += n
        if self._count > _MOST:
            self._carry()
            self._count = n
        return self._large, self._floats[1], self._floats[0]

    def _carry(self) -> None:
        for i in (0, 1):
            self._floats[i] *= self._units[i]
            self._limbs[i] += self._floats[i].astype(np.int64)
        exact.carry(self._limbs)
        self._floats[:] = 0
        self._count = 0

    def limbs(self) -> exact.Ints:
        """The sum, shape (2, *shape)."""
        self._carry()
        return self._limbs
