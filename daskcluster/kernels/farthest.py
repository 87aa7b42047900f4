"""The rows farthest from their centres, by exact distance, ties to the lowest row."""

import heapq
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats, Frame, Rows
from daskcluster.kernels.nearest import Labels, Nearest
from daskcluster.kernels.sparse import SparseRows, is_sparse


@dataclass(frozen=True)
class FarRow:
    """A row far from its centre."""

    distance: Fraction
    """Squared distance, exact."""
    index: int
    """Absolute row index."""
    label: int
    row: npt.NDArray[Any]
    weight: int = 1


def _order(far: FarRow) -> tuple[Fraction, int]:
    return -far.distance, far.index


@dataclass(frozen=True)
class Farthest:
    """Reduction: the ``n_far`` rows farthest from their centres; none that is at its centre."""

    centers: Floats
    frame: Frame
    n_far: int
    state_kind = None

    @cached_property
    def nearest(self) -> Nearest:
        return Nearest(self.centers, self.frame)

    def step(self, batch: Batch, state: None) -> tuple[list[FarRow], None]:
        if batch.weights is not None and not batch.weights.all():
            return self._of_weighty(batch), None
        labels, _ = self.nearest.labels(batch.rows)
        pick = _candidates(*_distances(batch.rows, labels, self.centers), self.n_far)
        pick = first_of_each(batch.rows, pick, self.n_far)
        if is_sparse(batch.rows):
            far = _farthest_sparse(batch, labels, self.centers, pick, self.n_far)
        else:
            far = sorted(_exactly(batch, labels, self.centers, pick), key=_order)[: self.n_far]
        # Copies: a view of one row would keep its whole block in memory.
        return [
            replace(one, row=one.row.copy(), weight=_weight(batch, one.index)) for one in far
        ], None

    def _of_weighty(self, batch: Batch) -> list[FarRow]:
        """Rows of no weight are nowhere."""
        assert batch.weights is not None
        some = np.flatnonzero(batch.weights)
        if not len(some):
            return []
        far, _ = self.step(Batch(0, batch.rows[some], weights=batch.weights[some]), None)
        return [replace(one, index=batch.start + int(some[one.index])) for one in far]

    def merge(self, a: list[FarRow], b: list[FarRow]) -> list[FarRow]:
        return sorted(a + b, key=_order)[: self.n_far]


def _weight(batch: Batch, index: int) -> int:
    return 1 if batch.weights is None else int(batch.weights[index - batch.start])


def _distances(rows: Rows, labels: Labels, centers: Floats) -> tuple[Floats, float]:
    """Squared distances, and by how much they may be too large, beside parts in 1e12."""
    if is_sparse(rows):
        return _sparse_distances(rows, labels, centers)
    distances = np.empty(len(rows))
    size = max((1 << 18) // rows.shape[1], 1)
    for start in range(0, len(rows), size):
        run = slice(start, start + size)
        difference = rows[run].astype(np.float64) - centers[labels[run]]
        distances[run] = np.einsum("ij,ij->i", difference, difference)
        # Squares that underflow could hide a distance; what may be lost is added.
        distances[run] += np.where(difference.any(axis=1), rows.shape[1] * 2.0**-1022, 0.0)
    return distances, 0.0


def _sparse_distances(rows: SparseRows, labels: Labels, centers: Floats) -> tuple[Floats, float]:
    """By products, with as much added as they may have lost."""
    data, squares = rows.data.astype(np.float64, copy=False), rows.squares()
    own = np.einsum("ij,ij->i", centers, centers)[labels]
    products = data * centers[labels[rows.row_of], rows.indices]
    dots = np.bincount(rows.row_of, weights=products, minlength=len(rows))
    lost = 1e-10 * (squares + own) + 2.0**-1000  # also where squares vanish
    return np.maximum(squares + own - 2 * dots, 0) + lost, 2 * float(lost.max(initial=0))


def _candidates(distances: Floats, slack: float, n_far: int) -> npt.NDArray[np.intp]:
    """Rows that may be among the ``n_far`` farthest and are not at their centre."""
    cut = np.partition(distances, -n_far)[-n_far] if len(distances) > n_far else 0.0
    return np.flatnonzero((distances >= cut * (1 - 1e-9) - slack) & (distances > 0))


def first_of_each(rows: Rows, pick: npt.NDArray[np.intp], n_far: int) -> npt.NDArray[np.intp]:
    """The first ``n_far`` of each value among the candidates: few values tie by millions."""
    if len(pick) <= 8 * n_far:
        return pick
    if is_sparse(rows):
        return _first_of_each_sparse(rows, pick, n_far)
    values = np.ascontiguousarray(rows[pick])
    keys = values.view(np.dtype((np.void, values.itemsize * values.shape[1]))).ravel()
    inverse = np.unique(keys, return_inverse=True)[1]
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], inverse[order], side="left")
    return np.sort(pick[order[np.arange(len(order)) - starts < n_far]])


def _first_of_each_sparse(
    rows: SparseRows, pick: npt.NDArray[np.intp], n_far: int
) -> npt.NDArray[np.intp]:
    seen: dict[bytes, int] = {}
    kept = []
    for i in pick.tolist():
        run = slice(rows.indptr[i], rows.indptr[i + 1])
        key = rows.indices[run].tobytes() + rows.data[run].tobytes()
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= n_far:
            kept.append(i)
    return np.array(kept, dtype=np.intp)


def _farthest_sparse(
    batch: Batch, labels: Labels, centers: Floats, pick: npt.NDArray[np.intp], n_far: int
) -> list[FarRow]:
    """The same from elements that are stored: rows far from all others are orthogonal to their
    centres, and tie by the thousand to the last bits."""
    rows: SparseRows = batch.rows
    data = rows.data.astype(np.float64, copy=False)
    zero = np.zeros(1)
    squares: dict[int, Fraction] = {}
    found = []
    for i in pick.tolist():
        label, run = int(labels[i]), slice(rows.indptr[i], rows.indptr[i + 1])
        if label not in squares:
            squares[label] = exact.squared_distance(centers[label], np.zeros_like(centers[label]))
        row, center = data[run], centers[label, rows.indices[run]]
        distance = squares[label]
        if len(row):
            distance += exact.squared_distance(row, center)
            distance -= exact.squared_distance(center, np.broadcast_to(zero, center.shape))
        found.append((-distance, batch.start + i, label))
    best = heapq.nsmallest(n_far, found)
    return [FarRow(-d, index, label, rows[index - batch.start]) for d, index, label in best]


def _exactly(
    batch: Batch, labels: Labels, centers: Floats, pick: npt.NDArray[np.intp]
) -> list[FarRow]:
    seen: dict[tuple[bytes, int], Fraction] = {}
    far = []
    for i in pick.tolist():
        row, label = batch.rows[i].astype(np.float64), int(labels[i])
        key = row.tobytes(), label
        if key not in seen:
            seen[key] = exact.squared_distance(row, centers[label])
        far.append(FarRow(seen[key], batch.start + i, label, batch.rows[i]))
    return far
