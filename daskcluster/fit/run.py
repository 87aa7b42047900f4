"""One fit of open data: check the memory, survey, seed, iterate, keep the best."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from daskcluster.engine import Progress, Session, parse_bytes
from daskcluster.errors import InputError
from daskcluster.fit.data import Dataset
from daskcluster.fit.lloyd import Lloyd, lloyd
from daskcluster.kernels.nearest import Floats
from daskcluster.plan import (
    LARGEST_MAGNITUDE,
    STATE_BYTES_PER_ROW,
    fit_bytes,
    memory_budget,
    sum_grid,
)
from daskcluster.seeding import kmeans_plusplus, random_rows
from daskcluster.survey import Scale, scale_of

Init = str | Floats | Callable[[], Floats]


@dataclass(frozen=True)
class Options:
    """What decides a fit's result; the same options and seed give the same bits."""

    n_clusters: int
    init: Init
    """``'k-means++'``, ``'random'``, centres, or a call that returns centres."""
    n_init: int
    max_iter: int
    tol: float
    seed: int
    algorithm: str


@dataclass(frozen=True)
class Fit:
    """The best of the restarts, and what the whole fit took."""

    best: Lloyd
    passes: float
    seconds: float
    n_tasks: int


def run_fit(
    data: Dataset,
    options: Options,
    *,
    budget: int | str | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Fit k-means to open data.

    Raises
    ------
    InputError
        Fewer rows than clusters, centres of another shape, values that are not finite.
    BudgetError
        The bound on a worker's memory exceeds what it has.
    """
    began = time.perf_counter()
    check_n_clusters(options.n_clusters, data.n_rows, data.name)
    if isinstance(options.init, np.ndarray):
        check_centers(options.init, options.n_clusters, data.n_features)
    with data.session(progress) as session:
        session.keep(_budget(session, data, options.n_clusters, budget))
        scale = scale_of(data.known_moments(session))
        runs = [_restart(session, data, scale, options, i) for i in range(options.n_init)]
        best = min(runs, key=lambda run: run.inertia)
        _warn_if_fewer(best, options.n_clusters)
        return Fit(best, session.passes, time.perf_counter() - began, session.n_tasks)


def _restart(
    session: Session, data: Dataset, scale: Scale, options: Options, restart: int
) -> Lloyd:
    rng = np.random.Generator(np.random.Philox(key=[options.seed, restart]))
    centers = _initial(session, data, scale, options, rng, restart)
    return lloyd(
        session, scale, centers, max_iter=options.max_iter, tol=options.tol, restart=restart
    )


def _initial(
    session: Session,
    data: Dataset,
    scale: Scale,
    options: Options,
    rng: np.random.Generator,
    restart: int,
) -> Floats:
    if isinstance(options.init, np.ndarray):
        return options.init.astype(np.float64)
    if callable(options.init):
        centers = np.asarray(options.init(), dtype=np.float64)
        check_centers(centers, options.n_clusters, data.n_features)
        return centers
    if options.init == "random":
        return random_rows(session, options.n_clusters, rng)
    return kmeans_plusplus(session, scale, data.dtype, options.n_clusters, rng, restart)


def check_n_clusters(n_clusters: int, n_rows: int, name: str) -> None:
    """Raise `InputError` for fewer rows than clusters, in scikit-learn's words."""
    if n_rows < n_clusters:
        raise InputError(
            f"{name}: n_samples={n_rows} should be >= n_clusters={n_clusters}: ask for fewer"
        )


def check_centers(centers: Any, n_clusters: int, n_features: int) -> None:
    """Raise `InputError` for initial centres of another shape, or not finite."""
    if centers.ndim != 2 or centers.shape[0] != n_clusters:
        raise InputError(
            f"The shape of the initial centers {centers.shape} does not match the number of "
            f"clusters {n_clusters}."
        )
    if centers.shape[1] != n_features:
        raise InputError(
            f"The shape of the initial centers {centers.shape} does not match the number of "
            f"features of the data {n_features}."
        )
    if not (np.abs(centers) <= LARGEST_MAGNITUDE).all():
        raise InputError(
            f"The initial centers hold NaN, infinity or magnitudes above {LARGEST_MAGNITUDE:.3g}."
        )


def _budget(session: Session, data: Dataset, n_clusters: int, asked: int | str | None) -> int:
    """Bytes each process may keep; `BudgetError` where its share of the work is too much."""
    threads = -(-session.n_threads // session.n_processes)
    limbs = sum_grid(data.n_rows, data.dtype, 0).n_limbs
    rows, share = data.cut.rows_per_block, -(-data.n_rows // session.n_processes)
    row_bytes = 0 if data.reader.in_memory else data.nbytes // data.n_rows
    needed = fit_bytes(rows, rows * row_bytes, threads, data.n_features, n_clusters, limbs)
    # Owners of even runs of blocks may hold one block more than others.
    data_bytes = (share + rows) * row_bytes
    size = None if asked is None else parse_bytes(asked)
    state = STATE_BYTES_PER_ROW * share
    return memory_budget(size, needed, state, session.memory_limit, data_bytes, threads)


def _warn_if_fewer(best: Lloyd, n_clusters: int) -> None:
    distinct = int((best.cluster_sizes > 0).sum())
    if distinct < n_clusters:
        warnings.warn(
            f"Number of distinct clusters ({distinct}) found smaller than n_clusters "
            f"({n_clusters}). Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=4,
        )
