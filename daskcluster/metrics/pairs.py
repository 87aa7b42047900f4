"""Scores of pairs of rows: adjusted Rand index and Fowlkes-Mallows."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskcluster.metrics.counts import Counts, count


def adjusted_rand(table: NDArray[np.integer[Any]]) -> float:
    """Rand index adjusted for chance.

    The pair counts of Hubert and Arabie, "Comparing partitions", Journal of Classification 2, 1985,
    in the form that `sklearn.metrics.adjusted_rand_score` uses; 1 by convention where the
    partitions agree on every pair, as for a single row.

    Parameters
    ----------
    table : ndarray of shape (n_clusters, n_classes), any integer dtype
        Counts, clusters as rows and classes as columns.

    Returns
    -------
    float
        From -0.5 to 1; 1 for equal partitions, about 0 for labels drawn at random. Symmetric:
        the transposed table has the same score.

    Raises
    ------
    InputError
        If the table is no table of counts, or holds no rows.

    Examples
    --------
    >>> import numpy as np
    >>> round(adjusted_rand(np.array([[3, 1], [0, 4]])), 4)
    0.4948
    """
    counts = count(table)
    together, in_cluster, in_class = _ordered_pairs(counts)
    only_cluster, only_class = in_cluster - together, in_class - together
    if only_cluster == 0 and only_class == 0:
        return 1.0
    apart = counts.total * (counts.total - 1) - together - only_cluster - only_class
    chance = in_class * (only_class + apart) + in_cluster * (only_cluster + apart)
    return 2 * (together * apart - only_class * only_cluster) / chance


def fowlkes_mallows(table: NDArray[np.integer[Any]]) -> float:
    """Geometric mean of the precision and recall of pairs.

    ``TP / sqrt((TP + FP) (TP + FN))`` over pairs of rows (Fowlkes and Mallows, "A method for
    comparing two hierarchical clusterings", JASA 78, 1983); 0 by convention where no pair shares
    both cluster and class, as `sklearn.metrics.fowlkes_mallows_score`.

    Parameters
    ----------
    table : ndarray of shape (n_clusters, n_classes), any integer dtype
        Counts, clusters as rows and classes as columns.

    Returns
    -------
    float
        From 0 to 1; 1 is best. Symmetric: the transposed table has the same score.

    Raises
    ------
    InputError
        If the table is no table of counts, or holds no rows.

    Examples
    --------
    >>> import numpy as np
    >>> round(fowlkes_mallows(np.array([[3, 1], [0, 4]])), 4)
    0.7206
    """
    together, in_cluster, in_class = _ordered_pairs(count(table))
    if together == 0:
        return 0.0
    return math.sqrt(together / in_cluster) * math.sqrt(together / in_class)


def _ordered_pairs(counts: Counts) -> tuple[int, int, int]:
    """Count ordered pairs of rows sharing cluster and class, the cluster, and the class."""
    together, in_cluster, in_class = (
        int((sizes * (sizes - 1)).sum()) for sizes in (counts.cells, counts.rows, counts.columns)
    )
    return together, in_cluster, in_class
