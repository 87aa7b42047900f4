"""Scores of a clustering against known classes, as pure functions of a table of counts.

Counts become Python integers before anything is multiplied: the pairs of a billion rows leave the
range of int64. Only quotients and logarithms are rounded, and sums of floats use `math.fsum`, so a
score depends neither on the order of clusters and classes nor on how the table was put together.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from daskcluster.errors import InputError
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


class _Counts(NamedTuple):
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


class _Information(NamedTuple):
    """Mutual information and entropies, in nats."""

    mutual: float
    of_clusters: float
    of_classes: float


def purity(table: NDArray[np.integer[Any]]) -> float:
    """Share of the rows that are of their cluster's commonest class.

    ``sum_k max_c n_kc / n`` (Manning, Raghavan and Schuetze, Introduction to Information
    Retrieval, 2008, section 16.3).

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
    counts = _counts(table)
    return int(_python_integers(table.max(axis=1)).sum()) / counts.total


def gini(table: NDArray[np.integer[Any]]) -> float:
    """Gini impurity of the clusters, weighted by their sizes.

    ``sum_k (n_k / n) (1 - sum_c (n_kc / n_k)^2)`` (the impurity of Breiman, Friedman, Olshen and
    Stone, Classification and Regression Trees, 1984, with clusters in place of leaves), where n
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
    counts = _counts(table)
    # n_k (1 - sum_c p_kc^2) = sum_c n_kc (n_k - n_kc) / n_k: no cancellation in pure clusters.
    mixed = counts.cells * (counts.cell_rows - counts.cells) / counts.cell_rows
    return math.fsum(mixed) / counts.total


def adjusted_rand(table: NDArray[np.integer[Any]]) -> float:
    """Rand index adjusted for chance.

    The pair counts of Hubert and Arabie, Comparing partitions, Journal of Classification 2, 1985,
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
    counts = _counts(table)
    together, in_cluster, in_class = _ordered_pairs(counts)
    only_cluster, only_class = in_cluster - together, in_class - together
    if only_cluster == 0 and only_class == 0:
        return 1.0
    apart = counts.total * (counts.total - 1) - together - only_cluster - only_class
    chance = in_class * (only_class + apart) + in_cluster * (only_cluster + apart)
    return 2 * (together * apart - only_class * only_cluster) / chance


def fowlkes_mallows(table: NDArray[np.integer[Any]]) -> float:
    """Geometric mean of the precision and recall of pairs.

    ``TP / sqrt((TP + FP) (TP + FN))`` over pairs of rows (Fowlkes and Mallows, A method for
    comparing two hierarchical clusterings, JASA 78, 1983); 0 by convention where no pair shares
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
    together, in_cluster, in_class = _ordered_pairs(_counts(table))
    if together == 0:
        return 0.0
    return math.sqrt(together / in_cluster) * math.sqrt(together / in_class)


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
    known = _information(_counts(table))
    mean_entropy = (known.of_clusters + known.of_classes) / 2
    return known.mutual / mean_entropy if mean_entropy else 1.0


def homogeneity(table: NDArray[np.integer[Any]]) -> float:
    """How far each cluster holds rows of one class only.

    ``I(K; C) / H(C)`` (Rosenberg and Hirschberg, V-measure, EMNLP 2007); 1 by convention for a
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
    known = _information(_counts(table))
    return known.mutual / known.of_classes if known.of_classes else 1.0


def completeness(table: NDArray[np.integer[Any]]) -> float:
    """How far each class lies in one cluster only.

    ``I(K; C) / H(K)`` (Rosenberg and Hirschberg, V-measure, EMNLP 2007); 1 by convention for a
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
    known = _information(_counts(table))
    return known.mutual / known.of_clusters if known.of_clusters else 1.0


def v_measure(table: NDArray[np.integer[Any]]) -> float:
    """Harmonic mean of homogeneity and completeness.

    ``2 h c / (h + c)`` (Rosenberg and Hirschberg, V-measure, EMNLP 2007, beta = 1), 0 where both
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
    h, c = homogeneity(table), completeness(table)
    return 2 * h * c / (h + c) if h + c else 0.0


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
    _check_table(table)
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

    Parameters
    ----------
    labels_true : array-like of shape (n_rows,), integers or strings
        True classes. Every value is a class, -1 too.
    labels_pred : array-like of shape (n_rows,), integers or strings
        Clusters.

    Returns
    -------
    float
        As `purity`.

    Raises
    ------
    InputError
        If there are no rows, the lengths differ, an array is not one-dimensional or its values
        cannot be sorted.

    Examples
    --------
    >>> purity_score(["cat", "cat", "dog", "dog"], [7, 7, 7, 3])
    0.75
    """
    return purity(_table_of_labels(labels_true, labels_pred))


def gini_index(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Size-weighted Gini impurity, from labels in scikit-learn's argument order.

    Parameters
    ----------
    labels_true : array-like of shape (n_rows,), integers or strings
        True classes. Every value is a class, -1 too.
    labels_pred : array-like of shape (n_rows,), integers or strings
        Clusters.

    Returns
    -------
    float
        As `gini`.

    Raises
    ------
    InputError
        If there are no rows, the lengths differ, an array is not one-dimensional or its values
        cannot be sorted.

    Examples
    --------
    >>> gini_index(["cat", "cat", "dog", "dog"], [7, 7, 3, 3])
    0.0
    """
    return gini(_table_of_labels(labels_true, labels_pred))


def _table_of_labels(labels_true: ArrayLike, labels_pred: ArrayLike) -> NDArray[np.int64]:
    clusters, classes = _numbered("labels_pred", labels_pred), _numbered("labels_true", labels_true)
    return contingency_matrix(clusters, classes)


def _numbered(name: str, labels: ArrayLike) -> NDArray[np.intp]:
    values = np.asarray(labels)
    # Checked here: np.unique flattens, and would number a matrix as if it were a vector.
    if values.ndim != 1:
        raise InputError(f"{name} must be one-dimensional, got {values.ndim} dimensions")
    try:
        return np.unique(values, return_inverse=True)[1]
    except TypeError as error:
        raise InputError(f"{name} must be all integers or all strings: {error}") from error


def _check_table(table: NDArray[np.integer[Any]]) -> None:
    if table.ndim != 2 or table.dtype.kind not in "iu":
        raise InputError(
            f"a table of counts has two dimensions of integers, "
            f"got {table.ndim} dimensions of {table.dtype}"
        )
    if table.size and table.min() < 0:
        raise InputError(f"a table of counts has no negative cells, got {table.min()}")


def _counts(table: NDArray[np.integer[Any]]) -> _Counts:
    _check_table(table)
    if not table.any():
        raise InputError("the table holds no rows of known class, so it has no score")
    k, c = np.nonzero(table)
    cells = _python_integers(table[k, c])
    rows, columns = _sums(cells, k, table.shape[0]), _sums(cells, c, table.shape[1])
    return _Counts(cells.sum(), rows[rows > 0], columns[columns > 0], cells, rows[k], columns[c])


def _python_integers(counts: NDArray[np.integer[Any]]) -> NDArray[Any]:
    return counts.astype(object)


def _sums(cells: NDArray[Any], groups: NDArray[np.intp], n_groups: int) -> NDArray[Any]:
    sums = np.zeros(n_groups, dtype=object)
    np.add.at(sums, groups, cells)
    return sums


def _ordered_pairs(counts: _Counts) -> tuple[int, int, int]:
    """Count ordered pairs of rows sharing cluster and class, the cluster, and the class."""
    together, in_cluster, in_class = (
        int((sizes * (sizes - 1)).sum()) for sizes in (counts.cells, counts.rows, counts.columns)
    )
    return together, in_cluster, in_class


def _information(counts: _Counts) -> _Information:
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
