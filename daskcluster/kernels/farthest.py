"""The rows farthest from their centres, by exact distance, ties to the lowest row."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats, Frame
from daskcluster.kernels.nearest import Labels, Nearest


@dataclass(frozen=True)
class FarRow:
    """A row far from its centre."""

    distance: Fraction
    """Squared distance, exact."""
    index: int
    """Absolute row index."""
    label: int
    row: npt.NDArray[Any]


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
        labels, _ = self.nearest.labels(batch.rows)
        pick = _candidates(_distances(batch.rows, labels, self.centers), self.n_far)
        pick = _first_of_each(batch.rows, pick, self.n_far)
        far = sorted(_exactly(batch, labels, self.centers, pick), key=_order)[: self.n_far]
        # Copies: a view of one row would keep its whole block in memory.
        return [replace(one, row=one.row.copy()) for one in far], None

    def merge(self, a: list[FarRow], b: list[FarRow]) -> list[FarRow]:
        return sorted(a + b, key=_order)[: self.n_far]


def _distances(rows: npt.NDArray[Any], labels: Labels, centers: Floats) -> Floats:
    distances = np.empty(len(rows))
    size = max((1 << 18) // rows.shape[1], 1)
    for start in range(0, len(rows), size):
        run = slice(start, start + size)
        difference = rows[run].astype(np.float64) - centers[labels[run]]
        distances[run] = np.einsum("ij,ij->i", difference, difference)
        # Squares that underflow could hide a distance; what may be lost is added.
        distances[run] += np.where(difference.any(axis=1), rows.shape[1] * 2.0**-1022, 0.0)
    return distances


def _candidates(distances: Floats, n_far: int) -> npt.NDArray[np.intp]:
    """Rows that may be among the ``n_far`` farthest and are not at their centre.

    Differences err by parts in 1e12 at most.
    """
    cut = np.partition(distances, -n_far)[-n_far] if len(distances) > n_far else 0.0
    return np.flatnonzero((distances >= cut * (1 - 1e-9)) & (distances > 0))


def _first_of_each(
    rows: npt.NDArray[Any], pick: npt.NDArray[np.intp], n_far: int
) -> npt.NDArray[np.intp]:
    """The first ``n_far`` of each value among the candidates: few values tie by millions."""
    if len(pick) <= 8 * n_far:
        return pick
    values = np.ascontiguousarray(rows[pick])
    keys = values.view(np.dtype((np.void, values.itemsize * values.shape[1]))).ravel()
    inverse = np.unique(keys, return_inverse=True)[1]
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], inverse[order], side="left")
    return np.sort(pick[order[np.arange(len(order)) - starts < n_far]])


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
