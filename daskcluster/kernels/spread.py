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
from daskcluster.kernels.nearest import Found, Labels, Nearest
from daskcluster.kernels.responsibilities import run_rows, tiles
from daskcluster.kernels.scratch import scratch
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.kernels.sparse_nearest import scaled
from daskcluster.sizing import Grid, real_grid

# Of a row's squared norm: products of what is nearer lose more than four digits.
_CLOSE = 1e-4


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

    def looks(self) -> Nearest | None:
        """The centres to compare all rows with in compiled loops, where there are any."""
        return self._nearest if self.centers is not None and self.by_loops else None

    def of(self, batch: Batch, found: Found | None = None) -> Labels:
        """Labels of a block's rows; ``found`` is what is known already of what `looks` asked."""
        if found is not None:
            return found.labels
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

    Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis", Journal of Computational and Applied Mathematics 20, 1987; of a cluster of one row
    it is 0.
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

    def looks(self, state: None) -> Nearest | None:
        """As `Labelling.looks`."""
        return self.labelling.looks()

    def step(
        self, batch: Batch, state: None, found: Found | None = None
    ) -> tuple[SeparationPartial, None]:
        k = len(self.clusters.means)
        labels = self.clusters.codes[self.labelling.of(batch, found)]
        if batch.weights is not None:
            labels = np.maximum(labels, 0)  # only rows of no weight are in clusters of none
        silhouettes = np.zeros((2, 1), dtype=np.int64)
        distances = np.zeros((2, k), dtype=np.int64)
        for run in tiles(batch.start, len(batch.rows), run_rows(batch.rows, k)):
            own, weights = labels[run], _of_run(batch, run)
            between, squares = self._distances(batch.rows[run], own)
            each = self._silhouettes(own, squares, between, weights)[:, np.newaxis]
            silhouettes += exact.column_sums(each, self.silhouette_grid, weights)
            distances += sums_by_label(np.sqrt(squares), own, k, self.distances_grid, weights)
        return SeparationPartial(exact.carry(silhouettes), exact.carry(distances)), None

    def _silhouettes(
        self, own: Labels, squares: Floats, between: Floats, weights: exact.Ints | None
    ) -> Floats:
        clusters = self.clusters
        n = clusters.counts[own]
        itself = 1 if self.copies or weights is None else weights
        within = (squares + clusters.spreads[own]) * n / np.maximum(n - itself, 1)
        larger = np.maximum(within, between)
        # As in scikit-learn: where all distances are 0, and for a cluster of one row.
        known = (n > itself) & (larger > 0)
        return np.where(known, (between - within) / np.where(larger > 0, larger, 1), 0.0)

    def _distances(self, rows: Rows, own: Labels) -> tuple[Floats, Floats]:
        """Least mean squared distance from another cluster's rows, and square from the own mean."""
        at, means = np.arange(len(rows)), self.clusters.means
        squares, sizes = self._from_means(rows)
        mine = squares[own, at]
        # Where nearly all of a sum cancels, half of the digits would be lost.
        close = np.flatnonzero(mine < _CLOSE * sizes)
        mine[close] = own_squares(rows[close], own[close], means, self.labelling.frame)
        squares += self.clusters.spreads[:, np.newaxis]
        squares[own, at] = np.inf
        return squares.min(axis=0), mine

    def _from_means(self, rows: Rows) -> tuple[Floats, Floats]:
        """Squared distances from every mean, shape (n_clusters, n), and rows' squared norms."""
        frame, means = self.labelling.frame, self.clusters.means
        if is_sparse(rows):
            moved = scaled(rows, frame)
            squares, norms = -2 * np.ascontiguousarray(moved.dot(self._columns).T), moved.squares()
            weights = means
        else:
            middle = frame.middle_of(means.shape[1])
            tile = frame.rows64(rows, scratch("rows64", rows.shape, np.float64))
            tile -= middle
            weights, norms = means - middle, np.einsum("ij,ij->i", tile, tile)
            squares = -2 * (weights @ tile.T)
        squares += norms
        squares += np.einsum("ij,ij->i", weights, weights)[:, np.newaxis]
        return np.maximum(squares, 0, out=squares), norms

    @cached_property
    def _columns(self) -> Floats:
        return np.ascontiguousarray(self.clusters.means.T)

    def merge(self, a: SeparationPartial, b: SeparationPartial) -> SeparationPartial:
        return SeparationPartial(
            exact.carry(a.silhouettes + b.silhouettes), exact.carry(a.distances + b.distances)
        )


def has_whole_squares(dtype: str, n_features: int) -> bool:
    """Whether float64 holds the squared norms of such rows, and sums on the way to them."""
    kind = np.dtype(dtype)
    return kind.kind in "iu" and kind.itemsize <= 2 and n_features < 2**20


def whole_spreads(
    squares: exact.Ints, sums: exact.Ints, counts: exact.Ints, means: Floats, grid: Grid
) -> Floats:
    """Mean squared distances from the mean, of clusters with rows, in exact arithmetic.

    From limbs of sums of squared norms (2, n_clusters), in ones, and of rows on ``grid``.
    """
    spreads = np.empty(len(counts))
    for j, total in enumerate(exact.to_ints(squares)):
        one = slice(j, j + 1)
        around = total + exact.own_terms(sums[:, one], counts[one], means[one], grid)
        spreads[j] = max(float(around / int(counts[j])), 0.0)
    return spreads


def steiner(
    spread: exact.Ints, counts: exact.Ints, means: Floats, points: Floats, grid: Grid
) -> Floats:
    """The same from sums of squared distances from ``points``; all in the frame.

    The mean squared distance from the mean is least, by the mean's distance from the point.
    """
    moved = means - points
    spreads = exact.rounded(spread, grid) / counts - np.einsum("ij,ij->i", moved, moved)
    least: Floats = np.maximum(spreads, 0)
    return least


def clusters_of(counts: exact.Ints, means: Floats, spreads: Floats) -> Clusters:
    """Clusters with rows, from the counts of all, and means and spreads of those."""
    held = np.flatnonzero(counts > 0)
    codes = np.full(len(counts), -1, dtype=np.int32)
    codes[held] = np.arange(len(held))
    return Clusters(codes, counts[held], means, spreads)
