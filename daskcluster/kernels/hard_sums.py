"""What rows carry from cluster to cluster: exact sums and counts, the partials of hard k-means."""

from dataclasses import dataclass

import numpy as np

from daskcluster.kernels import exact
from daskcluster.kernels.batch import Indices
from daskcluster.kernels.frame import Rows
from daskcluster.kernels.nearest import Labels
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.kernels.sparse_sums import add_by_cluster
from daskcluster.sizing import Grid

_RUN = 4096  # rows summed at once; far below the 2**14 that exact.cluster_sums allows


@dataclass(frozen=True)
class HardPartial:
    """The change of sums and counts since the iteration before; its zero is all zeros."""

    sums: exact.Ints
    """Limbs of shape (n_limbs, n_clusters, n_features)."""
    counts: exact.Ints
    """Shape (n_clusters,)."""
    changed: int
    """Rows whose label changed."""

    def plus(self, other: "HardPartial") -> "HardPartial":
        """The sum of two."""
        return merge_hard(self, other)


def merge_hard(a: HardPartial, b: HardPartial) -> HardPartial:
    """Add two partials; exact, associative and commutative."""
    if not b.changed:  # most blocks, late in a fit
        return a
    sums = exact.carry(a.sums + b.sums)
    return HardPartial(sums, a.counts + b.counts, a.changed + b.changed)


def moved(
    rows: Rows,
    before: Labels | None,
    after: Labels,
    n_clusters: int,
    grid: Grid,
    at: Indices | None = None,
    weights: exact.Ints | None = None,
) -> HardPartial:
    """Sums and counts that rows carry from the clusters ``before`` to the clusters ``after``.

    Labels are those of the rows ``at`` some places, or of all; ``weights`` are of all.
    """
    sums = np.zeros((grid.n_limbs, n_clusters, rows.shape[1]), dtype=np.int64)
    weights = weights if weights is None or at is None else weights[at]
    if before is None:
        picked, count = None, len(after)
        counts = exact.label_counts(after, n_clusters, weights)
    else:
        picked = np.flatnonzero(before != after)
        count = len(picked)
        if not count:
            return HardPartial(sums, np.zeros(n_clusters, dtype=np.int64), 0)
        own = None if weights is None else weights[picked]
        counts = exact.label_counts(after[picked], n_clusters, own)
        counts -= exact.label_counts(before[picked], n_clusters, own)
    if is_sparse(rows):
        _add_sparse(sums, rows, before, after, picked, at, grid, weights)
        return HardPartial(sums, counts, count)
    for start in range(0, count, _RUN):
        run = slice(start, start + _RUN) if picked is None else picked[start : start + _RUN]
        sums += _run_sums(
            rows[run] if at is None else rows[at[run]],
            None if before is None else before[run], after[run], n_clusters, grid,
            None if weights is None else weights[run],
        )  # fmt: skip
        exact.carry(sums)
    return HardPartial(sums, counts, count)


def _run_sums(
    rows: Rows,
    before: Labels | None,
    after: Labels,
    n_clusters: int,
    grid: Grid,
    weights: exact.Ints | None,
) -> exact.Ints:
    ones = np.ones(len(rows), dtype=np.int64)
    if before is None:
        return exact.cluster_sums(rows, after, ones, n_clusters, grid, weights)
    return exact.cluster_sums(rows, *_twice(before, after), n_clusters, grid, weights)


def _add_sparse(
    sums: exact.Ints,
    rows: SparseRows,
    before: Labels | None,
    after: Labels,
    picked: Indices | None,
    at: Indices | None,
    grid: Grid,
    weights: exact.Ints | None,
) -> None:
    """Add sparse rows, or those ``picked`` among them, to ``sums``, in place."""
    if before is None or picked is None:
        add_by_cluster(sums, rows, after, np.ones(len(rows), dtype=np.int64), grid, weights)
        return
    some = rows[picked if at is None else at[picked]]
    own = None if weights is None else weights[picked]
    add_by_cluster(sums, some, *_twice(before[picked], after[picked]), grid, own)


def _twice(before: Labels, after: Labels) -> tuple[Labels, exact.Ints]:
    """Rows leave one cluster and come to another: labels and signs, shape (n, 2)."""
    signs = np.tile(np.array([1, -1], dtype=np.int64), (len(after), 1))
    return np.stack([after, before], axis=1), signs
