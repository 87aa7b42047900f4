"""Loops over rows that are read: norms, scores, labels, sums; beside `loops`, and like it.

numba's cache on disk looks at this file alone: after a change of what it imports, delete
``__pycache__``.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
import numpy as np

from daskcluster.kernels.loops import SUMS
from daskcluster.kernels.product_loops import (
    all_products,
    products_of_bytes,
    products_of_stored,
    to_tile,
)
from daskcluster.kernels.registers import (
    HAS_SHORTS,  # noqa: F401 - for `compiled`
    ROWS,
)
from daskcluster.kernels.vectors import two_lowest
from daskcluster.sizing import LANES

_FEW = 20  # centres for which rows are converted again and again: more are worth a copy


@numba.njit(nogil=True, cache=True)
def _two_lowest(scores):
    """The place of the lowest score, or -1 where all are NaN or infinite, it, and the next."""
    first, after, place = scores.dtype.type(np.inf), scores.dtype.type(np.inf), -1
    for e in range(scores.size):
        if scores[e] < first:
            first, after, place = scores[e], first, e
        elif scores[e] < after:
            after = scores[e]
    return place, first, after


@numba.njit(nogil=True, cache=True, fastmath=SUMS)
def _two_products(rows, i, weights, first, second):
    """Of a row and two centres: it is converted once."""
    one = other = weights.dtype.type(0)
    for e in range(rows.shape[1]):
        number = weights.dtype.type(rows[i, e])
        one += number * weights[first, e]
        other += number * weights[second, e]
    return one, other


@numba.njit(nogil=True, cache=True)
def _two_best(rows, i, weights, squares, found, scores):
    """The nearest of some centres, its score and the next; ``scores`` gets all of them."""
    for e in range(0, found.size, 2):
        first, second = found[e], found[min(e + 1, found.size - 1)]
        one, other = _two_products(rows, i, weights, first, second)
        scores[min(e + 1, found.size - 1)] = squares[second] - squares.dtype.type(2) * other
        scores[e] = squares[first] - squares.dtype.type(2) * one
    place, first, after = _two_lowest(scores[: found.size])
    return found[place] if place >= 0 else -1, first, after


@numba.njit(nogil=True, cache=True)
def _note_pairs(pairs, i, near, scores, label, best, margin, unknown):
    """A row's gaps of the centres that it was compared with; returns the least of them."""
    down, least = np.float32(1 - 2.0**-21), unknown
    for e in range(near.size):
        gap = ((scores[e] - best) - margin) * down
        gap = unknown if near[e] == label or gap >= unknown else gap
        pairs[i, near[e]] = gap
        least = min(least, gap)
    return least


@numba.njit(nogil=True, cache=True)
def _products(rows, at, packed, shorts, scales, tile, out):
    """Of the rows ``at`` some places and all centres; in 16 bits where there are ``shorts``."""
    if shorts.size and at.size >= ROWS:
        products_of_bytes(rows, at, shorts, scales, out)
        return
    whole = rows.shape[1] == packed.shape[1] and at.size >= ROWS
    if whole and (rows.itemsize == packed.itemsize or packed.shape[0] <= _FEW):
        products_of_stored(rows, at, packed, out)
        return
    for place in range(at.size):
        to_tile(rows, at[place], tile, place)
    all_products(tile, at.size, packed, 0, packed.shape[1] // LANES, out)


@numba.njit(nogil=True, cache=True)
def products_of(rows, packed, tile, out):
    """Of all rows and centres, into ``out``, which has `ROWS` rows more."""
    at = np.arange(rows.shape[0])
    none, scales = np.empty((0, 0), np.int16), np.empty(0, np.float32)
    for start in range(0, at.size, tile.shape[0]):
        run = slice(start, min(start + tile.shape[0], at.size))
        _products(rows, at[run], packed, none, scales, tile, out[run])


@numba.njit(nogil=True, cache=True, fastmath=SUMS)
def _norm_parts(row, middle):
    square = along = np.float32(0)
    for e in range(row.size):
        number = np.float32(row[e])
        square += number * number
        along += number * middle[e]
    return square, along


@numba.njit(nogil=True, cache=True)
def norms_above(rows, middle, own, error, floor, norms):
    """`nearest.norms_above` of rows as they are stored."""
    up = np.float32(1 + 2.0**-21)
    for i in range(norms.size):
        square, along = _norm_parts(rows[i], middle)
        moved = square - np.float32(2) * along + own + error * (square + own)
        norms[i] = np.sqrt(max(moved, np.float32(0))) * up + floor


@numba.njit(nogil=True, cache=True)
def _scores_of(products, squares, scores):
    for j in range(scores.size):
        scores[j] = squares[j] - np.float32(2) * products[j]


@numba.njit(nogil=True, cache=True)
def _radius(norm, best, lift, margin):
    """Upper bound on the distance from the centre of a score, or one within a margin."""
    up, unit = np.float32(1 + 2.0**-21), np.float32(2.0**-21)
    square = norm * norm + best + lift + 2 * margin
    square += unit * (norm * norm + abs(best) + abs(lift))
    # Not a number is no bound either.
    return np.sqrt(max(square, np.float32(0))) * up if square < np.inf else np.float32(np.inf)


@numba.njit(nogil=True, cache=True)
def _find_tile(
    scored, squares, begin, n_centers, errors, labels, norms, gaps, radii, unsure
):  # fmt: skip
    """`compare` for rows of which only the products with all centres of a model are known."""
    slope, offset, limit, away, lift = errors
    down = np.float32(1 - 2.0**-21)
    for i in range(labels.size):
        label, best, second = two_lowest(scored, i, begin, squares, begin, n_centers)
        reach = norms[i] + away
        margin = slope * reach + offset if reach < limit else np.float32(np.inf)
        gap = ((second - best) - margin) * down
        unsure[i] = not gap > 0
        labels[i], gaps[i] = label, np.float32(0) if unsure[i] else gap
        radii[i] = _radius(norms[i], best, lift, margin)


@numba.njit(nogil=True, cache=True)
def find_all(
    rows, packed, shorts, scales, tile, scored, ends, squares, errors,
    norms, labels, gaps, radii, unsure,
):  # fmt: skip
    """Label rows by the centres of each of some models, which lie one after the other.

    One product of a tile is for all of them. ``errors`` has a row a model, as ``labels``, ``gaps``,
    ``radii`` and ``unsure``, of shape (n_models, n), which are filled.
    """
    n, at = norms.size, np.arange(norms.size)
    for start in range(0, n, tile.shape[0]):
        run = slice(start, min(start + tile.shape[0], n))
        _products(rows, at[run], packed, shorts, scales, tile, scored)
        begin = 0
        for m in range(ends.size):
            five = (errors[m, 0], errors[m, 1], errors[m, 2], errors[m, 3], errors[m, 4])
            _find_tile(
                scored, squares, begin, ends[m] - begin, five,
                labels[m, run], norms[run], gaps[m, run], radii[m, run], unsure[m, run],
            )  # fmt: skip
            begin = ends[m]


@numba.njit(nogil=True, cache=True)
def compare(
    rows, at, places, all_centers, lengths, found, leasts, exact,
    packed, shorts, scales, tile, scored, weights, squares, errors, errors_of_all,
    weights64, squares64, errors64, labels, norms, gaps, radii, pairs, before, unsure, unknown,
):  # fmt: skip
    """Label rows by the centres within their reach, and bound them, in place.

    The rows ``at`` some places of a table are the rows ``places`` of the state. ``before`` gets
    the labels they had, ``unsure`` those that neither precision decides; returns how many. Double
    precision is for tables whose rows are ``exact``. ``pairs`` may be empty; else ``gaps`` are
    those of centres out of reach. ``errors_of_all`` are those of products with all centres. Beyond
    ``squares`` and ``scored`` is room, as for `two_lowest`.
    """
    slope64, offset64, limit64, _, _ = errors64
    down, k = np.float32(1 - 2.0**-21), all_centers.size
    scores, scores64 = np.empty(k, np.float32), np.empty(k, np.float64)
    begin = n_unsure = 0
    for place in range(at.size):
        tiled = place % tile.shape[0]
        if not tiled:
            run = slice(place, min(place + tile.shape[0], at.size))
            all_near = not lengths[run].any()
            if all_near:
                _products(rows, at[run], packed, shorts, scales, tile, scored)
        i, length = places[place], lengths[place]
        near = found[begin : begin + length] if length else all_centers
        begin += length
        slope, offset, limit, away, lift = errors_of_all if all_near else errors
        if all_near:
            label, best, second = two_lowest(scored, tiled, 0, squares, 0, k)
            if pairs.size:
                _scores_of(scored[tiled], squares, scores)
        else:
            label, best, second = _two_best(rows, at[place], weights, squares, near, scores)
        reach = norms[i] + away
        margin = slope * reach + offset if reach < limit else np.float32(np.inf)
        gap = ((second - best) - margin) * down
        before[place], radii[i] = labels[i], _radius(norms[i], best, lift, margin)
        certain = gap > 0
        if not certain:
            gap, sure = np.float32(0), False
            if exact and reach < limit64:
                label, first, after = _two_best(
                    rows, at[place], weights64, squares64, near, scores64
                )
                sure = after > first + (slope64 * reach + offset64)
            if not sure:
                unsure[n_unsure] = place
                n_unsure += 1
        if pairs.size and certain:
            gap = _note_pairs(pairs, i, near, scores, label, best, margin, unknown)
            gap = min(gap, gaps[i]) if length else gap
        elif pairs.size:
            for j in near:
                pairs[i, j] = -unknown
        elif length:
            gap = min(gap, leasts[place])
        labels[i], gaps[i] = max(label, 0), gap
    return n_unsure
