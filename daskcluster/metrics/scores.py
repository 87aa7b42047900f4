"""All scores of one table, and scores of labels."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from daskcluster.errors import InputError
from daskcluster.metrics.counts import check_table
from daskcluster.metrics.impurity import gini, purity
from daskcluster.metrics.information import (
    completeness,
    homogeneity,
    normalized_mutual_info,
    v_measure,
)
from daskcluster.metrics.pairs import adjusted_rand, fowlkes_mallows
from daskcluster.metrics.table import contingency_matrix


@dataclass(frozen=True)
class Scores:
    """All scores of one table; every score is None when the table holds no rows.

    Examples
    --------
    >>> import numpy as np
    >>> score_table(np.array([[3, 1], [0, 4]])).purity
    0.875
    """

    purity: float | None
    """Share of the rows that are of their cluster's commonest class; 0 to 1, 1 is best."""

    gini: float | None
    """Gini impurity of the clusters, weighted by size; 0 to 1, 0 is best."""

    ari: float | None
    """Adjusted Rand index; at most 1, about 0 for labels drawn at random."""

    nmi: float | None
    """Mutual information over the mean of the two entropies; 0 to 1, 1 is best."""

    homogeneity: float | None
    """1 when every cluster holds rows of one class only; 0 to 1."""

    completeness: float | None
    """1 when every class lies in one cluster only; 0 to 1."""

    v_measure: float | None
    """Harmonic mean of homogeneity and completeness; 0 to 1, 1 is best."""

    fowlkes_mallows: float | None
    """Geometric mean of the pairwise precision and recall; 0 to 1, 1 is best."""

    def as_dict(self) -> dict[str, float | None]:
        """Return the scores by name, in the order of the fields.

        Returns
        -------
        dict of str to float or None
            Plain values, ready for JSON.

        Examples
        --------
        >>> import numpy as np
        >>> score_table(np.array([[3, 0], [0, 4]])).as_dict()["ari"]
        1.0
        """
        return asdict(self)


def score_table(table: NDArray[np.integer[Any]]) -> Scores:
    """Compute every score of one table.

    Parameters
    ----------
    table : ndarray of shape (n_clusters, n_classes), any integer dtype
        Counts, clusters as rows and classes as columns.

    Returns
    -------
    Scores
        Each score a float, or each None when the table holds no rows.

    Raises
    ------
    InputError
        If the table is no table of counts.

    Examples
    --------
    >>> import numpy as np
    >>> score_table(np.zeros((2, 3), dtype=np.int64)).purity is None
    True
    """
    check_table(table)
    if not table.any():
        return Scores(None, None, None, None, None, None, None, None)
    return Scores(
        purity=purity(table),
        gini=gini(table),
        ari=adjusted_rand(table),
        nmi=normalized_mutual_info(table),
        homogeneity=homogeneity(table),
        completeness=completeness(table),
        v_measure=v_measure(table),
        fowlkes_mallows=fowlkes_mallows(table),
    )


def purity_score(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Purity of a clustering, from labels in scikit-learn's argument order.

    ``sum_k max_c n_kc / n``, where n_kc of the n rows are in cluster k and of class c.

    Parameters
    ----------
    labels_true : array-like of shape (n_rows,), integers or strings
        True classes. Every value is a class, -1 too.
    labels_pred : array-like of shape (n_rows,), integers or strings
        Clusters.

    Returns
    -------
    float
        Above 0, at most 1; 1 is best. A cluster for each row is always pure, so compare only
        clusterings of about as many clusters.

    Raises
    ------
    InputError
        If there are no rows, the lengths differ, an array is not one-dimensional or its values
        cannot be sorted.

    References
    ----------
    Manning, Raghavan and Schuetze, *Introduction to Information Retrieval*, Cambridge 2008,
    section 16.3.

    Examples
    --------
    Cluster 7 holds two cats and a dog, cluster 3 a dog:

    >>> from daskcluster import purity_score
    >>> purity_score(["cat", "cat", "dog", "dog"], [7, 7, 7, 3])
    0.75
    """
    return purity(_table_of_labels(labels_true, labels_pred))


def gini_index(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Size-weighted Gini impurity, from labels in scikit-learn's argument order.

    ``sum_k (n_k / n) (1 - sum_c (n_kc / n_k)^2)``, where n_kc of the n_k rows of cluster k are of
    class c, and n is the number of rows.

    Parameters
    ----------
    labels_true : array-like of shape (n_rows,), integers or strings
        True classes. Every value is a class, -1 too.
    labels_pred : array-like of shape (n_rows,), integers or strings
        Clusters.

    Returns
    -------
    float
        From 0 (every cluster holds one class), which is best, to below 1.

    Raises
    ------
    InputError
        If there are no rows, the lengths differ, an array is not one-dimensional or its values
        cannot be sorted.

    References
    ----------
    Breiman, Friedman, Olshen and Stone, *Classification and Regression Trees*, Wadsworth 1984,
    with clusters in place of leaves.

    Examples
    --------
    Cluster 7 is half cats and half dogs, cluster 3 all dogs:

    >>> from daskcluster import gini_index
    >>> gini_index(["cat", "dog", "dog", "dog"], [7, 7, 3, 3])
    0.25
    """
    return gini(_table_of_labels(labels_true, labels_pred))


def _table_of_labels(labels_true: ArrayLike, labels_pred: ArrayLike) -> NDArray[np.int64]:
    clusters, classes = _numbered("labels_pred", labels_pred), _numbered("labels_true", labels_true)
    return contingency_matrix(classes, clusters).T


def _numbered(name: str, labels: ArrayLike) -> NDArray[np.intp]:
    values = np.asarray(labels)
    # Checked here: np.unique flattens, and would number a matrix as if it were a vector.
    if values.ndim != 1:
        raise InputError(f"{name} must be one-dimensional, got {values.ndim} dimensions")
    try:
        return np.unique(values, return_inverse=True)[1]
    except TypeError as error:
        raise InputError(f"{name} must be all integers or all strings: {error}") from error
