"""Loops over the stored elements of sparse rows; beside `loops`, and like it.

Sums and quotients are computed step by step as NumPy does it in `exact`, to the same bits; no
rounding is left to the compiler. numba's cache on disk looks at this file alone: after a change of
what it imports, delete ``__pycache__``.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
import numpy as np

from daskcluster.kernels.loops import SUMS, minimum
from daskcluster.kernels.sum_loops import (
    FOLDED,  # noqa: F401 - for `sparse_compiled`
    FOLDS,  # noqa: F401
    LANE_TERMS,
    add_terms,
    fold,
    two_floats,
)
from daskcluster.kernels.vectors import add_products, fetch, first_bit, fused
from daskcluster.sizing import LANES, LIMB_BITS

_UNIT = 2.0**LIMB_BITS
_STEP = 1 / _UNIT
_WORD = 6  # bits of a place in a word of 64
_COLUMNS_BYTES = 1 << 18
_AHEAD = 32  # elements: sums fetched sooner are there when they are needed
_FEW = 16  # one in so many is few


@numba.njit(nogil=True, cache=True)
def fill_columns(data, indices, indptr, columns):
    """Sparse centres, a row a feature: as many features at once as stay in cache."""
    step = max(_COLUMNS_BYTES // (4 * columns.shape[1]), 1)
    places = indptr[:-1].copy()
    for first in range(0, columns.shape[0], step):
        last = min(first + step, columns.shape[0])
        columns[first:last] = 0
        for j in range(places.size):
            e, end = places[j], indptr[j + 1]
            while e < end and indices[e] < last:
                columns[indices[e], j] = data[e]
                e += 1
            places[j] = e


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "nsz", "nnan"})
def _two_lowest(products, squares):
    """The place of the lowest score, it, and the next; products become scores.

    Numbers that are not finite bound nothing, whatever comes of them here.
    """
    for j in range(products.size):
        products[j] = squares[j] - np.float32(2) * products[j]
    lowest, place = minimum(products), products.size - 1
    for j in range(products.size):
        place = min(place, j if products[j] == lowest else place)
    products[place] = np.float32(np.inf)
    return place, lowest, minimum(products)


@numba.njit(nogil=True, cache=True)
def two_best(data, indices, indptr, at, columns, squares, labels, best, second):
    """Labels, best and second scores of the rows ``at`` some places, in float32.

    ``columns`` has a row a feature and whole runs of `sizing.LANES` clusters; ``squares`` of those
    that are none are infinite.
    """
    products = np.empty(columns.shape[1], np.float32)
    for i in range(labels.size):
        begin, end = indptr[at[i]], indptr[at[i] + 1]
        group = 0
        while group + 2 * LANES <= products.size:
            add_products(data, indices, columns, begin, end, group, products, 2)
            group += 2 * LANES
        if group < products.size:
            add_products(data, indices, columns, begin, end, group, products, 1)
        labels[i], best[i], second[i] = _two_lowest(products, squares)


@numba.njit(nogil=True, cache=True, fastmath=SUMS)
def squares(data, indptr, out):
    """Squared norms of rows; bounds on their errors hold for any order of the sums."""
    for i in range(out.size):
        total = 0.0
        for e in range(indptr[i], indptr[i + 1]):
            total += np.float64(data[e]) * np.float64(data[e])
        out[i] = total


@numba.njit(nogil=True, cache=True, inline="always")
def _add(limbs, place, rest, sign):
    """Add a number in units of the grid, rounded to it, to up to 3 limbs that stay carried.

    Limbs have shape (n_features, n_limbs).
    """
    last = limbs.shape[1] - 1
    if last == 2:
        limb = np.rint(rest * (_STEP * _STEP))
        rest -= limb * (_UNIT * _UNIT)
        limbs[place, 2] += sign * np.int64(limb)
    if last >= 1:
        limb = np.rint(rest * _STEP)
        rest -= limb * _UNIT
        limbs[place, 1] += sign * np.int64(limb)
    total = limbs[place, 0] + sign * np.int64(np.rint(rest))
    for i in range(last):
        carried = total >> LIMB_BITS
        limbs[place, i] = total - (carried << LIMB_BITS)
        total = limbs[place, i + 1] + carried
    limbs[place, last] = total


@numba.njit(nogil=True, cache=True)
def _add_row(data, indices, begin, end, scale, sign, limbs, marks):
    """Add a row to limbs, shape (n_features, n_limbs), and mark its features."""
    flat = limbs.reshape(-1)
    for e in range(begin, end):
        place = indices[e]
        fetch(flat, indices[min(e + _AHEAD, indices.size - 1)] * limbs.shape[1])
        marks[place >> _WORD] |= np.uint64(1) << np.uint64(place & 63)
        _add(limbs, place, np.float64(data[e]) * scale, sign)


@numba.njit(nogil=True, cache=True)
def _take_marked(limbs, marks, offset, places, sums, n):
    """Move what is marked and not 0 behind the first ``n`` of some sums; how many these are."""
    for word in range(marks.size):
        bits = marks[word]
        while bits:
            place = (word << _WORD) + first_bit(bits)
            bits &= bits - np.uint64(1)
            held = False
            for i in range(limbs.shape[1]):
                sums[i, n] = limbs[place, i]
                held |= limbs[place, i] != 0
                limbs[place, i] = 0
            places[n] = offset + place
            n += 1 if held else 0
        marks[word] = np.uint64(0)
    return n


@numba.njit(nogil=True, cache=True)
def moved(
    data, indices, indptr, at, order, ends, scale, n_features, limbs, marks, places, sums
):  # fmt: skip
    """Sums that rows carry along, by ascending place; returns how many places.

    ``order[ends[j]:ends[j + 1]]`` are the places in ``at`` of the rows that come to cluster j, and,
    as ``~place``, of those that leave it.
    """
    n = 0
    for j in range(ends.size - 1):
        for entry in order[ends[j] : ends[j + 1]]:
            sign, row = (1, at[entry]) if entry >= 0 else (-1, at[~entry])
            _add_row(data, indices, indptr[row], indptr[row + 1], scale, sign, limbs, marks)
        n = _take_marked(limbs, marks, np.int64(j) * n_features, places, sums, n)
    return n


@numba.njit(nogil=True, cache=True)
def _copied(places, limbs, i, until, joint, low, high, n):
    """Copy sums of two limbs from the i-th on, as far as their places are below a limit."""
    begin = i
    while i < places.size and places[i] < until:
        joint[n + i - begin] = places[i]
        low[n + i - begin], high[n + i - begin] = limbs[0, i], limbs[1, i]
        i += 1
    return i


@numba.njit(nogil=True, cache=True)
def _joined(places, limbs, other, more, joint, low, high):
    """`plus` as far as both have more; returns where in each it stops, and how many it has made.

    Without a branch: which of two places comes first is hard to guess.
    """
    n = i = e = 0
    while i < places.size and e < other.size:
        mine, theirs = np.int64(places[i] <= other[e]), np.int64(other[e] <= places[i])
        total = limbs[0, i] * mine + more[0, e] * theirs
        carried = total >> LIMB_BITS
        joint[n], low[n] = min(places[i], other[e]), total - (carried << LIMB_BITS)
        high[n] = limbs[1, i] * mine + more[1, e] * theirs + carried
        n += np.int64((low[n] | high[n]) != 0)
        i += mine
        e += theirs
    return i, e, n


@numba.njit(nogil=True, cache=True)
def _plus_few(places, limbs, other, more, joint, low, high):
    """`plus` where the other are few: what lies between them is copied."""
    n = i = begin = 0
    for e in range(other.size):
        begin, i = i, _copied(places, limbs, i, other[e], joint, low, high, n)
        n += i - begin
        total, top = more[0, e], more[1, e]
        if i < places.size and places[i] == other[e]:
            total += limbs[0, i]
            top += limbs[1, i]
            i += 1
        carried = total >> LIMB_BITS
        joint[n], low[n], high[n] = other[e], total - (carried << LIMB_BITS), top + carried
        n += 1 if low[n] != 0 or high[n] != 0 else 0
    return i, other.size, n


@numba.njit(nogil=True, cache=True)
def plus(places, limbs, other, more, joint, low, high):
    """The sum of two sparse sums of two limbs; returns at how many places it is not 0."""
    if _FEW * other.size < places.size:
        i, e, n = _plus_few(places, limbs, other, more, joint, low, high)
    else:
        i, e, n = _joined(places, limbs, other, more, joint, low, high)
    end = np.int64(2**63 - 1)
    n += _copied(places, limbs, i, end, joint, low, high, n) - i
    return n + _copied(other, more, e, end, joint, low, high, n) - e


@numba.njit(nogil=True, cache=True)
def quotients(low_limbs, high_limbs, count, scale, out):
    """`exact.quotients` of sums of two limbs by one count."""
    n = np.float64(count)
    for i in range(out.size):
        high, low = two_floats(low_limbs[i], high_limbs[i])
        quotient = high / n
        product = quotient * n
        error = fused(quotient, n, -product)
        remainder = ((high - product) - error) + low
        out[i] = (quotient + remainder / n) * scale


@numba.njit(nogil=True, cache=True)
def _gather(places, low_limbs, high_limbs, e, offset, indices, lows, highs):
    """The sums at some ascending places, 0 where there is none; where the search came to."""
    for i in range(indices.size):
        wanted = offset + indices[i]
        while e < places.size and places[e] < wanted:
            e += 1
        known = e < places.size and places[e] == wanted
        lows[i] = low_limbs[e] if known else 0
        highs[i] = high_limbs[e] if known else 0
    return e


@numba.njit(nogil=True, cache=True)
def own_terms(
    places, low_limbs, high_limbs, data, indices, indptr, counts, n_features, scale,
    large, small, sizes,
):  # fmt: skip
    """What `SparseSums.inertia` adds up, in running sums of two floats, and the terms' sizes."""
    lows, highs = np.empty(LANE_TERMS, np.int64), np.empty(LANE_TERMS, np.int64)
    e = np.int64(0)
    for j in range(counts.size):
        offset, n = np.int64(j) * n_features, np.float64(counts[j])
        for start in range(indptr[j], indptr[j + 1], LANE_TERMS):
            stop = min(start + LANE_TERMS, indptr[j + 1])
            e = _gather(places, low_limbs, high_limbs, e, offset, indices[start:stop], lows, highs)
            add_terms(data[start:stop], n, scale, lows, highs, large, small, sizes)
    fold(large, small, sizes)


@numba.njit(nogil=True, cache=True)
def differences(new, new_indices, new_ends, old, old_indices, old_ends, out):
    """What two sets of sparse centres differ by, where they do; returns at how many places."""
    n, beyond = 0, np.int32(2**31 - 1)
    for j in range(new_ends.size - 1):
        i, e = new_ends[j], old_ends[j]
        while i < new_ends[j + 1] or e < old_ends[j + 1]:
            mine = new_indices[i] if i < new_ends[j + 1] else beyond
            other = old_indices[e] if e < old_ends[j + 1] else beyond
            difference = 0.0
            if mine <= other:
                difference = new[i]
                i += 1
            if other <= mine:
                difference -= old[e]
                e += 1
            out[n] = difference
            n += 1 if difference != 0 else 0
    return n


@numba.njit(nogil=True, cache=True)
def columns_at(data, indices, indptr, columns, out):
    """Some ascending columns of sparse rows, into zeros."""
    for j in range(indptr.size - 1):
        e, end = indptr[j], indptr[j + 1]
        for place in range(columns.size):
            step = 1
            while e + step < end and indices[e + step] <= columns[place]:
                e += step
                step *= 2
            stop = min(e + step, end)
            e += np.searchsorted(indices[e:stop], columns[place])
            if e < end and indices[e] == columns[place]:
                out[j, place] = data[e]


@numba.njit(nogil=True, cache=True)
def moments(data, indices, sum_scale, unit, square_scale, sums, squares):
    """Add elements and their squares to limbs, shape (n_features, n_limbs) each."""
    flat, flat2 = sums.reshape(-1), squares.reshape(-1)
    for e in range(data.size):
        value, place = np.float64(data[e]), indices[e]
        later = indices[min(e + _AHEAD, indices.size - 1)]
        fetch(flat, later * sums.shape[1])
        fetch(flat2, later * squares.shape[1])
        _add(sums, place, value * sum_scale, 1)
        scaled = value * unit
        square = scaled * scaled
        _add(squares, place, square * square_scale, 1)
        lost = fused(scaled, scaled, -square)
        if lost != 0:
            _add(squares, place, lost * square_scale, 1)
