"""Scores that need no true classes, from what clusters' rows add up to."""

import math

import numpy as np
from numpy.typing import NDArray


def calinski_harabasz(
    counts: NDArray[np.int64], means: NDArray[np.float64], spreads: NDArray[np.float64]
) -> float | None:
    """Between clusters' dispersion over that within them, by degrees of freedom.

    Calinski and Harabasz, "A dendrite method for cluster analysis", Communications in Statistics
    3, 1974, as `sklearn.metrics.calinski_harabasz_score`.

    Parameters
    ----------
    counts : int64 ndarray of shape (n_clusters,)
        Rows of each cluster, above 0.
    means : float64 ndarray of shape (n_clusters, n_features)
    spreads : float64 ndarray of shape (n_clusters,)
        Mean squared distances of the rows from the mean of their cluster.

    Returns
    -------
    float or None
        At least 0; more is better. None where it is not defined: one cluster, or one for each row.

    Examples
    --------
    >>> import numpy as np
    >>> calinski_harabasz(np.array([2, 2]), np.array([[0.0], [4.0]]), np.array([1.0, 1.0]))
    8.0
    """
    n, k = int(counts.sum()), len(counts)
    if not 2 <= k < n:
        return None
    offsets = means - (counts[:, np.newaxis] * means).sum(axis=0) / n
    between = math.fsum(counts * np.einsum("ij,ij->i", offsets, offsets))
    within = math.fsum(counts * spreads)
    return 1.0 if within == 0 else between * (n - k) / (within * (k - 1))


def davies_bouldin(
    counts: NDArray[np.int64], means: NDArray[np.float64], distances: NDArray[np.float64]
) -> float | None:
    """Mean over clusters of the worst ratio of two clusters' extents to the distance between them.

    Davies and Bouldin, "A cluster separation measure", IEEE Transactions on Pattern Analysis and
    Machine Intelligence 1, 1979, as `sklearn.metrics.davies_bouldin_score`.

    Parameters
    ----------
    counts : int64 ndarray of shape (n_clusters,)
        Rows of each cluster, above 0.
    means : float64 ndarray of shape (n_clusters, n_features)
    distances : float64 ndarray of shape (n_clusters,)
        Sums of the Euclidean distances of the rows from the mean of their cluster.

    Returns
    -------
    float or None
        At least 0; less is better. None where it is not defined: one cluster, or one for each row.

    Examples
    --------
    >>> import numpy as np
    >>> davies_bouldin(np.array([2, 2]), np.array([[0.0], [4.0]]), np.array([2.0, 2.0]))
    0.5
    """
    k = len(counts)
    if not 2 <= k < int(counts.sum()):
        return None
    extents = distances / counts
    worst = np.zeros(k)
    apart_at_all = False
    for i in range(k):
        offsets = means - means[i]
        apart = np.sqrt(np.einsum("ij,ij->i", offsets, offsets))
        apart_at_all |= not np.allclose(apart, 0)
        ratios = (extents + extents[i]) / np.where(apart == 0, np.inf, apart)
        worst[i] = ratios.max()
    # scikit-learn's rule, and its tolerance.
    if np.allclose(extents, 0) or not apart_at_all:
        return 0.0
    return float(worst.mean())
