"""Loops that numba compiles for `compiled`; imported only where they are used.

Sums may be reordered: the bounds on their rounding hold for any order. Least values may be taken in
any order where arguments are finite. No loop is parallel: Dask's threads are, and the loops let
them run.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
import numpy as np

from daskcluster.kernels.vectors import (
    first_bit,
    least_above_zero,
    lesser,
    not_above_zero,
    widen_row,
)
from daskcluster.sizing import LANES

SUMS = {"reassoc", "contract", "nsz"}
_FINITE = {*SUMS, "nnan"}


@numba.njit(nogil=True, cache=True, fastmath=_FINITE)
def lowest_lines(gain, slope, places, lowest):
    """`bounds.lowest_lines` of numbers that are none of them NaN."""
    for i in range(gain.shape[0]):
        for e in range(places.size):
            place, least = places[e], np.float32(np.inf)
            for j in range(gain.shape[1]):
                least = lesser(least, gain[i, j] - place * slope[i, j])
            lowest[i, e] = least


@numba.njit(nogil=True, cache=True)
def widen(labels, gaps, radii, table, width, least, slope, steps, rows):
    """`bounds.Drift.widen` in place; fills ``rows`` with those that lose their gap, counts them."""
    last = table.shape[1] - 1
    up, unit = np.float32(1 + 2.0**-20), np.float32(2.0**-22)
    n_left = 0
    for i in range(labels.size):
        label, radius, gap = labels[i], radii[i], gaps[i]
        place = radius / width
        if place < last:
            left = int(place)
            low = table[label, left]
            loss = low + (table[label, left + 1] - low) * (place - np.float32(left))
        else:
            loss = least[label] - radius * slope[label]
        after = gap + loss
        after -= unit * (abs(gap) + abs(loss))
        gaps[i] = after
        radii[i] = (radius + steps[label]) * up
        # Without a branch: which rows they are is hard to guess.
        rows[n_left] = i
        n_left += 0 if after > 0 else 1
    return n_left


_RUN = 32  # as many as LLVM compares at once
_TILE_ROWS = 128  # as many as stay in cache with their products


@numba.njit(nogil=True, cache=True, fastmath=_FINITE)
def _least(products, squares, apart, hidden):
    """The least bound on a score: each less what may be hidden from it."""
    least = np.float32(np.inf)
    for j in range(products.size):
        bound = squares[j] - np.float32(2) * products[j] - hidden * apart[j]
        least = lesser(least, bound)
    return least


@numba.njit(nogil=True, cache=True, fastmath=_FINITE)
def _lowest(products, squares):
    """Products to scores, in place; the place of the lowest."""
    lowest, place = np.float32(np.inf), products.size
    for j in range(products.size):
        products[j] = squares[j] - np.float32(2) * products[j]
        lowest = lesser(lowest, products[j])
    for j in range(products.size):
        place = min(place, j if products[j] == lowest else products.size)
    return place


@numba.njit(nogil=True, cache=True, fastmath=_FINITE)
def minimum(numbers):
    """The least of some float32, none of them NaN."""
    least = np.float32(np.inf)
    for number in numbers:
        least = lesser(least, number)
    return least


@numba.njit(nogil=True, cache=True, fastmath=_FINITE)
def _near(scores, apart, hidden, limit, found):
    """Fills ``found`` with the centres whose bound is within a limit; how many, least of others.

    Scores become bounds, and those within the limit infinite.
    """
    near = 0
    for j in range(scores.size):
        scores[j] -= hidden * apart[j]
    # Few are near, mostly: whole runs are passed over.
    for start in range(0, scores.size, _RUN):
        stop = min(start + _RUN, scores.size)
        if minimum(scores[start:stop]) <= limit:
            for j in range(start, stop):
                if scores[j] <= limit:
                    found[near] = j
                    near += 1
                    scores[j] = np.inf
    return near, minimum(scores)


@numba.njit(nogil=True, cache=True)
def narrow(
    coordinates, centers, squares, apart, alone, rests, errors, at, labels, norms, gaps, radii,
    rows, lengths, leasts, found, most,
):  # fmt: skip
    """`projection.Narrow.narrow` of the rows ``at``, in place, from their coordinates.

    ``centers`` are coordinates, shape (n_directions, n_clusters). Fills ``rows`` with those not
    proved to keep their label, ``lengths`` with how many centres are within their reach (0 where
    more than ``most`` are, ``found`` is full, or nothing is known), ``found`` with these,
    ``leasts`` with the bound on all others; returns how many rows, and how many centres.
    """
    slope, offset, beyond, limit = errors
    n_left = n_found = 0
    up, down = np.float32(1 + 2.0**-20), np.float32(1 - 2.0**-20)
    unit, two = np.float32(2.0**-20), np.float32(2)
    tile = np.empty((_TILE_ROWS, coordinates.shape[1]), np.float32)
    products = np.empty((_TILE_ROWS, squares.size), np.float32)
    for place in range(at.size):
        if place % _TILE_ROWS == 0:
            n = min(_TILE_ROWS, at.size - place)
            for i in range(n):
                tile[i] = coordinates[at[place + i]]
            np.dot(tile[:n], centers, products[:n])
        i, row = at[place], products[place % _TILE_ROWS]
        label, hidden, norm = labels[i], two * rests[i], norms[i]
        length, least = 0, np.float32(0)
        slack = slope * (norm + beyond) + offset
        if norm < limit and hidden < np.inf:
            product = row[label]
            own = squares[label] - two * product
            row[label] = -np.inf
            least = _least(row, squares, apart[label], hidden)
            if least - own > slack:
                gaps[i] = (least - own - slack) * down
                square = norm * norm + own + hidden * alone[label] + slack
                square += unit * (norm * norm + abs(own))
                radii[i] = min(radii[i], np.sqrt(max(square, np.float32(0))) * up)
                continue
            least = np.float32(0)
            if n_found + row.size <= found.size:
                row[label] = product
                best = _lowest(row, squares)
                lowest = row[best]
                near, least = _near(row, apart[best], hidden, lowest + slack, found[n_found:])
                least = (least - lowest - slack) * down
                if near <= most:
                    length = near
                    n_found += near
        rows[n_left], lengths[n_left], leasts[n_left] = i, length, least
        n_left += 1
    return n_left, n_found


@numba.njit(nogil=True, cache=True, fastmath=SUMS)
def _dot(a, i, b, j):
    """The product of the i-th and the j-th row of two tables; a view of a row costs as much."""
    total = np.float32(0)
    for e in range(a.shape[1]):
        total += a[i, e] * b[j, e]
    return total


@numba.njit(nogil=True, cache=True)
def _within(
    coordinates, centers, squares, apart, hidden, own, slack, pairs, i, label, found, first, unknown
):  # fmt: skip
    """Bound the lost gaps of a row anew; add to ``found`` those that stay lost, count them."""
    down, two, near = np.float32(1 - 2.0**-20), np.float32(2), 0
    for start in range(0, pairs.shape[1], 64):
        bits = np.uint64(0)
        for lanes in range(start, min(start + 64, pairs.shape[1]), LANES):
            bits |= not_above_zero(pairs, i, lanes) << np.uint64(lanes - start)
        while bits:
            j = start + first_bit(bits)
            bits &= bits - np.uint64(1)
            score = squares[j] - two * _dot(coordinates, i, centers, j)
            gap = min((score - own - hidden * apart[label, j] - slack) * down, unknown)
            pairs[i, j] = gap
            found[first + near] = j
            near += 0 if gap > 0 else 1
    return near


@numba.njit(nogil=True, cache=True)
def narrow_pairs(
    coordinates, centers, squares, outside, alone, rests, errors, gain, apart, steps,
    labels, norms, pairs, gaps, radii, rows, lengths, found, most, unknown,
):  # fmt: skip
    """`widen` and `narrow` where there is a gap of each centre: only those it loses are scored.

    ``centers`` are coordinates, shape (n_clusters, n_directions); what ``found`` has for a row
    begins with its own centre.
    """
    slope, offset, beyond, limit = errors
    n_left = n_found = 0
    up, unit, two = np.float32(1 + 2.0**-20), np.float32(2.0**-20), np.float32(2)
    for i in range(labels.size):
        label, norm, radius = labels[i], norms[i], radii[i]
        if radius < unknown:
            gaps[i] = widen_row(pairs, i, gain, apart, label, two * radius, unknown)
        else:
            pairs[i, : squares.size] = -unknown
            gaps[i] = -unknown
        radii[i] = (radius + steps[label]) * up
        if gaps[i] > 0:
            continue
        hidden, length = two * rests[i], 0
        if norm < limit and hidden < np.inf and n_found + pairs.shape[1] < found.size:
            pairs[i, label] = unknown
            slack = slope * (norm + beyond) + offset
            own = squares[label] - two * _dot(coordinates, i, centers, label)
            length = _within(
                coordinates, centers, squares, outside, hidden, own, slack, pairs, i, label,
                found, n_found + 1, unknown,
            )  # fmt: skip
            gaps[i] = least_above_zero(pairs, i)
            if not length:
                square = norm * norm + own + hidden * alone[label] + slack
                square += unit * (norm * norm + abs(own))
                radii[i] = min(radii[i], np.sqrt(max(square, np.float32(0))) * up)
                continue
            found[n_found] = label
            length = length + 1 if length < most else 0
            n_found += length
        rows[n_left], lengths[n_left] = i, length
        n_left += 1
    return n_left, n_found
