"""Hard k-means of sparse rows of very many features: centres and sums are sparse too."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from daskcluster.kernels import exact, sparse_compiled
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Frame, Singles
from daskcluster.kernels.nearest import Labels
from daskcluster.kernels.sparse import SparseRows
from daskcluster.kernels.sparse_centers import NearestSparse
from daskcluster.kernels.sparse_clusters import SparseSums
from daskcluster.kernels.sparse_compiled import Room
from daskcluster.kernels.sparse_drift import SparseDrift
from daskcluster.sizing import Grid

_RUN = 1 << 13  # rows whose elements are added at once: two entries each
_FEATURES = 16  # that are cleared in the time in which an element is added


@dataclass(frozen=True)
class SparsePartial:
    """`hard.HardPartial` of sparse sums."""

    sums: SparseSums
    counts: exact.Ints
    changed: int

    def plus(self, other: "SparsePartial") -> "SparsePartial":
        """Add two partials; exact, associative and commutative."""
        return SparsePartial(
            self.sums.plus(other.sums),
            self.counts + other.counts,
            self.changed + other.changed,
        )


@dataclass
class LabelState:
    """The labels of a block for an iteration's centres, its norms and gaps: 12 bytes a row."""

    iteration: int
    labels: Labels
    norms: Singles
    gaps: Singles
    """As in `nearest.Found`."""
    room: Room
    """Of all blocks of a process, where nothing was lost."""

    @property
    def nbytes(self) -> int:
        return self.labels.nbytes + self.norms.nbytes + self.gaps.nbytes


@dataclass(frozen=True)
class AssignSparse:
    """`hard.Assign` for sparse centres."""

    centers: SparseRows
    previous: SparseRows | None
    iteration: int
    frame: Frame
    grid: Grid
    bounded: bool = False
    """Whether rows that provably keep their label are left alone."""
    state_kind: str | None = "labels"

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the sums of one partial, about."""
        return self.centers.data.nbytes * (1 + self.grid.n_limbs)

    @cached_property
    def nearest(self) -> NearestSparse:
        return NearestSparse(self.centers, self.frame)

    @cached_property
    def nearest_before(self) -> NearestSparse:
        assert self.previous is not None
        return NearestSparse(self.previous, self.frame)

    @cached_property
    def _drift(self) -> SparseDrift:
        assert self.previous is not None
        return SparseDrift.of(self.centers, self.previous, self.frame)

    def step(self, batch: Batch, state: LabelState | None) -> tuple[SparsePartial, LabelState]:
        if state is not None:
            self.nearest.join(state.room)
        if self.previous is None:
            after = self.anew(batch, state)
            return self._moved(batch, None, after.labels), after
        if state is None or state.iteration != self.iteration - 1:
            after = self.anew(batch, state)
            before = self.nearest_before.labels(batch.rows, after.norms)[0]
            return self._moved(batch, before, after.labels), after
        after = self._from(state, batch.rows) if self.bounded else self.anew(batch, state)
        return self._moved(batch, state.labels, after.labels), after

    def anew(self, batch: Batch, state: LabelState | None) -> LabelState:
        """All rows compared with all centres."""
        found = self.nearest.find(batch.rows, None if state is None else state.norms)
        room = self.nearest.room
        return LabelState(self.iteration, found.labels, found.norms, found.gaps, room)

    def _from(self, state: LabelState, rows: SparseRows) -> LabelState:
        """From the iteration before: only the rows that may change are compared."""
        labels, norms = state.labels.copy(), state.norms
        gaps = self._drift.narrowed(labels, norms, state.gaps)
        left = np.flatnonzero(~(gaps > 0))
        labels[left], gaps[left] = self.nearest.find_at(rows, left, norms[left])
        return LabelState(self.iteration, labels, norms, gaps, self.nearest.room)

    def _moved(self, batch: Batch, before: Labels | None, after: Labels) -> SparsePartial:
        k = len(self.centers)
        picked = np.arange(len(after)) if before is None else np.flatnonzero(before != after)
        own = None if batch.weights is None else batch.weights[picked]
        came, left = after[picked], None if before is None else before[picked]
        counts = exact.label_counts(came, k, own)
        if left is not None:
            counts -= exact.label_counts(left, k, own)
        return SparsePartial(self._carried(batch, left, came, picked), counts, len(picked))

    def _carried(self, batch: Batch, left: Labels | None, came: Labels, picked: Any) -> SparseSums:
        """Sums that the rows ``picked`` take along."""
        n_elements = int(batch.rows.lengths[picked].sum())
        # A column's sum is cleared for each of the features.
        pays = sparse_compiled.pays(n_elements) and _FEATURES * n_elements > self.centers.shape[1]
        if pays and batch.weights is None and sparse_compiled.can_move(self.grid):
            k = len(self.centers)
            moved = sparse_compiled.moved(batch.rows, picked, left, came, k, self.grid)
            return SparseSums(*self.centers.shape, *moved)
        sums = self._none
        for i in range(0, len(picked), _RUN):
            run = slice(i, i + _RUN)
            some = None if left is None else left[run]
            sums = sums.plus(self._carried_at_once(batch, some, came[run], picked[run]))
        return sums

    @property
    def _none(self) -> SparseSums:
        empty = np.empty(0, dtype=np.int64)
        limbs = np.empty((self.grid.n_limbs, 0), dtype=np.int64)
        return SparseSums(*self.centers.shape, empty, limbs)

    def _carried_at_once(
        self, batch: Batch, before: Labels | None, after: Labels, run: Any
    ) -> SparseSums:
        rows = batch.rows[run]
        limbs = exact.to_grid(rows.data.astype(np.float64), self.grid)
        if batch.weights is not None:
            limbs = exact.times(limbs, batch.weights[run][rows.row_of])
        places = _places(rows, after)
        if before is not None:
            places = np.concatenate([places, _places(rows, before)])
            limbs = np.concatenate([limbs, -limbs], axis=1)
        return SparseSums.gathered(*self.centers.shape, places, limbs)

    def merge(self, a: SparsePartial, b: SparsePartial) -> SparsePartial:
        return a.plus(b)


@dataclass(frozen=True)
class KeptLabels:
    """Reduction: the rows' labels, as their states hold them."""

    assign: AssignSparse
    """Of the states' iteration and its centres: what is lost is computed anew."""
    state_kind: str | None = "labels"

    def step(
        self, batch: Batch, state: LabelState | None
    ) -> tuple[list[tuple[int, Labels]], LabelState]:
        if state is None or state.iteration != self.assign.iteration:
            state = self.assign.anew(batch, None)
        return [(batch.start, state.labels)], state

    def merge(
        self, a: list[tuple[int, Labels]], b: list[tuple[int, Labels]]
    ) -> list[tuple[int, Labels]]:
        return a + b


def _places(rows: SparseRows, labels: Labels) -> Any:
    return labels[rows.row_of] * np.int64(rows.n_features) + rows.indices
