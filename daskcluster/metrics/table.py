"""The table of counts, clusters by classes: step, merge and zero of the reduction over blocks."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from daskcluster.errors import InputError

UNKNOWN_CLASS = -1
"""The class of a row whose true class nobody knows; such rows are counted nowhere."""


def contingency_table(
    labels: ArrayLike,
    classes: ArrayLike,
    n_clusters: int,
    n_classes: int,
    weights: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Count one block's rows by cluster and class, over declared ranges.

    The ranges are declared, not found in the block, so that the tables of all blocks have one
    shape and add (see `merge_tables`); the zero of that sum is ``np.zeros``.

    Parameters
    ----------
    labels : array-like of shape (n_rows,), any integer dtype
        Cluster of each row, 0 to ``n_clusters - 1``.
    classes : array-like of shape (n_rows,), any integer dtype
        True class of each row, 0 to ``n_classes - 1``, or -1 where it is unknown. Rows of
        unknown class are left out.
    n_clusters, n_classes : int
        The declared ranges, at least 0.
    weights : int64 ndarray of shape (n_rows,), optional
        How often each row counts.

    Returns
    -------
    ndarray of shape (n_clusters, n_classes), int64
        ``table[k, c]`` rows of cluster k are of class c.

    Raises
    ------
    InputError
        If an array is not one-dimensional or not of integers, the lengths differ, or a value
        lies outside its range. The label of a row of unknown class must be in range too.

    Examples
    --------
    >>> contingency_table([0, 0, 1, 1], [2, 2, 0, -1], n_clusters=2, n_classes=3)
    array([[0, 0, 2],
           [1, 0, 0]])
    """
    clusters = _codes("labels", labels, 0, n_clusters)
    true = _codes("classes", classes, UNKNOWN_CLASS, n_classes)
    _check_same_length(clusters, true)
    known = true != UNKNOWN_CLASS
    cells = clusters[known] * n_classes + true[known]
    if weights is None:
        counts = np.bincount(cells, minlength=n_clusters * n_classes).astype(np.int64, copy=False)
    else:
        counts = np.zeros(n_clusters * n_classes, dtype=np.int64)
        np.add.at(counts, cells, weights[known])
    return counts.reshape(n_clusters, n_classes)


def merge_tables(*tables: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add the tables of any number of blocks, in any order and grouping.

    Parameters
    ----------
    *tables : ndarray of shape (n_clusters, n_classes), int64
        At least one table; none of them is changed.

    Returns
    -------
    ndarray of shape (n_clusters, n_classes), int64
        Their sum, a new array.

    Raises
    ------
    InputError
        If there is no table, or the shapes differ (NumPy would broadcast some of those).

    Examples
    --------
    >>> import numpy as np
    >>> merge_tables(np.array([[1, 0]]), np.array([[2, 5]]))
    array([[3, 5]])
    """
    shapes = {table.shape for table in tables}
    if len(shapes) != 1:
        raise InputError(
            f"only tables of one shape add, and at least one is needed; got the shapes "
            f"{sorted(shapes)}: declare the same n_clusters and n_classes for every block"
        )
    total = np.zeros(shapes.pop(), dtype=np.int64)
    for table in tables:
        total += table
    return total


def contingency_matrix(
    labels_true: ArrayLike,
    labels_pred: ArrayLike,
    *,
    n_classes: int | None = None,
    n_clusters: int | None = None,
) -> NDArray[np.int64]:
    """Count the rows of whole label arrays by class and cluster.

    As in scikit-learn, but for codes over declared ranges: numbers without a row keep their
    (empty) place, so that matrices of parts of the rows add up to that of the whole.

    Parameters
    ----------
    labels_true : array-like of shape (n_rows,), any integer dtype
        True class of each row, 0 upwards, or -1 where it is unknown (left out).
    labels_pred : array-like of shape (n_rows,), any integer dtype
        Cluster of each row, 0 upwards.
    n_classes, n_clusters : int, optional
        The ranges; by default the greatest value plus one.

    Returns
    -------
    ndarray of shape (n_classes, n_clusters), int64
        ``matrix[c, k]`` rows of class c are in cluster k.

    Raises
    ------
    InputError
        If an array is not one-dimensional or not of integers, the lengths differ, or a value
        lies outside its range. The cluster of a row of unknown class must be in range too.

    Examples
    --------
    >>> from daskcluster import contingency_matrix
    >>> contingency_matrix([1, 1, 0], [0, 0, 2])
    array([[0, 0, 1],
           [2, 0, 0]])
    >>> contingency_matrix([1], [0], n_classes=2, n_clusters=3)  # of a part of the rows
    array([[0, 0, 0],
           [1, 0, 0]])
    """
    k = _range_of("labels_pred", labels_pred) if n_clusters is None else n_clusters
    c = _range_of("labels_true", labels_true) if n_classes is None else n_classes
    return np.ascontiguousarray(contingency_table(labels_pred, labels_true, k, c).T)


def _check_same_length(clusters: NDArray[np.int64], true: NDArray[np.int64]) -> None:
    if clusters.size != true.size:
        raise InputError(
            f"{clusters.size} labels but {true.size} classes: give one of each per row"
        )


def _codes(name: str, values: ArrayLike, lowest: int, limit: int) -> NDArray[np.int64]:
    if limit < 0:
        raise InputError(f"the number of values declared for {name} is {limit}; it must be >= 0")
    codes = _integers(name, values)
    # Compared before the cast: a uint64 above the range of int64 would wrap round to -1.
    if codes.size and (codes.min() < lowest or codes.max() >= limit):
        raise InputError(
            f"{name} run from {codes.min()} to {codes.max()}, outside {lowest} to {limit - 1}: "
            f"declare a greater range or number the values from 0"
        )
    return codes.astype(np.int64, copy=False)


def _integers(name: str, values: ArrayLike) -> NDArray[Any]:
    codes = np.asarray(values)
    # NumPy makes an empty list an array of floats; it holds no value that could be wrong.
    if codes.ndim != 1 or (codes.size and codes.dtype.kind not in "iu"):
        raise InputError(
            f"{name} must be one-dimensional and of integers, "
            f"got {codes.ndim} dimensions of {codes.dtype}"
        )
    return codes


def _range_of(name: str, values: ArrayLike) -> int:
    codes = _integers(name, values)
    return max(int(codes.max()) + 1, 0) if codes.size else 0
