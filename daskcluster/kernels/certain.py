"""The rows of each cluster that are least and most certain to belong there, in exact order.

A row's *closeness* is its squared distance from its own centre over that from the nearest other
one: 0 at its centre, 1 on the border. The closer, the more certain; of soft clusters the
*doubt*, what all other clusters have of the row, comes first. With a single centre it is the
squared distance itself. Intervals from float64 products order nearly all rows, exact arithmetic
those whose intervals meet; ties go to the lowest row.
"""

import functools
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from daskcluster.kernels import exact, sparse_nearest
from daskcluster.kernels.batch import Batch, Indices
from daskcluster.kernels.farthest import first_of_each
from daskcluster.kernels.frame import Floats, Frame, Rows
from daskcluster.kernels.nearest import Labels, Nearest
from daskcluster.kernels.responsibilities import Responsibilities, Softness, run_rows, tiles
from daskcluster.kernels.sparse import is_sparse

# Beyond what float64 differences lose.
_NEAR = 1e-9


@dataclass(frozen=True)
class Sample:
    """A row as an example of its cluster."""

    index: int
    """Absolute row index."""
    label: int
    row: Any
    """Shape (n_features,), or `SparseRows` of one row; as it was clustered."""
    doubt: float
    """Responsibilities of all other clusters, added up; 0 of hard ones."""
    low: float
    high: float
    """Bounds on the closeness."""
    known: int = -1
    """True class as a code; -1 where unknown."""

    @property
    def dense(self) -> Floats:
        """The row, shape (n_features,)."""
        row = self.row[0] if is_sparse(self.row) else self.row
        return np.asarray(row, dtype=np.float64)


Extremes = dict[int, tuple[list[Sample], list[Sample]]]
"""Of each cluster the least certain rows, the least first, and the most certain ones."""


@dataclass(frozen=True)
class _Measures:
    """Of a block's rows, arrays of shape (n,)."""

    labels: Labels
    doubts: Floats
    lows: Floats
    highs: Floats


@dataclass(frozen=True)
class Certain:
    """Reduction: ``n_each`` least and as many most certain rows of some clusters."""

    centers: Floats
    frame: Frame
    n_each: int
    clusters: tuple[int, ...]
    softness: Softness | None = None
    state_kind = None

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the rows of one partial, were they dense."""
        return 2 * self.n_each * len(self.clusters) * int(self.centers.shape[1]) * 8

    @cached_property
    def nearest(self) -> Nearest:
        return Nearest(self.centers, self.frame)

    @cached_property
    def _shares(self) -> Responsibilities:
        assert self.softness is not None
        return Responsibilities(self.centers, self.softness, self.frame)

    @cached_property
    def _squares(self) -> list[Fraction]:
        return exact.squared_norms(self.nearest.centers)

    def step(self, batch: Batch, state: None) -> tuple[Extremes, None]:
        found = self._measures(batch)
        some = np.arange(len(batch.rows))
        if batch.weights is not None:  # rows of no weight are nowhere
            some = np.flatnonzero(batch.weights)
        order = some[np.argsort(found.labels[some], kind="stable")]
        ends = np.searchsorted(found.labels[order], np.arange(len(self.centers) + 1))
        members = ((j, order[ends[j] : ends[j + 1]]) for j in self.clusters)
        return {j: self._of_cluster(batch, found, at) for j, at in members if len(at)}, None

    def merge(self, a: Extremes, b: Extremes) -> Extremes:
        merged = a | b
        for j in a.keys() & b.keys():
            least, most = (
                self._first(x + y, s) for x, y, s in zip(a[j], b[j], (1, -1), strict=True)
            )
            merged[j] = least, most
        return merged

    def _of_cluster(
        self, batch: Batch, found: _Measures, at: Indices
    ) -> tuple[list[Sample], list[Sample]]:
        bounds = found.doubts[at], found.lows[at], found.highs[at]
        mirrored = -bounds[0], -bounds[2], -bounds[1]
        least, most = (
            [_sample(batch, found, i) for i in _candidates(batch.rows, at, some, self.n_each)]
            for some in (bounds, mirrored)
        )
        # Copies: a view of one row would keep its whole block in memory.
        return tuple(  # type: ignore[return-value]
            [replace(one, row=one.row.copy()) for one in self._first(some, sign)]
            for some, sign in ((least, 1), (most, -1))
        )

    def _first(self, samples: list[Sample], sign: int) -> list[Sample]:
        compare = functools.partial(self._compare, sign)
        return sorted(samples, key=functools.cmp_to_key(compare))[: self.n_each]

    def _compare(self, sign: int, a: Sample, b: Sample) -> int:
        """Below 0 where ``a`` comes first: by falling doubt and closeness, or rising ones."""
        if a.doubt != b.doubt:
            return sign if a.doubt < b.doubt else -sign
        if a.high < b.low or b.high < a.low:
            return sign if a.high < b.low else -sign
        x, y = self._closeness(a), self._closeness(b)
        if x != y:
            return sign if x < y else -sign
        return a.index - b.index

    @cached_property
    def _known(self) -> dict[tuple[int, bytes], Fraction]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def _closeness(self, sample: Sample) -> Fraction:
        """Exact; repeated rows tie, so each value once."""
        key = sample.label, sample.dense.tobytes()
        if key not in self._known:
            self._known[key] = self._exactly(sample)
        return self._known[key]

    def _exactly(self, sample: Sample) -> Fraction:
        centers = self.nearest.centers
        own = int(np.flatnonzero(self.nearest.kept == sample.label)[0])
        gaps = cdist(sample.dense[np.newaxis], centers)[0]
        distance = self._distance(sample.row, own)
        if len(centers) == 1:
            return distance
        gaps[own] = np.inf
        near = np.flatnonzero(gaps <= gaps.min() * (1 + _NEAR) + np.finfo(float).tiny)
        return distance / min(self._distance(sample.row, j) for j in near.tolist())

    def _distance(self, row: Any, j: int) -> Fraction:
        """Exact squared distance from a distinct centre; of sparse rows by what they store."""
        center = self.nearest.centers[j]
        if not is_sparse(row):
            return exact.squared_distance(row.astype(np.float64), center)
        if not len(row.data):
            return self._squares[j]
        center = center[row.indices]
        left = self._squares[j] - exact.squared_distance(center, np.zeros_like(center))
        return left + exact.squared_distance(row.data.astype(np.float64), center)

    def _measures(self, batch: Batch) -> _Measures:
        rows, n = batch.rows, len(batch.rows)
        labels, _ = self.nearest.labels(rows)
        found = _Measures(labels, self._doubts(batch, labels), np.empty(n), np.empty(n))
        places = np.searchsorted(self.nearest.kept, labels)
        for run in self.nearest.tiles(n, rows):
            found.lows[run], found.highs[run] = self._bounds(rows[run], places[run])
        return found

    @np.errstate(under="ignore", over="ignore", invalid="ignore")
    def _doubts(self, batch: Batch, labels: Labels) -> Floats:
        doubts, k = np.zeros(len(batch.rows)), len(self.centers)
        if self.softness is None:
            return doubts
        for run in tiles(batch.start, len(batch.rows), run_rows(batch.rows, k)):
            shares = self._shares.of_rows(batch.rows[run]).transpose(0, 2, 1).reshape(-1, k)
            # Added up without one's own: what is left of 1 would round to 0.
            shares[np.arange(len(shares)), labels[run]] = 0
            doubts[run] = shares.sum(axis=1, dtype=np.float64)
        return np.nan_to_num(doubts)

    @cached_property
    def _moved(self) -> tuple[Floats, Floats]:
        """The distinct centres in the frame, a column each, and their squared norms."""
        moved = self.frame.rows64(self.nearest.centers)
        return np.ascontiguousarray(moved.T), np.einsum("ij,ij->i", moved, moved)

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def _bounds(self, rows: Rows, places: npt.NDArray[Any]) -> tuple[Floats, Floats]:
        """Of the closeness; what overflows is between nothing and everything."""
        columns, own = self._moved
        if is_sparse(rows):
            moved = sparse_nearest.scaled(rows, self.frame)
            values, norms = moved.dot(columns), moved.squares()
        else:
            dense = self.frame.rows64(rows)
            values, norms = dense @ columns, np.einsum("ij,ij->i", dense, dense)
        values *= -2
        values += own
        values += norms[:, np.newaxis]
        # Higham's gamma of each of the three sums, and the rounding of rows and centres before.
        error = 8 * (len(columns) + 16) * 2.0**-53 * (norms + own.max()) + 2.0**-1000
        at = np.arange(len(values))
        near = values[at, places]
        if len(own) == 1:
            return _unless_lost(near - error, near + error)
        values[at, places] = np.inf
        other = values.min(axis=1)
        low = np.maximum(near - error, 0) / (other + error)
        high = np.where(other > error, (near + error) / (other - error), np.inf)
        return _unless_lost(low * (1 - 1e-15), high * (1 + 1e-15))


def _unless_lost(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    return np.nan_to_num(low, nan=-np.inf), np.nan_to_num(high, nan=np.inf, posinf=np.inf)


def _candidates(
    rows: Rows, at: Indices, bounds: tuple[Floats, Floats, Floats], n_each: int
) -> list[int]:
    """Of the rows ``at`` some places those that may be among the ``n_each`` of largest bounds."""
    doubts, lows, highs = bounds
    n_each = min(n_each, len(at))
    cut = np.partition(doubts, -n_each)[-n_each]
    beyond, level = np.flatnonzero(doubts > cut), np.flatnonzero(doubts == cut)
    left = n_each - len(beyond)
    least = np.partition(lows[level], -left)[-left]
    level = level[highs[level] >= least]
    return [*at[beyond].tolist(), *first_of_each(rows, np.sort(at[level]), left).tolist()]


def _sample(batch: Batch, found: _Measures, i: int) -> Sample:
    row = batch.rows[i : i + 1] if is_sparse(batch.rows) else batch.rows[i]
    known = -1 if batch.labels is None else int(batch.labels[i])
    bounds = float(found.doubts[i]), float(found.lows[i]), float(found.highs[i])
    return Sample(batch.start + i, int(found.labels[i]), row, *bounds, known)
