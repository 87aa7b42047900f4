"""Loops over centres for `compiled_centers`; beside `loops`, and like it.

numba's cache on disk looks at this file alone: after a change of what it imports, delete
``__pycache__``.
"""

# ruff: noqa: ANN001, ANN201 - numba infers the types, mypy sees none

import numba
import numpy as np

from daskcluster.kernels.loops import SUMS
from daskcluster.sizing import SHORT_LANES


@numba.njit(nogil=True, cache=True, fastmath=SUMS)
def move(centers, middle, weights, single, squares, own_squares):
    """`prepared.move` in place: centres less a middle, in both precisions, and squared norms."""
    for j in range(squares.size):
        square = own = 0.0
        for e in range(middle.size):
            center = centers[j, e]
            weight = center - middle[e]
            weights[j, e], single[j, e] = weight, weight
            square += center * center
            own += weight * weight
        squares[j], own_squares[j] = square, own


@numba.njit(nogil=True, cache=True)
def shorten(weights, most, least_scale, packed, scales):
    """Centres as multiples of their scales, up to ``most``; returns the longest of what is lost.

    ``packed`` holds whole vectors of features and begins as zeros, as `products.pack` makes it.
    """
    (k, d), longest = weights.shape, 0.0
    beyond = packed.shape[1] - d
    last = packed.shape[1] - SHORT_LANES
    for j in range(k):
        largest = lost = 0.0
        for e in range(d):
            largest = max(largest, abs(weights[j, e]))
        scales[j] = largest / most
        unit = np.float64(scales[j])
        factor = 1 / unit if unit > least_scale else 0.0
        for e in range(d):
            short = min(max(np.rint(weights[j, e] * factor), -most), most)
            rest = weights[j, e] - short * unit
            lost += rest * rest
            packed[j, e if e < last else e + beyond] = np.int16(short)
        longest = longest if longest >= lost else lost  # what is not a number is kept
    return np.sqrt(longest)


@numba.njit(nogil=True, cache=True, fastmath=SUMS)
def moves(before, after, unit, up, tiny, moved, steps):
    """How centres have moved, in a unit, and upper bounds on how far."""
    for j in range(steps.size):
        square = 0.0
        for e in range(moved.shape[1]):
            difference = (after[j, e] - before[j, e]) * unit
            moved[j, e] = difference
            square += difference * difference
        steps[j] = np.float32(np.sqrt(square)) * up + tiny


@numba.njit(nogil=True, cache=True)
def lines(first, crossed, moved, own, lengths, steps, error, lost, up, tiny, gain, apart):
    """`Drift`'s lines, from products of the centres with all moves and of moves with moves.

    The rows are those of the centres from ``first`` on; a centre and itself are left alone.
    """
    unit, two = np.float32(2.0**-20), np.float32(2)
    for i in range(crossed.shape[0]):
        a = first + i
        for j in range(crossed.shape[1]):
            square = steps[a] * steps[a] + steps[j] * steps[j] - two * moved[i, j]
            square += error * (steps[a] + steps[j]) ** 2
            # What is not a number stays that.
            square = np.float32(0) if square < 0 else square
            line = two * (own[j] - crossed[i, j]) - square
            line -= (error * (lengths[a] + lengths[j]) + lost) * steps[j]
            if j != a:
                gain[i, j] = line - (unit * abs(line) + tiny)
                apart[i, j] = np.sqrt(square) * up + tiny


@numba.njit(nogil=True, cache=True)
def outside(products, here, squares, up, apart):
    """`Narrow`'s distances outside the directions, of some centres from all."""
    for i in range(here.size):
        for j in range(squares.size):
            square = here[i] + squares[j] - 2 * products[i, j]
            # What is not a number stays that.
            square = 0.0 if square < 0 else square
            apart[i, j] = np.float32(np.sqrt(square)) * up
