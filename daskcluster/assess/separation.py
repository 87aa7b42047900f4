"""Scores that need no true classes: exact, out of core, in two reductions over the rows.

The first finds the clusters' means and how far their rows lie from them, the second what only
these tell: silhouettes, and distances that are no squares. Blocks that fit the memory stay decoded
between the two, so that the data is read once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from daskcluster.assess.written import open_labels
from daskcluster.engine import Ask, Asking, Reader, Session, alone
from daskcluster.engine.lazy import is_dask_array
from daskcluster.errors import BudgetError, InputError
from daskcluster.fit.budget import spend_on_blocks
from daskcluster.fit.data import Dataset, array_dataset, dataset, is_array_like
from daskcluster.fit.weights import in_units
from daskcluster.kernels import compiled, compiled_sums, exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.hard_sums import HardPartial, merge_hard, moved
from daskcluster.kernels.nearest import Found, Nearest
from daskcluster.kernels.sparse import SparseRows
from daskcluster.kernels.spread import (
    Clusters,
    Labelling,
    Separation,
    clusters_of,
    distance_grid,
    has_whole_squares,
    spread_sums,
    steiner,
    sums_by_label,
    whole_spreads,
)
from daskcluster.metrics import contingency_table, merge_tables
from daskcluster.metrics.separation import calinski_harabasz, davies_bouldin
from daskcluster.sizing import Block, Grid
from daskcluster.survey import Scale


@dataclass(frozen=True)
class Gathered:
    """Partial of `Gather`; all parts add."""

    hard: HardPartial
    spread: exact.Ints
    """Sums of squared distances from the clusters' points, or of squared norms of small integers,
    limbs (2, n_clusters)."""
    table: npt.NDArray[np.int64] | None
    """Contingency table (n_clusters, n_classes), None without classes."""


@dataclass(frozen=True)
class Gather:
    """Reduction: what the clusters' rows add up to."""

    labelling: Labelling
    points: Floats
    """A point near each cluster, in the frame, shape (n_clusters, n_features)."""
    grid: Grid
    """Of the sums."""
    spread_grid: Grid
    n_classes: int = 0
    whole: bool = False
    """Whether squared norms, whole numbers, say how far clusters spread: without distances."""
    state_kind = None

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the sums of one partial."""
        return self.grid.n_limbs * self.points.nbytes

    def looks(self, state: None) -> Nearest | None:
        """As `Labelling.looks`."""
        return self.labelling.looks()

    def step(self, batch: Batch, state: None, found: Found | None = None) -> tuple[Gathered, None]:
        labels, k = self.labelling.of(batch, found), len(self.points)
        hard = self._sums(batch, labels)
        spread = self._spread(batch, labels)
        table = None
        if self.n_classes:
            assert batch.labels is not None
            table = contingency_table(labels, batch.labels, k, self.n_classes, batch.weights)
        return Gathered(hard, spread, table), None

    def _spread(self, batch: Batch, labels: Any) -> exact.Ints:
        k, grid = len(self.points), self.spread_grid
        if self.whole:
            return sums_by_label(batch.squares, labels, k, grid, batch.weights)
        return spread_sums(batch, labels, self.points, self.labelling.frame, grid)

    def _sums(self, batch: Batch, labels: Any) -> HardPartial:
        rows, k = batch.rows, len(self.points)
        loops = self.labelling.by_loops and batch.weights is None
        if loops and compiled_sums.can_add(rows, self.grid):
            return HardPartial(*compiled_sums.add(rows, labels, k, self.grid), len(labels))
        return moved(rows, None, labels, k, self.grid, weights=batch.weights)

    def merge(self, a: Gathered, b: Gathered) -> Gathered:
        table = None if a.table is None or b.table is None else merge_tables(a.table, b.table)
        return Gathered(merge_hard(a.hard, b.hard), exact.carry(a.spread + b.spread), table)


def gather_of(
    data: Dataset, scale: Scale, labelling: Labelling, n_clusters: int, n_classes: int = 0
) -> Gather:
    """The first reduction; without centres the clusters' points are the middle of the data."""
    frame, grid = scale.frame, scale.moments.sum_grid
    loops = not data.sparse and compiled.worthwhile(data.n_rows, n_clusters, data.n_features)
    labelling = replace(labelling, loops=loops)
    middle = frame.middle_of(data.n_features)
    points = np.broadcast_to(middle, (n_clusters, data.n_features))
    if labelling.centers is not None:
        points = frame.rows64(labelling.centers)
    whole = not data.sparse and has_whole_squares(data.dtype, data.n_features)
    spread = distance_grid(data.population, data.n_features, scale.reach)
    spread = Grid(0, 2) if whole else spread
    return Gather(labelling, np.ascontiguousarray(points), grid, spread, n_classes, whole)


def separation_scores(
    data: Dataset, scale: Scale, job: Gather, found: Gathered
) -> Asking[dict[str, float | None]]:
    """silhouette, calinski_harabasz and davies_bouldin; None where they are not defined."""
    clusters = _clusters(scale, job, found)
    names = ("silhouette", "calinski_harabasz", "davies_bouldin")
    if not 2 <= len(clusters.counts) < data.n_rows:
        return dict.fromkeys(names)
    n = data.population
    second = Separation(job.labelling, clusters, n, scale.reach, scale.weight_unit == 0)
    sums = yield Ask(second, "silhouette")
    silhouette = exact.rounded(sums.silhouettes, second.silhouette_grid)[0] / n
    weights = in_units(clusters.counts, scale.weight_unit)
    distances = exact.rounded(sums.distances, second.distances_grid)
    scores = (
        float(silhouette),
        calinski_harabasz(weights, clusters.means, clusters.spreads),
        davies_bouldin(clusters.counts, clusters.means, distances),
    )
    return dict(zip(names, scores, strict=True))


def _clusters(scale: Scale, job: Gather, found: Gathered) -> Clusters:
    counts, sums = found.hard.counts, found.hard.sums
    held = np.flatnonzero(counts > 0)
    own = exact.mean(sums[:, held], counts[held], job.grid)
    means = scale.frame.rows64(own)
    if job.whole:
        spreads = whole_spreads(found.spread[:, held], sums[:, held], counts[held], own, job.grid)
        spreads = np.ldexp(spreads, -2 * scale.frame.exponent)
    else:
        spreads = steiner(
            found.spread[:, held], counts[held], means, job.points[held], job.spread_grid
        )
    return clusters_of(counts, means, spreads)


@contextmanager
def assessing(data: Dataset, n_clusters: int, progress: Any = None) -> Iterator[Session]:
    """A session in blocks of whole runs of rows; what fits the memory is decoded once."""
    with data.session(progress) as session:
        session.recut(data.aligned(n_clusters))
        with suppress(BudgetError):
            session.keep(spend_on_blocks(session, data, [n_clusters], None).rows)
        yield session


@dataclass(frozen=True)
class _Labelled:
    """Rows of a reader with labels of one's own."""

    reader: Reader
    labels: npt.NDArray[np.int32]

    @property
    def token(self) -> str:
        return self.reader.token

    @property
    def in_memory(self) -> bool:
        return self.reader.in_memory

    def read(self, block: Block) -> Batch:
        batch: Any = self.reader.read(block)
        labelled: Batch = replace(batch, labels=self.labels[block.start : block.stop])
        return labelled

    def identity(self) -> str:
        return self.reader.identity()


def silhouette_score(X: Any, labels: Any, sample_weight: Any = None) -> float:
    """Mean silhouette coefficient for squared Euclidean distance, out of core.

    With a the mean distance of a row to the others of its cluster, and b the least mean distance
    to the rows of another, the mean over all rows of ``(b - a) / max(a, b)``; 0 for a row that is
    alone in its cluster. It is `sklearn.metrics.silhouette_score` with ``metric='sqeuclidean'``, in
    two passes over the rows instead of over all pairs of them. For the distance itself, which is
    scikit-learn's default, it is another number.

    Parameters
    ----------
    X : array-like, sparse matrix, dask Array, zarr Array, Store, path or URL
        Rows, shape (n_samples, n_features).
    labels : array-like of shape (n_samples,), dask Array, or path of what `predict_labels` wrote
        Any integers.
    sample_weight : array-like of shape (n_samples,), dask Array or float, optional
        A row of weight w counts as w rows.

    Returns
    -------
    float
        From -1 to 1; 1 is best.

    Raises
    ------
    InputError
        Fewer than 2 clusters, or one for each row; labels of another length, or no integers.

    References
    ----------
    Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis", Journal of Computational and Applied Mathematics 20, 1987.

    Examples
    --------
    >>> from daskcluster import silhouette_score
    >>> X = [[0.0], [1.0], [9.0], [10.0]]
    >>> round(silhouette_score(X, [0, 0, 1, 1]), 4)
    0.9876
    >>> round(silhouette_score(X, [0, 1, 1, 0]), 4)
    -0.4747
    """
    return _score(X, labels, sample_weight, "silhouette")


def calinski_harabasz_score(X: Any, labels: Any, sample_weight: Any = None) -> float:
    """Calinski and Harabasz' ratio of dispersions, out of core; as scikit-learn's.

    The dispersion between the clusters over that within them, each by its degrees of freedom:
    ``(sum_k n_k ||m_k - m||^2 / (K - 1)) / (sum_k sum_i ||x_i - m_k||^2 / (n - K))``, with m_k the
    mean of the n_k rows of cluster k of K, and m that of all n.

    Parameters
    ----------
    X : array-like, sparse matrix, dask Array, zarr Array, Store, path or URL
        Rows, shape (n_samples, n_features).
    labels : array-like of shape (n_samples,), dask Array, or path of what `predict_labels` wrote
        Any integers.
    sample_weight : array-like of shape (n_samples,), dask Array or float, optional
        A row of weight w counts as w rows.

    Returns
    -------
    float
        At least 0; more is better.

    Raises
    ------
    InputError
        Fewer than 2 clusters, or one for each row; labels of another length, or no integers.

    References
    ----------
    Calinski and Harabasz, "A dendrite method for cluster analysis", Communications in Statistics
    3, 1974.

    Examples
    --------
    >>> from daskcluster import calinski_harabasz_score
    >>> calinski_harabasz_score([[0.0], [1.0], [9.0], [10.0]], [0, 0, 1, 1])
    162.0
    """
    return _score(X, labels, sample_weight, "calinski_harabasz")


def davies_bouldin_score(X: Any, labels: Any, sample_weight: Any = None) -> float:
    """Davies and Bouldin's measure of how alike clusters are, out of core; as scikit-learn's.

    With s_k the mean Euclidean distance of a cluster's rows from their mean m_k, the mean over all
    clusters k of ``max_j (s_k + s_j) / ||m_k - m_j||``.

    Parameters
    ----------
    X : array-like, sparse matrix, dask Array, zarr Array, Store, path or URL
        Rows, shape (n_samples, n_features).
    labels : array-like of shape (n_samples,), dask Array, or path of what `predict_labels` wrote
        Any integers.
    sample_weight : array-like of shape (n_samples,), dask Array or float, optional
        A row of weight w counts as w rows.

    Returns
    -------
    float
        At least 0; less is better.

    Raises
    ------
    InputError
        Fewer than 2 clusters, or one for each row; labels of another length, or no integers.

    References
    ----------
    Davies and Bouldin, "A cluster separation measure", IEEE Transactions on Pattern Analysis and
    Machine Intelligence 1, 1979.

    Examples
    --------
    >>> from daskcluster import davies_bouldin_score
    >>> round(davies_bouldin_score([[0.0], [1.0], [9.0], [10.0]], [0, 0, 1, 1]), 4)
    0.1111
    """
    return _score(X, labels, sample_weight, "davies_bouldin")


def _score(X: Any, labels: Any, sample_weight: Any, name: str) -> float:
    if is_array_like(X):
        return _score_of(array_dataset(_rows(X)), labels, sample_weight, name)
    with dataset(X) as data:
        return _score_of(data, labels, sample_weight, name)


def _rows(X: Any) -> npt.NDArray[Any] | SparseRows:
    if sparse.issparse(X) and min(X.shape):
        return SparseRows.of(X)
    rows = np.ascontiguousarray(X)
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"X has shape {rows.shape}: rows of features are needed")
    return rows


def _score_of(data: Dataset, labels: Any, sample_weight: Any, name: str) -> float:
    codes, n_clusters = _codes(labels, data)
    if not 2 <= n_clusters < data.n_rows:
        raise InputError(
            f"{n_clusters} clusters of {data.n_rows} rows: a score needs at least 2 clusters, and "
            "fewer than rows"
        )
    data = replace(data, reader=_Labelled(data.reader, codes)).weighted(sample_weight)
    with assessing(data, n_clusters) as session:
        scale = data.scale(session)
        job = gather_of(data, scale, Labelling(None, scale.frame), n_clusters)
        found = session.reduce(job, "clusters")
        score = alone(session, separation_scores(data, scale, job, found))[name]
    assert score is not None
    return score


def _codes(labels: Any, data: Dataset) -> tuple[npt.NDArray[np.int32], int]:
    """Labels as codes from 0 up, and how many there are."""
    if isinstance(labels, (str, os.PathLike)):
        labels = open_labels(labels)
    found = np.asarray(labels.compute() if is_dask_array(labels) else labels)
    if found.shape != (data.n_rows,) or found.dtype.kind not in "iub":
        raise InputError(
            f"labels are {found.dtype} of shape {found.shape}: {data.n_rows} integers are needed"
        )
    names, codes = np.unique(found, return_inverse=True)
    return codes.astype(np.int32), len(names)
