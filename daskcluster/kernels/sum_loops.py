"""Loops that add rows up: to the sums of clusters and of columns, and sums to an inertia.

Beside `loops`, and like it. Sums are those of `exact`, to the same bits; no rounding is left to the
compiler. numba's cache on disk looks at this file alone: after a change of what it imports, delete
``__pycache__``.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
import numpy as np

from daskcluster.kernels.vectors import bits, fused
from daskcluster.sizing import LIMB_BITS

_UNIT = 2.0**LIMB_BITS
LANE_TERMS = 512  # running sums side by side, which LLVM adds up many at a time
FOLDED = 8  # that are left of them
FOLDS = (LANE_TERMS // FOLDED).bit_length() - 1


@numba.njit(nogil=True, cache=True)
def add(rows, labels, sums, counts):
    """Add integer rows to the sums of their clusters."""
    for i in range(labels.size):
        row, into = rows[i], sums[labels[i]]
        for e in range(row.size):
            into[e] += row[e]
        counts[labels[i]] += 1


@numba.njit(nogil=True, cache=True)
def move(rows, at, before, after, sums, counts):
    """Take integer rows out of the sums of one cluster and into those of another."""
    for place in range(at.size):
        row, out, into = rows[at[place]], before[place], after[place]
        for i in range(row.size):
            sums[out, i] -= row[i]
            sums[into, i] += row[i]
        counts[out] -= 1
        counts[into] += 1


@numba.njit(nogil=True, cache=True, inline="always")
def _rounded(value, large):
    """A number rounded to units of which 1.5 * 2**52 are ``large``, whole units, and what is left.

    Magnitudes are below 2**51 units: the sum's last digit is one, and its bits count them.
    """
    total = value + large
    return bits(total) - bits(large), value - (total - large)


@numba.njit(nogil=True, cache=True)
def _add_real(row, large, low, high):
    """Add a row to limbs, each number rounded to the grid as `exact.to_grid` does it."""
    for e in range(row.size):
        units, rest = _rounded(np.float64(row[e]), large[1])
        high[e] += units
        low[e] += _rounded(rest, large[0])[0]


@numba.njit(nogil=True, cache=True)
def add_reals(rows, labels, large, limbs, counts):
    """Add real rows to limbs of shape (2, n_clusters, n_features), which are not carried."""
    for i in range(labels.size):
        _add_real(rows[i], large, limbs[0, labels[i]], limbs[1, labels[i]])
        counts[labels[i]] += 1


@numba.njit(nogil=True, cache=True)
def move_reals(rows, at, before, after, large, limbs, counts):
    """Take real rows out of the limbs of one cluster and into those of another."""
    for place in range(at.size):
        row, out, into = rows[at[place]], before[place], after[place]
        for e in range(row.size):
            units, rest = _rounded(np.float64(row[e]), large[1])
            limbs[1, out, e] -= units
            limbs[1, into, e] += units
            units, _ = _rounded(rest, large[0])
            limbs[0, out, e] -= units
            limbs[0, into, e] += units
        counts[out] -= 1
        counts[into] += 1


@numba.njit(nogil=True, cache=True)
def _add_to_three(values, large, limbs):
    for e in range(values.size):
        units, rest = _rounded(values[e], large[2])
        limbs[2, e] += units
        units, rest = _rounded(rest, large[1])
        limbs[1, e] += units
        limbs[0, e] += _rounded(rest, large[0])[0]


@numba.njit(nogil=True, cache=True)
def real_moments(rows, large, unit, large_squares, exact_squares, sums, squares):
    """Add rows to limbs (2, n_features) of sums, and squares of rows times ``unit`` to (3, ...).

    Limbs are not carried. Squares may be ``exact_squares``: else what they lack is added too.
    """
    square, lost = np.empty(rows.shape[1]), np.empty(rows.shape[1])
    for i in range(rows.shape[0]):
        _add_real(rows[i], large, sums[0], sums[1])
        for e in range(square.size):
            value = np.float64(rows[i, e]) * unit
            square[e] = value * value
            lost[e] = fused(value, value, -square[e])
        _add_to_three(square, large_squares, squares)
        if not exact_squares:
            _add_to_three(lost, large_squares, squares)


@numba.njit(nogil=True, cache=True)
def two_sum(a, b):
    """`exact.two_sum`."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


@numba.njit(nogil=True, cache=True)
def two_floats(low_limb, high_limb):
    """`exact.two_floats` of two limbs."""
    top = high_limb >> 31
    high, low = np.float64(top) * (2.0**31 * _UNIT), 0.0
    high, error = two_sum(high, np.float64(high_limb - (top << 31)) * _UNIT)
    low += error
    top = low_limb >> 31
    high, error = two_sum(high, np.float64(top) * 2.0**31)
    low += error
    high, error = two_sum(high, np.float64(low_limb - (top << 31)))
    low += error
    return two_sum(high, low)


@numba.njit(nogil=True, cache=True, inline="always")
def _add_term(c, n, high, low, i, large, small, sizes):
    """Add ``c (n c - 2 S)`` to running sums of two floats, and what it is made of to sizes."""
    inner = n * c
    lost = fused(n, c, -inner)
    sizes[i] += abs(c) * (abs(inner) + 2 * abs(high))
    inner, more = two_sum(inner, -2 * high)
    lost += more - 2 * low
    term = c * inner
    rest = fused(c, inner, -term) + c * lost
    large[i], more = two_sum(large[i], term)
    small[i] += more + rest


@numba.njit(nogil=True, cache=True)
def _add_terms_of_floats(centers, n, scale, sums, large, small, sizes):
    """Add terms of sums that are float64 as they are."""
    for i in range(centers.size):
        _add_term(centers[i], n, np.float64(sums[i]) * scale, 0.0, i, large, small, sizes)


@numba.njit(nogil=True, cache=True)
def add_terms(centers, n, scale, lows, highs, large, small, sizes):
    """And of two limbs."""
    for i in range(centers.size):
        high, low = two_floats(lows[i], highs[i])
        _add_term(centers[i], n, high * scale, low * scale, i, large, small, sizes)


@numba.njit(nogil=True, cache=True)
def fold(large, small, sizes):
    """Add running sums up in pairs, until `FOLDED` are left, which come first."""
    width = large.size // 2
    while width >= FOLDED:
        for i in range(width):
            large[i], more = two_sum(large[i], large[i + width])
            small[i] += small[i + width] + more
            sizes[i] += sizes[i + width]
        width //= 2


@numba.njit(nogil=True, cache=True)
def own_terms(sums, floats, counts, centers, scale, large, small, sizes):
    """What `doubled.inertia` adds up, in running sums of two floats, and the terms' sizes.

    Sums are limbs of shape (1 or 2, n_clusters, n_features), or all of them ``floats``.
    """
    highs = np.zeros(LANE_TERMS, np.int64)
    for j in range(counts.size):
        for start in range(0, centers.shape[1], LANE_TERMS):
            stop = min(start + LANE_TERMS, centers.shape[1])
            center, n, low = centers[j, start:stop], np.float64(counts[j]), sums[0, j, start:stop]
            if floats:
                _add_terms_of_floats(center, n, scale, low, large, small, sizes)
            else:
                high = sums[1, j, start:stop] if sums.shape[0] == 2 else highs
                add_terms(center, n, scale, low, high, large, small, sizes)
    fold(large, small, sizes)
