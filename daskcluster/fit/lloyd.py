"""Lloyd's algorithm over a session: assign, add up, divide, until nothing moves."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskcluster.engine import Session
from daskcluster.kernels import exact
from daskcluster.kernels.farthest import FarRow, Farthest
from daskcluster.kernels.hard import Assign, HardPartial, merge_hard
from daskcluster.kernels.nearest import Floats
from daskcluster.plan import Grid
from daskcluster.survey import Scale


@dataclass(frozen=True)
class Lloyd:
    """What one run of Lloyd's algorithm found."""

    centers: Floats
    """Shape (n_clusters, n_features)."""
    inertia: float
    """Of the rows' labels for ``centers``, against ``centers``."""
    n_iter: int
    converged: bool
    cluster_sizes: exact.Ints
    history: list[dict[str, Any]]
    """Per iteration: inertia of the labels against the centres they belong to, sum of squared
    shifts of the centres, rows that changed cluster, empty clusters, passes so far."""


@dataclass
class _Totals:
    """Sums and counts of the labels for the last centres; the driver's truth."""

    partial: HardPartial | None = None

    def add(self, change: HardPartial) -> HardPartial:
        self.partial = change if self.partial is None else merge_hard(self.partial, change)
        return self.partial


def lloyd(
    session: Session,
    scale: Scale,
    centers: Floats,
    *,
    max_iter: int,
    tol: float,
    restart: int = 0,
) -> Lloyd:
    """Iterate from ``centers`` until they repeat, move less than ``tol`` says, or ``max_iter``.

    The rule of ``tol`` is scikit-learn's: the sum over all centres of their squared shifts is at
    most ``tol * mean(var(X, axis=0))``. With ``tol=0`` only repetition stops: strict convergence.
    """
    grid = scale.moments.sum_grid
    totals, history = _Totals(), []
    previous: Floats | None = None
    # Labels of another restart must never pass for those of the iteration before.
    clock = restart * (max_iter + 2)
    repeated = converged = False
    for iteration in range(1, max_iter + 1):
        job = Assign(centers, previous, clock + iteration, scale.frame, grid)
        change = session.reduce(job, f"iteration {iteration}")
        total = totals.add(change)
        new, n_empty = _next_centers(session, scale, centers, total)
        shift = _squared_shift(new, centers, scale)
        entry = {
            "iteration": iteration,
            "inertia": _inertia(scale, grid, total, centers),
            "shift": math.ldexp(shift, 2 * scale.moments.exponent),
            "changed": change.changed,
            "empty": n_empty,
            "passes": session.passes,
        }
        history.append(entry)
        session.progress.event("iteration", entry)
        repeated = bool(np.array_equal(new, centers))
        converged = repeated or (tol > 0 and shift <= tol * scale.mean_variance)
        previous, centers = centers, new
        if converged:
            break
    if not repeated:
        # The centres moved after the last labels: one more assignment makes them belong together.
        job = Assign(centers, previous, clock + len(history) + 1, scale.frame, grid)
        totals.add(session.reduce(job, "labels"))
    assert totals.partial is not None
    inertia = _inertia(scale, grid, totals.partial, centers)
    return Lloyd(centers, inertia, len(history), converged, totals.partial.counts, history)


def _squared_shift(new: Floats, old: Floats, scale: Scale) -> float:
    """Sum of squared shifts in units of ``4**exponent``: those of tiny reals would vanish."""
    return float((np.ldexp(new - old, -scale.moments.exponent) ** 2).sum())


def _inertia(scale: Scale, grid: Grid, total: HardPartial, centers: Floats) -> float:
    return exact.inertia(scale.total_squares, total.sums, total.counts, centers, grid)


def _next_centers(
    session: Session, scale: Scale, centers: Floats, total: HardPartial
) -> tuple[Floats, int]:
    """The means of the clusters, empty ones refilled; and how many were empty."""
    grid = scale.moments.sum_grid
    n_empty = int((total.counts == 0).sum())
    if n_empty == 0:
        return exact.mean(total.sums, total.counts, grid), 0
    # As many more as there are clusters: a donor's last row is passed over.
    job = Farthest(centers, scale.frame, n_empty + len(centers))
    sums, counts = _refill(total, session.reduce(job, "farthest rows"), grid)
    new, filled = centers.copy(), counts > 0
    new[filled] = exact.mean(sums[:, filled], counts[filled], grid)
    return new, n_empty


def _refill(
    total: HardPartial, far_rows: list[FarRow], grid: Grid
) -> tuple[exact.Ints, exact.Ints]:
    """Give each empty cluster, in order, the farthest row left, and take it from its donor."""
    sums, counts = total.sums.copy(), total.counts.copy()
    empty = np.flatnonzero(counts == 0).tolist()
    for far in far_rows:
        if not empty or far.distance == 0:
            break
        if counts[far.label] <= 1:
            continue
        row = exact.to_grid(far.row.astype(np.float64), grid)
        target = empty.pop(0)
        sums[:, target] += row
        counts[target] += 1
        sums[:, far.label] -= row
        counts[far.label] -= 1
    return exact.carry(sums), counts
