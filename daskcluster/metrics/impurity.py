"""Purity and Gini: how far each cluster is of one class."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskcluster.metrics.counts import Counts, count, python_integers


def purity(table: NDArray[np.integer[Any]]) -> float:
    """Share of the rows that are of their cluster's commonest class.

    ``sum_k max_c n_kc / n`` (Manning, Raghavan and Schuetze, *Introduction to Information
    Retrieval*, Cambridge 2008, section 16.3).

    Parameters
    ----------
    table : ndarray of shape (n_clusters, n_classes), any integer dtype
        Counts, clusters as rows and classes as columns.

    Returns
    -------
    float
        Above 0, at most 1; 1 is best. A cluster for each row is always pure, so compare only
        clusterings of about as many clusters.

    Raises
    ------
    InputError
        If the table is no table of counts, or holds no rows.

    Examples
    --------
    >>> import numpy as np
    >>> purity(np.array([[3, 1], [0, 4]]))
    0.875
    """
    counts = count(table)
    return int(python_integers(table.max(axis=1)).sum()) / counts.total


def gini(table: NDArray[np.integer[Any]]) -> float:
    """Gini impurity of the clusters, weighted by their sizes.

    ``sum_k (n_k / n) (1 - sum_c (n_kc / n_k)^2)`` (the impurity of Breiman, Friedman, Olshen and
    Stone, *Classification and Regression Trees*, 1984, with clusters in place of leaves), where n
    is the number of labelled rows and empty clusters contribute 0.

    Parameters
    ----------
    table : ndarray of shape (n_clusters, n_classes), any integer dtype
        Counts, clusters as rows and classes as columns.

    Returns
    -------
    float
        From 0 (every cluster holds one class) to below 1.

    Raises
    ------
    InputError
        If the table is no table of counts, or holds no rows.

    Examples
    --------
    >>> import numpy as np
    >>> gini(np.array([[3, 1], [0, 4]]))
    0.1875
    """
    return gini_of(count(table))


def gini_of(counts: Counts) -> float:
    """The same of counts, or of weights in their place."""
    # n_k (1 - sum_c p_kc^2) = sum_c n_kc (n_k - n_kc) / n_k: no cancellation in pure clusters.
    mixed = counts.cells * (counts.cell_rows - counts.cells) / counts.cell_rows
    return math.fsum(mixed) / counts.total
