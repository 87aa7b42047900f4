"""Loops of soft k-means over rows that are read, for `soft`: rows stay in cache for both products.

numba's cache on disk looks at this file alone: after a change of what it imports, delete
``__pycache__``.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
import numpy as np

from daskcluster.kernels.product_loops import CHAIN, by_center, to_tile, weighted

_SINGLE = np.float32
_HALF, _ONE = _SINGLE(0.5), _SINGLE(1)
# The logarithm of 2 in two parts, of which few bits of the first make its multiples exact.
_PER_LOG_2, _LOG_2 = _SINGLE(1.44269504), (_SINGLE(0.693359375), _SINGLE(-2.12194440e-4))
# Of the rest of exp(x) beyond 1 + x, over x**2, for magnitudes below log(2) / 2.
_TERMS = tuple(_SINGLE(1 / n) for n in (5040, 720, 120, 24, 6, 2))


@numba.njit(nogil=True, cache=True)
def _exp(x):
    """``exp(x)`` for -80 < x <= 0, to two units in the last place; the same bits anywhere."""
    whole = np.floor(x * _PER_LOG_2 + _HALF)
    rest = (x - whole * _LOG_2[0]) - whole * _LOG_2[1]
    series = _TERMS[0]
    for i in range(1, 6):
        series = series * rest + _TERMS[i]
    power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return ((series * rest) * rest + rest + _ONE) * power


@numba.njit(nogil=True, cache=True)
def _squared_distance(row, center):
    total = 0.0
    for e in range(row.size):
        apart = np.float64(row[e]) - center[e]
        total += apart * apart
    return np.float32(total)


@numba.njit(nogil=True, cache=True)
def _distances(shares, squares, norms, close, rows, centers):
    """From products to distances; those of rows close to a centre are made of differences."""
    for j in range(shares.shape[0]):
        n_close = 0
        for i in range(norms.size):
            square = (shares[j, i] + squares[j]) + norms[i]
            n_close += square < close * norms[i]
            shares[j, i] = square
        if n_close:
            for i in range(norms.size):
                if shares[j, i] < close * norms[i]:
                    shares[j, i] = _squared_distance(rows[i], centers[j])
        for i in range(norms.size):
            shares[j, i] = np.sqrt(shares[j, i])


@numba.njit(nogil=True, cache=True)
def _lowest(numbers, least):
    least[:] = numbers[0]
    for j in range(1, numbers.shape[0]):
        for i in range(least.size):
            least[i] = min(least[i], numbers[j, i])


@numba.njit(nogil=True, cache=True)
def _share(shares, factor, vanishes, least, totals):
    """From distances (k, n) to shares, and what is said of rows."""
    _lowest(shares, least)
    totals[:] = 0
    for j in range(shares.shape[0]):
        for i in range(least.size):
            exponent = (shares[j, i] - least[i]) * factor
            share = _exp(max(exponent, vanishes))
            share = share if exponent > vanishes else np.float32(0)
            shares[j, i] = share
            totals[i] += share
    for j in range(shares.shape[0]):
        for i in range(totals.size):
            shares[j, i] /= totals[i]


@numba.njit(nogil=True, cache=True)
def _to_grid(values, large, high, low):
    """Add numbers, rounded to a grid of two limbs, to the sums of each: `gridsums.GridSum`."""
    for j in range(values.shape[0]):
        for e in range(values.shape[1]):
            upper = (values[j, e] + large[1]) - large[1]
            high[j, e] += upper
            low[j, e] += ((values[j, e] - upper) + large[0]) - large[0]


@numba.njit(nogil=True, cache=True)
def soften(
    rows, size, packed, centers, squares, norms, row_weights, factor, vanishes, close, rooted,
    tile, room, part, sums, large, high, low, least, totals, weights,
):  # fmt: skip
    """Share rows out, run by run of ``size`` rows; add what centres get to a grid.

    ``least`` and ``totals`` are filled, ``weights`` (n_runs, k) begin as 0. There is room for
    `CHAIN` rows in ``tile``, for their shares, and for sums. ``row_weights`` may be empty.
    """
    k = squares.size
    for run in range(weights.shape[0]):
        sums[:] = 0
        for start in range(run * size, (run + 1) * size, CHAIN):
            n = min(CHAIN, (run + 1) * size - start)
            at, some = slice(start, start + n), room[: k * n].reshape(k, n)
            for i in range(n):
                to_tile(rows, start + i, tile, i)
            by_center(tile, packed, some)
            if rooted:
                _distances(some, squares, norms[at], close, rows[at], centers)
            else:
                for j in range(k):
                    some[j] += squares[j]
            _share(some, factor, vanishes, least[at], totals[at])
            if row_weights.size:
                some *= row_weights[at]
            weighted(tile, some, part, sums, weights[run])
        _to_grid(sums, large, high, low)
