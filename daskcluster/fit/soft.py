"""Soft k-means over a session: share out, add up, divide, until the centres stand still."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daskcluster.engine import Ask, Asking, Session
from daskcluster.fit.data import Dataset
from daskcluster.kernels import exact
from daskcluster.kernels.compiled import worthwhile
from daskcluster.kernels.compiling import has_numba
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.hard import Assign
from daskcluster.kernels.responsibilities import Softness
from daskcluster.kernels.soft import (
    Agreement,
    Soften,
    SoftGrids,
    SoftPartial,
    free_energy,
    soft_centers,
    soft_grids,
)
from daskcluster.kernels.together import Together
from daskcluster.survey import Scale

# One float32 step may lead so far from a float64 step, in proportion to the centres.
TOLERATED = 1e-6


@dataclass(frozen=True)
class SoftFit:
    """What one run of soft k-means found."""

    centers: Floats
    """Shape (n_clusters, n_features)."""
    objective: float
    """The free energy of the rows for ``centers``."""
    inertia: float
    """Of the rows' nearest centres, as a hard fit has it."""
    weights: Floats
    """Sums of responsibilities for ``centers``, shape (n_clusters,)."""
    n_iter: int
    converged: bool
    cluster_sizes: exact.Ints
    """Rows of which each cluster has the largest responsibility."""
    history: list[dict[str, Any]]
    """Per iteration: the objective of the centres that it began with, the Frobenius norm of the
    centres' shift, passes so far."""
    precision: str
    """float32 or float64."""

    @property
    def cost(self) -> float:
        """What restarts are compared by."""
        return self.objective


@dataclass
class SoftProgression:
    """How far a run has come: the driver's truth, from which it can go on anywhere."""

    centers: Floats
    history: list[dict[str, Any]] = field(default_factory=list)
    converged: bool = False

    def to_state(self) -> dict[str, Any]:
        """For a checkpoint, after an iteration. Nothing in it is ever changed in place."""
        return vars(self) | {"history": list(self.history)}


def choose_precision(
    scale: Scale, centers: Floats, beta: float, metric: str, *, sparse: bool
) -> Asking[str]:
    """float32 where it serves the first rows' first step as well as float64."""
    if math.isinf(beta) or sparse:
        return "float64"
    grids = _grids(scale, centers, Softness(beta, metric))
    loops = _by_loops(scale, centers, Softness(beta, metric, "float32"))
    job = Agreement(centers, beta, metric, scale.frame, grids, loops)
    lost: float = yield Ask(job, "precision", [0])
    return "float32" if lost <= TOLERATED else "float64"


def _grids(scale: Scale, centers: Floats, softness: Softness) -> SoftGrids:
    k, d = centers.shape
    return soft_grids(scale.moments.n_rows, d, k, scale.reach, softness, scale.frame)


def _by_loops(scale: Scale, centers: Floats, softness: Softness) -> bool:
    """Whether products are those of compiled loops: the same for all passes over the same rows."""
    large = worthwhile(scale.moments.n_rows, *centers.shape)
    return softness.precision == "float32" and large and has_numba()


def energy_job(
    scale: Scale, centers: Floats, softness: Softness, state_kind: str | None = None
) -> Soften:
    """One pass, from which `finish_energy` makes the free energy."""
    grids, loops = _grids(scale, centers, softness), _by_loops(scale, centers, softness)
    return Soften(centers, softness, scale.frame, grids, state_kind, loops)


def finish_energy(job: Soften, scale: Scale, total: SoftPartial) -> float:
    """The free energy of all rows, in units of the data."""
    energy = free_energy(total, job.softness, job.grids, job.frame)
    return math.ldexp(energy, scale.weight_unit)


def soften(
    session: Session,
    scale: Scale,
    run: SoftProgression,
    softness: Softness,
    *,
    max_iter: int,
    tol: float,
    keep: Callable[[dict[str, Any]], None] | None = None,
    about: dict[str, Any] | None = None,
) -> Asking[SoftFit]:
    """Iterate until the Frobenius norm of the centres' shift is below ``tol``, or ``max_iter``.

    With ``tol=0`` only centres that repeat stop it. ``keep`` is given the state after every
    iteration; ``about`` is told with every one, where runs take turns.
    """
    while len(run.history) < max_iter and not run.converged:
        job = energy_job(scale, run.centers, softness, "soft")
        total = yield Ask(job, f"iteration {len(run.history) + 1}", told=False)
        new, _ = soft_centers(total, run.centers, job.grids, scale.frame)
        shift = _shift(new, run.centers)
        run.history.append({
            "iteration": len(run.history) + 1,
            "objective": finish_energy(job, scale, total),
            "shift": shift,
            "passes": session.passes,
        })  # fmt: skip
        run.converged = shift == 0 or shift < tol
        run.centers = new
        session.iterated(session.last, run.history[-1], max_iter, about or {})
        if keep is not None:
            keep(run.to_state())
    return (yield from settle(scale, run, softness))


def settle(scale: Scale, run: SoftProgression, softness: Softness) -> Asking[SoftFit]:
    """One pass that makes all that is said of the rows belong to the last centres."""
    soft = energy_job(scale, run.centers, softness)
    grid = scale.moments.sum_grid
    hard = Assign(run.centers, None, 0, scale.frame, grid, state_kind=None)
    total, found = yield Ask(Together((soft, hard)), "labels")
    inertia = exact.inertia(scale.total_squares, found.sums, found.counts, run.centers, grid)
    return SoftFit(
        run.centers,
        finish_energy(soft, scale, total),
        math.ldexp(inertia, scale.weight_unit),
        np.ldexp(exact.rounded(total.weights, soft.grids.weights), scale.weight_unit),
        len(run.history),
        run.converged,
        found.counts,
        run.history,
        softness.precision,
    )


def objective_of(data: Dataset, centers: Floats, softness: Softness) -> float:
    """The free energy of any rows for given centres."""
    with data.session() as session:
        session.recut(data.aligned(len(centers)))
        scale = data.scale(session)
        job = energy_job(scale, centers, softness)
        return finish_energy(job, scale, session.reduce(job, "objective"))


def _shift(new: Floats, old: Floats) -> float:
    """Frobenius norm, of differences in units in which squares neither vanish nor overflow."""
    moves = new - old
    exponent = int(np.frexp(np.abs(moves).max())[1])
    # Not by BLAS, whose threads here would change the last bits.
    squares = np.square(np.ldexp(moves, -exponent)).sum()
    return math.ldexp(math.sqrt(squares), exponent)
