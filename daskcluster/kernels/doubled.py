"""Inertia in doubled precision, where that settles how the exact one is rounded."""

import math
from fractions import Fraction

import numpy as np

from daskcluster.kernels import compiled_sums, compiling, exact
from daskcluster.kernels.frame import Floats
from daskcluster.sizing import Grid

_WHOLE = 2**53  # counts up to it are float64
_UP = 1 + 2.0**-40  # covers the rounding of the bound itself


def inertia(
    squares: Fraction,
    sums: exact.Ints,
    counts: exact.Ints,
    centers: Floats,
    grid: Grid,
    *,
    loops: bool,
) -> float:
    """`exact.inertia`, to the same bits; by compiled ``loops`` where there are some."""
    if loops and compiling.has_numba() and can_count(counts) and compiled_sums.can_divide(grid):
        rounded = certified(squares, *compiled_sums.own_terms(sums, counts, centers, grid))
        if rounded is not None:
            return rounded
    return exact.inertia(squares, sums, counts, centers, grid)


def can_count(counts: exact.Ints) -> bool:
    """Whether all counts are float64; those of heavy rows may not be."""
    return int(counts.max(initial=0)) <= _WHOLE


def certified(
    squares: Fraction, large: Floats, small: Floats, size: float, depth: int
) -> float | None:
    """The inertia, where both ends of what may be round to one float64.

    Parameters
    ----------
    squares : Fraction
        The sum of squared elements of all rows.
    large, small : float64 ndarray
        What is added to it, in running sums of two floats.
    size : float
        The sum of the terms' magnitudes.
    depth : int
        How many terms a running sum has at most.
    """
    if not np.isfinite(size):
        return None
    whole = math.fsum(large)
    left = math.fsum([*large.tolist(), -whole, *small.tolist()])
    # What two floats hold errs by less than 2**-100 of the terms; so many are added up.
    error = size * 2.0**-100 * (64 + depth**2) + abs(left) * 2.0**-52
    # And what underflows is less; of many running sums eight may be left.
    error += (depth + 1) * len(large) * 2.0**-1060
    middle, most = squares + Fraction(whole) + Fraction(left), Fraction(error * _UP)
    try:
        low_end, high_end = float(middle - most), float(middle + most)
    except OverflowError:
        return None
    return max(low_end, 0.0) if low_end == high_end else None
