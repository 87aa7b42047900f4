"""A table of counts as Python integers.

The pairs of a billion rows leave the range of int64, so counts become Python integers before
anything is multiplied. Only quotients and logarithms are rounded, and sums of floats use
`math.fsum`: a score depends neither on the order of clusters and classes nor on how the table was
put together.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskcluster.errors import InputError


class Counts(NamedTuple):
    """The filled cells of a table with their margins, all as Python integers."""

    total: int
    rows: NDArray[Any]
    """Sizes of the clusters that have rows."""
    columns: NDArray[Any]
    """Sizes of the classes that have rows."""
    cells: NDArray[Any]
    cell_rows: NDArray[Any]
    """Size of each cell's cluster."""
    cell_columns: NDArray[Any]
    """Size of each cell's class."""


def check_table(table: NDArray[np.integer[Any]]) -> None:
    if table.ndim != 2 or table.dtype.kind not in "iu":
        raise InputError(
            f"a table of counts has two dimensions of integers, "
            f"got {table.ndim} dimensions of {table.dtype}"
        )
    if table.size and table.min() < 0:
        raise InputError(f"a table of counts has no negative cells, got {table.min()}")


def count(table: NDArray[np.integer[Any]]) -> Counts:
    check_table(table)
    if not table.any():
        raise InputError("the table holds no rows of known class, so it has no score")
    k, c = np.nonzero(table)
    return margins(python_integers(table[k, c]), k, c, table.shape)


def margins(
    cells: NDArray[Any], k: NDArray[np.intp], c: NDArray[np.intp], shape: tuple[int, ...]
) -> Counts:
    """Of the filled cells, at rows ``k`` and columns ``c``: Python numbers in an object array."""
    rows, columns = _sums(cells, k, shape[0]), _sums(cells, c, shape[1])
    return Counts(cells.sum(), rows[rows > 0], columns[columns > 0], cells, rows[k], columns[c])


def python_integers(counts: NDArray[np.integer[Any]]) -> NDArray[Any]:
    return counts.astype(object)


def _sums(cells: NDArray[Any], groups: NDArray[np.intp], n_groups: int) -> NDArray[Any]:
    sums = np.zeros(n_groups, dtype=object)
    np.add.at(sums, groups, cells)
    return sums
