"""Loops of products, for `products`; imported only where they are used.

numba's cache on disk looks at this file alone: after a change of what it imports, delete
``__pycache__``.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types, mypy sees none

import numba
import numpy as np

from daskcluster.kernels.registers import (
    CENTERS,
    CLUSTERS,
    ROWS,
    RUNS,
    copy_lanes,
    products,
    short_products,
    stored_products,
    weighted_narrow,
    weighted_one,
    weighted_wide,
)
from daskcluster.sizing import LANES, SHORT_LANES

# Vectors of features, and rows, that one chain of sums in float32 goes over. Bits depend on both,
# and so does the error: it grows with the chain.
_VECTORS = 128
CHAIN = 128
_TILE_ROWS = 16 * ROWS  # they stay in cache with some centres


@numba.njit(nogil=True, cache=True)
def to_tile(rows, i, tile, place):
    """A row of bytes or reals into a row of a tile, whose last features stay as they are."""
    whole = rows.shape[1] - rows.shape[1] % LANES
    for e in range(0, whole, LANES):
        copy_lanes(rows, i, e, tile, place)
    for e in range(whole, rows.shape[1]):
        tile[place, e] = rows[i, e]


@numba.njit(nogil=True, cache=True)
def all_products(tile, n, packed, start, stop, out):
    """Products of ``n`` rows of a tile, `ROWS` at once, with all centres, into rows of ``out``."""
    for center in range(0, packed.shape[0], CENTERS):
        # The last ones may be computed twice: to the same bits.
        first = min(center, packed.shape[0] - CENTERS)
        for i in range(0, n, ROWS):
            products(tile, i, packed, first, start, stop, out, i)


@numba.njit(nogil=True, cache=True)
def products_of_stored(rows, at, packed, out):
    """`all_products` of the rows ``at`` some places, `ROWS` of them at least, without a tile.

    They are whole vectors wide.
    """
    for center in range(0, packed.shape[0], CENTERS):
        first = min(center, packed.shape[0] - CENTERS)
        for i in range(0, at.size, ROWS):
            place = min(i, at.size - ROWS)
            stored_products(rows, at, place, packed, first, packed.shape[1] // LANES, out)


@numba.njit(nogil=True, cache=True)
def products_of_bytes(rows, at, shorts, scales, out):
    """The same of rows of bytes, of `SHORT_LANES` features or more, and centres in 16 bits."""
    stop = shorts.shape[1] // SHORT_LANES
    for center in range(0, shorts.shape[0], CENTERS):
        first = min(center, shorts.shape[0] - CENTERS)
        for i in range(0, at.size, ROWS):
            place = min(i, at.size - ROWS)
            short_products(rows, at, place, shorts, scales, first, stop, out)


@numba.njit(nogil=True, cache=True)
def by_center(tile, packed, out):
    """Products of the rows of a padded tile with all centres, ``out`` of shape (k, n)."""
    (k, n), vectors = out.shape, packed.shape[1] // LANES
    found = np.empty((_TILE_ROWS, packed.shape[0]), np.float32)
    for i in range(0, n, _TILE_ROWS):
        size = min(_TILE_ROWS, n - i)
        for start in range(0, vectors, _VECTORS):
            stop = min(start + _VECTORS, vectors)
            all_products(tile[i:], size, packed, start, stop, found)
            for j in range(k):
                for r in range(size):
                    out[j, i + r] = found[r, j] if start == 0 else out[j, i + r] + found[r, j]


@numba.njit(nogil=True, cache=True)
def _weighted_columns(tile, column, width, shares, part):
    k, n = shares.shape
    if k < CLUSTERS:
        for j in range(k):
            for at in range(column, column + width, LANES):
                weighted_one(tile, 0, n, at, shares, j, part)
        return
    for j in range(0, k, CLUSTERS):
        # The last ones may be computed twice: to the same bits.
        first = min(j, k - CLUSTERS)
        if width == RUNS * LANES:
            weighted_wide(tile, 0, n, column, shares, first, part)
        else:
            weighted_narrow(tile, 0, n, column, shares, first, part)


@numba.njit(nogil=True, cache=True)
def weighted(tile, shares, part, sums, totals):
    """Add the first rows of a tile by share (k, n), and the shares; up to `CHAIN` rows.

    ``part`` is room for the sums of the rows, as wide as the tile; ``sums`` is (k, d).
    """
    column = 0
    while column < tile.shape[1]:
        width = RUNS * LANES if column + RUNS * LANES <= tile.shape[1] else LANES
        _weighted_columns(tile, column, width, shares, part)
        column += width
    for j in range(sums.shape[0]):
        for e in range(sums.shape[1]):
            sums[j, e] += part[j, e]
        for i in range(shares.shape[1]):
            totals[j] += shares[j, i]
