"""Scores of soft clusters against true classes, from tables of responsibilities by class."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskcluster.errors import InputError
from daskcluster.metrics.counts import Counts, margins
from daskcluster.metrics.impurity import gini_of
from daskcluster.metrics.information import information_scores


def soft_scores(table: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Scores that the expected joint distribution of clusters and classes defines.

    The definitions of `gini`, `homogeneity`, `completeness`, `v_measure` and
    `normalized_mutual_info`, with sums of responsibilities where those have counts of rows. For
    responsibilities of 0 and 1 they are the same.

    Parameters
    ----------
    table : float ndarray of shape (n_clusters, n_classes)
        ``R^T onehot(y)``: sums of the responsibilities of each class's rows.

    Returns
    -------
    dict of str to float
        gini, nmi, homogeneity, completeness, v_measure.

    Raises
    ------
    InputError
        If the table has negative cells, or none above 0.

    Examples
    --------
    >>> import numpy as np
    >>> round(soft_scores(np.array([[1.5, 0.5], [0.5, 1.5]]))["gini"], 3)
    0.375
    """
    counts = _soft_counts(table)
    return {"gini": gini_of(counts), **information_scores(counts)}


def soft_adjusted_rand(bonds: NDArray[np.floating[Any]], sizes: NDArray[np.integer[Any]]) -> float:
    """Rand index of soft clusters against classes, adjusted for chance.

    Two rows are bonded by the cosine of their responsibilities; sums of bonds take the place of
    numbers of pairs (Brouwer, "Extending the Rand, adjusted Rand and Jaccard indices to fuzzy
    partitions", Journal of Intelligent Information Systems 32, 2009). For hard clusters it is
    `adjusted_rand`.

    Parameters
    ----------
    bonds : float ndarray of shape (n_clusters, n_classes)
        ``U^T onehot(y)``, where U are the responsibilities, each row scaled to unit length.
    sizes : int ndarray of shape (n_classes,)
        Rows of each class.

    Returns
    -------
    float
        At most 1.

    Examples
    --------
    >>> import numpy as np
    >>> soft_adjusted_rand(np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([3, 4]))
    1.0
    """
    n = int(sizes.sum())
    together = math.fsum((bonds**2).ravel()) - n
    in_cluster = math.fsum(bonds.sum(axis=1) ** 2) - n
    in_class = sum(int(size) ** 2 for size in sizes) - n
    pairs = n * (n - 1)
    chance = in_cluster * in_class / pairs if pairs else 0.0
    most = (in_cluster + in_class) / 2
    # Where both put every pair together, or every pair apart, they agree.
    if most == chance:
        return 1.0
    return (together - chance) / (most - chance)


def _soft_counts(table: NDArray[np.floating[Any]]) -> Counts:
    if table.ndim != 2 or not (table >= 0).all() or not table.any():
        raise InputError("a table of responsibilities has two dimensions, and no negative cells")
    k, c = np.nonzero(table)
    return margins(table[k, c].astype(object), k, c, table.shape)
