"""Hard k-means: one reduction from rows and centres to exact cluster sums and counts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.nearest import Floats, Frame, Labels, Nearest, Rows, Singles
from daskcluster.plan import Grid

_RUN = 4096  # rows summed at once; far below the 2**14 that exact.cluster_sums allows


@dataclass
class HardState:
    """What a worker remembers of a block: 8 bytes a row. Rebuilt from the centres when lost."""

    iteration: int
    """The iteration whose centres the labels belong to."""
    labels: Labels
    norms: Singles
    """Upper bounds on the rows' norms in the frame."""

    @property
    def nbytes(self) -> int:
        return self.labels.nbytes + self.norms.nbytes


@dataclass(frozen=True)
class HardPartial:
    """The change of sums and counts since the iteration before; its zero is all zeros."""

    sums: exact.Ints
    """Limbs of shape (n_limbs, n_clusters, n_features)."""
    counts: exact.Ints
    """Shape (n_clusters,)."""
    changed: int
    """Rows whose label changed."""


def merge_hard(a: HardPartial, b: HardPartial) -> HardPartial:
    """Add two partials; exact, associative and commutative."""
    if not b.changed:  # most blocks, late in a fit
        return a
    return HardPartial(exact.carry(a.sums + b.sums), a.counts + b.counts, a.changed + b.changed)


@dataclass(frozen=True)
class Assign:
    """Reduction: label all rows, return what moved between the clusters.

    The partial is always the change from the labels of ``previous`` to those of ``centers``, also
    where a block's state was lost: then both are computed. Without ``previous`` it is all rows.
    """

    centers: Floats
    previous: Floats | None
    iteration: int
    frame: Frame
    grid: Grid
    state_kind: str | None = "hard"

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the sums of one partial."""
        return self.grid.n_limbs * self.centers.nbytes

    @cached_property
    def nearest(self) -> Nearest:
        return Nearest(self.centers, self.frame)

    @cached_property
    def nearest_before(self) -> Nearest:
        assert self.previous is not None
        return Nearest(self.previous, self.frame)

    def step(self, batch: Batch, state: HardState | None) -> tuple[HardPartial, HardState]:
        norms = state.norms if state else None
        labels, norms = self.nearest.labels(batch.rows, norms)
        before = self._labels_before(batch.rows, state, norms)
        partial = moved(batch.rows, before, labels, len(self.centers), self.grid)
        return partial, HardState(self.iteration, labels, norms)

    def _labels_before(self, rows: Rows, state: HardState | None, norms: Singles) -> Labels | None:
        if self.previous is None:
            return None
        if state is not None and state.iteration == self.iteration - 1:
            return state.labels
        return self.nearest_before.labels(rows, norms)[0]

    def merge(self, a: HardPartial, b: HardPartial) -> HardPartial:
        return merge_hard(a, b)


def moved(
    rows: Rows, before: Labels | None, after: Labels, n_clusters: int, grid: Grid
) -> HardPartial:
    """Sums and counts that rows carry from the clusters ``before`` to the clusters ``after``."""
    sums = np.zeros((grid.n_limbs, n_clusters, rows.shape[1]), dtype=np.int64)
    if before is None:
        picked, count = None, len(rows)
        counts = np.bincount(after, minlength=n_clusters)
    else:
        picked = np.flatnonzero(before != after)
        count = len(picked)
        if not count:
            return HardPartial(sums, np.zeros(n_clusters, dtype=np.int64), 0)
        counts = np.bincount(after[picked], minlength=n_clusters)
        counts -= np.bincount(before[picked], minlength=n_clusters)
    for start in range(0, count, _RUN):
        run = slice(start, start + _RUN) if picked is None else picked[start : start + _RUN]
        sums += _run_sums(
            rows[run], None if before is None else before[run], after[run], n_clusters, grid
        )
        exact.carry(sums)
    return HardPartial(sums, counts.astype(np.int64), count)


def _run_sums(
    rows: Rows, before: Labels | None, after: Labels, n_clusters: int, grid: Grid
) -> exact.Ints:
    ones = np.ones(len(rows), dtype=np.int64)
    if before is None:
        return exact.cluster_sums(rows, after, ones, n_clusters, grid)
    labels, signs = np.stack([after, before], axis=1), np.stack([ones, -ones], axis=1)
    return exact.cluster_sums(rows, labels, signs, n_clusters, grid)
