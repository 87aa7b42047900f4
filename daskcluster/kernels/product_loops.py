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
    products,
    weighted_narrow,
    weighted_one,
    weighted_wide,
)
from daskcluster.sizing import LANES

# Vectors of features, and rows, that one chain of sums in float32 goes over. Bits depend on both,
# and so does the error: it grows with the chain.
_VECTORS = 128
_CHAIN = 128
_TILE_ROWS = 16 * ROWS  # they stay in cache with some centres


@numba.njit(nogil=True, cache=True)
def all_products(tile, n, packed, start, stop, out):
    """Products of ``n`` rows of a tile, `ROWS` at once, with all centres, into rows of ``out``."""
    for center in range(0, packed.shape[0], CENTERS):
        # The last ones may be computed twice: to the same bits.
        first = min(center, packed.shape[0] - CENTERS)
        for i in range(0, n, ROWS):
            products(tile, i, packed, first, start, stop, out, i)


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
def _weighted_columns(tile, start, stop, column, width, shares, part):
    k = shares.shape[0]
    if k < CLUSTERS:
        for j in range(k):
            for at in range(column, column + width, LANES):
                weighted_one(tile, start, stop, at, shares, j, part)
        return
    for j in range(0, k, CLUSTERS):
        # The last ones may be computed twice: to the same bits.
        first = min(j, k - CLUSTERS)
        if width == RUNS * LANES:
            weighted_wide(tile, start, stop, column, shares, first, part)
        else:
            weighted_narrow(tile, start, stop, column, shares, first, part)


@numba.njit(nogil=True, cache=True)
def _add(part, column, width, sums):
    for j in range(sums.shape[0]):
        for e in range(column, min(column + width, sums.shape[1])):
            sums[j, e] += part[j, e]


@numba.njit(nogil=True, cache=True)
def _weighted_run(tile, start, stop, shares, part, sums):
    column = 0
    while column < tile.shape[1]:
        wide = column + RUNS * LANES <= tile.shape[1]
        width = RUNS * LANES if wide else LANES
        for begin in range(start, stop, _CHAIN):
            end = min(begin + _CHAIN, stop)
            _weighted_columns(tile, begin, end, column, width, shares, part)
            _add(part, column, width, sums)
        column += width


@numba.njit(nogil=True, cache=True)
def weighted(tile, size, shares, sums, totals):
    """Sums of the rows by share, and of the shares, of each even run of ``size`` rows.

    ``shares`` has shape (k, n), ``sums`` (n_runs, k, d), ``totals`` (n_runs, k); both begin as 0.
    """
    part = np.empty((shares.shape[0], tile.shape[1]), np.float32)
    for run in range(sums.shape[0]):
        start, stop = run * size, (run + 1) * size
        _weighted_run(tile, start, stop, shares, part, sums[run])
        for j in range(shares.shape[0]):
            for i in range(start, stop):
                totals[run, j] += shares[j, i]
