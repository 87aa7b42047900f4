"""How far clusters spread and how far they lie apart: sums from which scores without classes come.

Scores of squared Euclidean distances need no pairs of rows. With a cluster's mean m_k and its mean
squared distance from it V_k, the mean squared distance of a row x from the cluster's rows is
``||x - m_k||^2 + V_k`` (Bolla and others; the method of Spark's ClusteringEvaluator).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import compiled, compiling, exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats, Frame, Rows
from daskcluster.kernels.nearest import Labels, Nearest
from daskcluster.kernels.responsibilities import run_rows, tiles
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.kernels.sparse_nearest import scaled
from daskcluster.sizing import Grid, real_grid


@dataclass(frozen=True)
class Labelling:
    """The cluster of every row: its nearest centre, or the label that comes with it."""

    centers: Floats | None
    frame: Frame
    loops: bool = False
    """Whether the data is large enough for compiled loops, where a worker has them."""

    @cached_property
    def _nearest(self) -> Nearest:
        assert self.centers is not None
        return Nearest(self.centers, self.frame)

    def of(self, batch: Batch) -> Labels:
        if self.centers is None:
            assert batch.labels is not None
            return batch.labels
        few = len(self.centers) <= compiled.FEW and not self._nearest.repeats
        if few and self.by_loops and compiled.is_plain(batch.rows, self.frame):
            return compiled.find(self._nearest, batch.rows, None, None).labels
        return self._nearest.labels(batch.rows)[0]

    @property
    def by_loops(self) -> bool:
        """Whether compiled loops are there, and worth it."""
        return self.loops and compiling.has_numba()


def own_squares(rows: Rows, labels: Labels, points: Floats, frame: Frame) -> Floats:
    """Squared distances in the frame of rows from the point of their label, by differences."""
    if is_sparse(rows):
        return _own_squares_sparse(scaled(rows, frame), labels, points)
    moved = frame.rows64(rows)
    moved -= points[labels]
    squares: Floats = np.einsum("ij,ij->i", moved, moved)
    return squares


def _own_squares_sparse(moved: SparseRows, labels: Labels, points: Floats) -> Floats:
    """By products; where nearly all of them cancels, by differences."""
    own = np.einsum("ij,ij->i", points, points)[labels]
    products = moved.data * points[labels[moved.row_of], moved.indices]
    both = moved.squares() + own
    squares: Floats = both - 2 * np.bincount(moved.row_of, weights=products, minlength=len(moved))
    for i in np.flatnonzero(squares < 1e-4 * both).tolist():
        difference = moved[i] - points[labels[i]]
        squares[i] = difference @ difference
    return squares


def distance_grid(n_rows: int, n_features: int, reach: int) -> Grid:
    """For sums of squared distances of rows of which all elements are below ``2**reach``."""
    return real_grid(n_rows, 2 * (reach + 1) + n_features.bit_length())


def sums_by_label(
    values: Floats,
    labels: Labels,
    n_clusters: int,
    grid: Grid,
    weights: exact.Ints | None = None,
) -> exact.Ints:
    """Exact sums of numbers, each rounded once to a grid, by cluster: limbs (2, n_clusters)."""
    limbs = exact.to_grid(values, grid)
    limbs = limbs if weights is None else exact.times(limbs, weights)
    sums = np.zeros((len(limbs), n_clusters), dtype=np.int64)
    for limb, into in zip(limbs, sums, strict=True):
        np.add.at(into, labels, limb)
    return exact.carry(sums)


def spread_sums(
    batch: Batch, labels: Labels, points: Floats, frame: Frame, grid: Grid
) -> exact.Ints:
    """Each cluster's sum of squared distances from a point near it, limbs (2, n_clusters)."""
    k = len(points)
    total = np.zeros((2, k), dtype=np.int64)
    for run in tiles(batch.start, len(batch.rows), run_rows(batch.rows, k)):
        squares = own_squares(batch.rows[run], labels[run], points, frame)
        total += sums_by_label(squares, labels[run], k, grid, _of_run(batch, run))
    return exact.carry(total)


def _of_run(batch: Batch, run: slice) -> exact.Ints | None:
    return None if batch.weights is None else batch.weights[run]


@dataclass(frozen=True)
class Clusters:
    """What the first pass found of the clusters that have rows, in the frame."""

    codes: npt.NDArray[np.int32]
    """Their places among these clusters by label, shape (n_labels,); -1 for those without rows."""
    counts: exact.Ints
    """What the rows of each weigh, shape (n_clusters,)."""
    means: Floats
    """Shape (n_clusters, n_features)."""
    spreads: Floats
    """Mean squared distances of the rows from the mean, shape (n_clusters,)."""


@dataclass(frozen=True)
class SeparationPartial:
    """Sums over rows; their zero is all zeros."""

    silhouettes: exact.Ints
    """Limbs of shape (2, 1)."""
    distances: exact.Ints
    """From the mean of the row's cluster, limbs of shape (2, n_clusters)."""


@dataclass(frozen=True)
class Separation:
    """Reduction: silhouette coefficients for squared Euclidean distance, and distances from means.

    Rousseeuw, "Silhouettes", J. Comput. Appl. Math. 20, 1987; of a cluster of one row it is 0.
    """

    labelling: Labelling
    clusters: Clusters
    n_rows: int
    """What all rows weigh."""
    reach: int
    copies: bool = True
    """Whether a row of weight w is w rows, of which the others are neighbours of each."""
    state_kind = None

    @property
    def silhouette_grid(self) -> Grid:
        return real_grid(self.n_rows, 1)

    @property
    def distances_grid(self) -> Grid:
        d = self.clusters.means.shape[1]
        return real_grid(self.n_rows, self.reach + 2 + d.bit_length() // 2)

    def step(self, batch: Batch, state: None) -> tuple[SeparationPartial, None]:
        k = len(self.clusters.means)
        labels = self.clusters.codes[self.labelling.of(batch)]
        if batch.weights is not None:
            labels = np.maximum(labels, 0)  # only rows of no weight are in clusters of none
        silhouettes = np.zeros((2, 1), dtype=np.int64)
        distances = np.zeros((2, k), dtype=np.int64)
        for run in tiles(batch.start, len(batch.rows), run_rows(batch.rows, k)):
            rows, own = batch.rows[run], labels[run]
            squares = own_squares(rows, own, self.clusters.means, self.labelling.frame)
            weights = _of_run(batch, run)
            found = self._silhouettes(rows, own, squares, weights)[:, np.newaxis]
            silhouettes += exact.column_sums(found, self.silhouette_grid, weights)
            distances += sums_by_label(np.sqrt(squares), own, k, self.distances_grid, weights)
        return SeparationPartial(exact.carry(silhouettes), exact.carry(distances)), None

    def _silhouettes(
        self, rows: Rows, own: Labels, squares: Floats, weights: exact.Ints | None
    ) -> Floats:
        clusters, at = self.clusters, np.arange(len(rows))
        others = self._from_clusters(rows)
        others[own, at] = np.inf
        between = others.min(axis=0)
        n = clusters.counts[own]
        itself = 1 if self.copies or weights is None else weights
        within = (squares + clusters.spreads[own]) * n / np.maximum(n - itself, 1)
        larger = np.maximum(within, between)
        # As in scikit-learn: where all distances are 0, and for a cluster of one row.
        known = (n > itself) & (larger > 0)
        return np.where(known, (between - within) / np.where(larger > 0, larger, 1), 0.0)

    def _from_clusters(self, rows: Rows) -> Floats:
        """Mean squared distances of rows from every cluster's rows, shape (n_clusters, n)."""
        frame, means = self.labelling.frame, self.clusters.means
        if is_sparse(rows):
            return self._from_clusters_sparse(scaled(rows, frame))
        moved = frame.rows64(rows)
        middle = frame.middle_of(means.shape[1])
        moved -= middle
        weights = means - middle
        squares = -2 * (weights @ moved.T)
        squares += np.einsum("ij,ij->i", moved, moved)
        squares += np.einsum("ij,ij->i", weights, weights)[:, np.newaxis]
        np.maximum(squares, 0, out=squares)
        squares += self.clusters.spreads[:, np.newaxis]
        return squares

    def _from_clusters_sparse(self, moved: SparseRows) -> Floats:
        means = self.clusters.means
        squares = -2 * np.ascontiguousarray(moved.dot(np.ascontiguousarray(means.T)).T)
        squares += moved.squares()
        squares += np.einsum("ij,ij->i", means, means)[:, np.newaxis]
        np.maximum(squares, 0, out=squares)
        squares += self.clusters.spreads[:, np.newaxis]
        return squares

    def merge(self, a: SeparationPartial, b: SeparationPartial) -> SeparationPartial:
        return SeparationPartial(
            exact.carry(a.silhouettes + b.silhouettes), exact.carry(a.distances + b.distances)
        )


def clusters_of(
    counts: exact.Ints, means: Floats, spread: exact.Ints, points: Floats, grid: Grid
) -> Clusters:
    """Clusters with rows, from sums of squared distances from ``points``; all in the frame."""
    held = np.flatnonzero(counts > 0)
    codes = np.full(len(counts), -1, dtype=np.int32)
    codes[held] = np.arange(len(held))
    own, n = means[held], counts[held]
    moved = own - points[held]
    # Steiner: the mean squared distance from the mean is least, by its distance from the point.
    spreads = exact.rounded(spread, grid)[held] / n - np.einsum("ij,ij->i", moved, moved)
    return Clusters(codes, n, own, np.maximum(spreads, 0))
