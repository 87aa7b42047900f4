"""Exact sums of sparse rows: every element rounded once to a grid and added as an integer."""

from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact
from daskcluster.kernels.sparse import SparseRows
from daskcluster.sizing import Grid

# 2**14 limbs of 48 bits stay below 2**62.
_RUN = 1 << 14


def add_by_cluster(
    sums: exact.Ints,
    rows: SparseRows,
    labels: npt.NDArray[np.integer[Any]],
    signs: npt.NDArray[np.int64],
    grid: Grid,
    weights: exact.Ints | None = None,
) -> exact.Ints:
    """Add ``signs[i, e] * rows[i]`` to the sums of cluster ``labels[i, e]``, in place.

    Limbs of shape (n_limbs, k, d), carried afterwards. Labels and signs have one entry a row, or
    two for rows that move; ``weights`` say how often each row counts.
    """
    n_limbs, _, d = sums.shape
    flat = sums.reshape(n_limbs, -1)
    labels, signs = labels.reshape(len(rows), -1), signs.reshape(len(rows), -1)
    for start in range(0, len(rows), _RUN // 2):
        run = slice(start, start + _RUN // 2)
        part = rows[run]
        limbs = exact.to_grid(part.data.astype(np.float64), grid)
        if weights is not None:
            limbs = exact.times(limbs, weights[run][part.row_of])
        for label, sign in zip(labels[run].T, signs[run].T, strict=True):
            places = label[part.row_of].astype(np.int64) * d + part.indices
            for limb, into in zip(limbs, flat, strict=True):
                np.add.at(into, places, limb * sign[part.row_of])
        exact.carry(sums)
    return sums


def column_sums(
    rows: SparseRows,
    values: npt.NDArray[np.float64],
    grid: Grid,
    weights: exact.Ints | None = None,
) -> exact.Ints:
    """Exact sums over rows of ``values``, which stand in the places of the elements."""
    times = None if weights is None else weights[rows.row_of]
    total = np.zeros((grid.n_limbs, rows.n_features), dtype=np.int64)
    for start in range(0, len(rows), _RUN):
        low, high = rows.indptr[start], rows.indptr[min(start + _RUN, len(rows))]
        limbs = exact.to_grid(values[low:high], grid)
        limbs = limbs if times is None else exact.times(limbs, times[low:high])
        for limb, into in zip(limbs, total, strict=True):
            np.add.at(into, rows.indices[low:high], limb)
        exact.carry(total)
    return total
