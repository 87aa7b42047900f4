"""Scores of information shared by clusters and classes."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskcluster.metrics.counts import Counts, count


class _Information(NamedTuple):
    """Mutual information and entropies, in nats."""

    mutual: float
    of_clusters: float
    of_classes: float


def normalized_mutual_info(table: NDArray[np.integer[Any]]) -> float:
    """Mutual information over the arithmetic mean of the two entropies.

    ``2 I(K; C) / (H(K) + H(C))`` (Vinh, Epps and Bailey, JMLR 11, 2010, NMI_sum), the default of
    `sklearn.metrics.normalized_mutual_info_score`; 1 by convention for one cluster and one class.

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
    >>> round(normalized_mutual_info(np.array([[3, 1], [0, 4]])), 4)
    0.5616
    """
    return information_scores(count(table))["nmi"]


def homogeneity(table: NDArray[np.integer[Any]]) -> float:
    """How far each cluster holds rows of one class only.

    ``I(K; C) / H(C)`` (Rosenberg and Hirschberg, "V-measure", EMNLP 2007); 1 by convention for a
    single class, as `sklearn.metrics.homogeneity_score`.

    Parameters
    ----------
    table : ndarray of shape (n_clusters, n_classes), any integer dtype
        Counts, clusters as rows and classes as columns.

    Returns
    -------
    float
        From 0 to 1; 1 is best.

    Raises
    ------
    InputError
        If the table is no table of counts, or holds no rows.

    Examples
    --------
    >>> import numpy as np
    >>> homogeneity(np.array([[3, 0], [2, 0], [0, 4]]))
    1.0
    """
    return information_scores(count(table))["homogeneity"]


def completeness(table: NDArray[np.integer[Any]]) -> float:
    """How far each class lies in one cluster only.

    ``I(K; C) / H(K)`` (Rosenberg and Hirschberg, "V-measure", EMNLP 2007); 1 by convention for a
    single cluster, as `sklearn.metrics.completeness_score`.

    Parameters
    ----------
    table : ndarray of shape (n_clusters, n_classes), any integer dtype
        Counts, clusters as rows and classes as columns.

    Returns
    -------
    float
        From 0 to 1; 1 is best. The completeness of a table is the homogeneity of its transpose.

    Raises
    ------
    InputError
        If the table is no table of counts, or holds no rows.

    Examples
    --------
    >>> import numpy as np
    >>> completeness(np.array([[3, 2, 0], [0, 0, 4]]))
    1.0
    """
    return information_scores(count(table))["completeness"]


def v_measure(table: NDArray[np.integer[Any]]) -> float:
    """Harmonic mean of homogeneity and completeness.

    ``2 h c / (h + c)`` (Rosenberg and Hirschberg, "V-measure", EMNLP 2007, beta = 1), 0 where both
    are 0, as `sklearn.metrics.v_measure_score`.

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
    >>> v_measure(np.array([[3, 0], [0, 4]]))
    1.0
    """
    return information_scores(count(table))["v_measure"]


def information_scores(counts: Counts) -> dict[str, float]:
    """All of them, of counts or of weights in their place."""
    known = _information(counts)
    mean_entropy = (known.of_clusters + known.of_classes) / 2
    h = known.mutual / known.of_classes if known.of_classes else 1.0
    c = known.mutual / known.of_clusters if known.of_clusters else 1.0
    return {
        "nmi": known.mutual / mean_entropy if mean_entropy else 1.0,
        "homogeneity": h,
        "completeness": c,
        "v_measure": 2 * h * c / (h + c) if h + c else 0.0,
    }


def _information(counts: Counts) -> _Information:
    n = counts.total
    margins = counts.cell_rows * counts.cell_columns
    mutual = _mean_log(counts.cells, counts.cells * n, margins, n)
    of_clusters = _mean_log(counts.rows, n, counts.rows, n)
    of_classes = _mean_log(counts.columns, n, counts.columns, n)
    # Rounding may leave the sum outside its bounds, and scores outside 0 to 1.
    mutual = min(max(mutual, 0.0), of_clusters, of_classes)
    return _Information(mutual, of_clusters, of_classes)


def _mean_log(
    weights: NDArray[Any], numerators: NDArray[Any] | int, denominators: NDArray[Any], total: int
) -> float:
    """Sum ``weights / total * log(numerators / denominators)``."""
    ratio = (numerators / denominators).astype(np.float64)
    excess = ((numerators - denominators) / denominators).astype(np.float64)
    # The logarithm of a ratio near 1 has only the digits of its excess over 1, which is exact.
    logs = np.where(ratio > 0.5, np.log1p(np.maximum(excess, -0.5)), np.log(ratio))
    return math.fsum((weights / total).astype(np.float64) * logs)
