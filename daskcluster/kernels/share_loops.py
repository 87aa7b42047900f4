"""Loops of soft k-means over shares and sums, for `products`: one reading where NumPy needs many.

numba's cache on disk looks at this file alone: after a change of what it imports, delete
``__pycache__``.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
import numpy as np

from daskcluster.kernels.registers import copy_lanes
from daskcluster.sizing import LANES


@numba.njit(nogil=True, cache=True)
def copy(rows, tile):
    """Rows of bytes or float32 to the first rows of a padded tile."""
    n, d = rows.shape
    whole = d - d % LANES
    for i in range(n):
        for e in range(0, whole, LANES):
            copy_lanes(rows, i, e, tile, i)
        for e in range(whole, d):
            tile[i, e] = rows[i, e]


@numba.njit(nogil=True, cache=True)
def distances(shares, squares, norms, close):
    """From products (k, n) to squared distances, in place; how many are below ``close * norms``."""
    n_close = 0
    for j in range(shares.shape[0]):
        for i in range(norms.size):
            square = (shares[j, i] + squares[j]) + norms[i]
            n_close += square < close * norms[i]
            shares[j, i] = square
    return n_close


@numba.njit(nogil=True, cache=True)
def _lowest(numbers, least):
    least[:] = numbers[0]
    for j in range(1, numbers.shape[0]):
        for i in range(least.size):
            least[i] = min(least[i], numbers[j, i])


@numba.njit(nogil=True, cache=True)
def exponents(shares, factor, vanishes, least):
    """``factor`` times what distances (k, n) exceed the least by, in place; -inf if it vanishes."""
    _lowest(shares, least)
    for j in range(shares.shape[0]):
        for i in range(least.size):
            exponent = (shares[j, i] - least[i]) * factor
            shares[j, i] = exponent if exponent >= vanishes else np.float32(-np.inf)


@numba.njit(nogil=True, cache=True)
def divide(shares, totals):
    """Shares (k, n) by what each row's add up to, which ``totals`` gets."""
    totals[:] = 0
    for j in range(shares.shape[0]):
        for i in range(totals.size):
            totals[i] += shares[j, i]
    for j in range(shares.shape[0]):
        for i in range(totals.size):
            shares[j, i] /= totals[i]


@numba.njit(nogil=True, cache=True)
def to_grid(values, large, high, low):
    """Add arrays, rounded to a grid of two limbs, to the sums of each limb: `gridsums.GridSum`."""
    for run in range(values.shape[0]):
        for j in range(high.shape[0]):
            for e in range(high.shape[1]):
                number = values[run, j, e]
                upper = (number + large[1]) - large[1]
                high[j, e] += upper
                low[j, e] += ((number - upper) + large[0]) - large[0]
