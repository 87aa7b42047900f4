"""One fit of open data: check the memory, survey, seed, iterate, keep the best."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from daskcluster.engine import Asking, Progress, Session, alone, in_turns
from daskcluster.errors import BudgetError, Stopped
from daskcluster.fit.budget import Spending, spend, spend_on_blocks
from daskcluster.fit.checkpoint import NoTrail, Trail
from daskcluster.fit.data import Dataset
from daskcluster.fit.ledger import Ledger, Page
from daskcluster.fit.lloyd import Lloyd
from daskcluster.fit.options import (
    Options,
    RunKey,
    check_centers,
    check_n_clusters,
    describe,
    init_name,
)
from daskcluster.fit.refined import sample_of
from daskcluster.fit.restart import Shared, hard_restart, soft_restart
from daskcluster.fit.soft import SoftFit
from daskcluster.fit.stages import check_state
from daskcluster.kernels.sampling import Parts
from daskcluster.sizing import FEWEST_ROWS, start_bytes
from daskcluster.survey import Scale

# Of the rows' distance from it.
_ONE_PLACE = 1e-3
_LOG = logging.getLogger(__name__)

_Share = Callable[[Session, Dataset, list[int], int | str | None, int], Spending]


@dataclass(frozen=True)
class Fit:
    """The best of the restarts, and what the whole fit took."""

    best: Lloyd | SoftFit
    passes: float
    seconds: float
    n_tasks: int
    about: dict[str, dict[str, Any]]
    """All that decided the result."""
    precision: str | None
    """Of a soft fit."""
    init: str
    """How initial centres were found."""


def run_fit(
    data: Dataset,
    options: Options,
    *,
    budget: int | str | None = None,
    progress: Progress | None = None,
    trail: Trail | None = None,
) -> Fit:
    """Fit k-means to open data, and keep the best of the restarts.

    Parameters and errors as `fit_all`.
    """
    options = decided(data, options)
    restarts = [replace(options, n_init=1, restart=i) for i in range(options.n_init)]
    fits = fit_all(
        data, restarts, lambda scale: describe(data, scale, options),
        budget=budget, progress=progress, trail=trail,
    )  # fmt: skip
    best = min(fits, key=lambda fit: fit.best.cost)
    if isinstance(best.best, Lloyd):
        # Soft clusters may share a place, and so have no rows of their own.
        _warn_if_fewer(best.best, options.n_clusters)
    elif _run_together(best.best):
        _warn_of_beta(options)
    return best


def fit_all(
    data: Dataset,
    runs: list[Options],
    about: Callable[[Scale], dict[str, dict[str, Any]]],
    *,
    budget: int | str | None = None,
    progress: Progress | None = None,
    trail: Trail | None = None,
) -> list[Fit]:
    """Fit several models to open data; they share their passes as far as the memory allows.

    Parameters
    ----------
    runs : list of Options
        All of them hard, or all soft; `decided`.
    about : callable
        What decides the results, given the data's scale.
    trail : Trail, optional
        Where the state is kept on the way, and taken from when the fits go on.

    Raises
    ------
    InputError
        Values that are not finite.
    BudgetError
        The bound on a worker's memory exceeds what it has.
    Interrupted, ClusterLost
        The fits ended early; what they had come to is in ``trail``.
    """
    trail = trail or NoTrail()
    with saved_at_the_end(trail), data.session(progress) as session:
        spending, at_once = share_out(session, data, runs, budget)
        _LOG.info(
            "%s: %d rows, %d runs, %d at a time, on %d processes of %d bytes, %d tasks a pass",
            data.name, data.n_rows, len(runs), at_once, session.n_processes, session.memory_limit,
            session.n_tasks_a_pass,
        )  # fmt: skip
        scale, sampled = surveyed(session, data, runs[:at_once])
        whole = about(scale)
        state = trail.begin(whole, partial(check_state, runs=runs, data=data, scale=scale))
        ledger = Ledger(session, trail, state)
        found = run_all(Shared(session, data, scale, spending, sampled), runs, ledger, at_once)
        return [
            Fit(
                one,
                session.passes,
                ledger.seconds,
                session.n_tasks,
                whole,
                None if isinstance(one, Lloyd) else one.precision,
                init_name(run),
            )
            for one, run in zip(found, runs, strict=True)
        ]


def surveyed(
    session: Session, data: Dataset, runs: list[Options]
) -> tuple[Scale, dict[RunKey, Parts]]:
    """The data's scale; where a pass had to find it, it also gathered what refined starts need."""
    refined = [run for run in runs if isinstance(run.init, str) and run.init == "refined"]
    samples = (sample_of(data, run.n_clusters, (run.seed, run.restart)) for run in refined)
    scale, found = data.scale_with(session, tuple(samples))
    return scale, dict(zip((run.key for run in refined), found or (), strict=False))


def decided(data: Dataset, options: Options) -> Options:
    """The options for these rows; refuses what cannot be fitted before anything is read."""
    check_n_clusters(options.n_clusters, data.n_rows, data.name)
    if isinstance(options.init, np.ndarray):
        check_centers(options.init, options.n_clusters, data.n_features)
    if isinstance(options.init, str) and options.init == "auto":
        refined = data.n_rows >= FEWEST_ROWS
        return replace(options, init="refined" if refined else "k-means++")
    return options


def run_all(
    shared: Shared, runs: list[Options], ledger: Ledger, at_once: int
) -> list[Lloyd | SoftFit]:
    """Runs in their order, so many of them at a time in turns."""
    session = shared.session
    if len(runs) == 1:
        return [alone(session, _run(shared, runs[0], ledger.page(0), {}))]
    found: dict[int, Any] = {}
    for first in range(0, len(runs), at_once):
        some = range(first, min(first + at_once, len(runs)))
        found |= in_turns(
            session,
            {
                i: _run(shared, runs[i], ledger.page(i), {"run": i, "k": runs[i].n_clusters})
                for i in some
            },
        )
    return [found[i] for i in range(len(runs))]


def _run(
    shared: Shared, options: Options, page: Page, about: dict[str, Any]
) -> Asking[Lloyd | SoftFit]:
    kind = hard_restart if options.beta is None else soft_restart
    return kind(shared, options, page, about)


def share_out(
    session: Session, data: Dataset, runs: list[Options], budget: int | str | None
) -> tuple[Spending, int]:
    """What the budget goes to, and how many runs the memory has room for at a time."""
    at_once = len(runs)
    while True:
        try:
            spending = _spending(session, data, runs, at_once, budget)
        except BudgetError:
            if at_once == 1:
                raise
            at_once = -(-at_once // 2)
        else:
            session.keep(spending.rows)
            return spending, at_once


def _spending(
    session: Session, data: Dataset, runs: list[Options], at_once: int, budget: int | str | None
) -> Spending:
    """Where blocks are read again, small ones are read less often."""
    largest = sorted(runs, key=lambda run: run.n_clusters, reverse=True)[:at_once]
    clusters = [run.n_clusters for run in largest]
    starting = sum(_start_bytes(data, run) for run in largest)
    share: _Share = partial(spend, algorithm=runs[0].algorithm)
    if runs[0].beta is not None:
        share = spend_on_blocks
        # Products of fewer clusters cover longer runs of rows.
        session.recut(data.aligned(min(run.n_clusters for run in runs)))
    spending = share(session, data, clusters, budget, starting)
    if not spending.holds_all:
        return spending
    fine = session.cut
    session.recut(session.coarser())
    with suppress(BudgetError):
        coarse = share(session, data, clusters, budget, starting)
        if coarse.holds_all:
            return coarse
    session.recut(fine)
    return spending


def _start_bytes(data: Dataset, run: Options) -> int:
    if not isinstance(run.init, str):
        return 0
    row_bytes = data.nbytes // data.n_rows
    return start_bytes(run.init, data.n_rows, row_bytes, data.n_features, run.n_clusters)


@contextmanager
def saved_at_the_end(trail: Trail) -> Iterator[None]:
    """However a fit fails, what it last kept comes to disk; the error's ``kept`` says whether."""
    try:
        yield
    except BaseException as error:
        # A fit that was stopped keeps at least its seed; one that failed at once leaves nothing.
        kept = trail.save(even_if_empty=isinstance(error, Stopped))
        error.kept = kept  # type: ignore[attr-defined]
        raise


def _warn_if_fewer(best: Lloyd, n_clusters: int) -> None:
    distinct = int((best.cluster_sizes > 0).sum())
    if distinct < n_clusters:
        warnings.warn(
            f"Number of distinct clusters ({distinct}) found smaller than n_clusters "
            f"({n_clusters}). Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=4,
        )


def _run_together(best: SoftFit) -> bool:
    """Whether all centres are one place, as far as the rows' distances from it tell."""
    k, d = best.centers.shape
    apart = math.sqrt(d) * float(np.ptp(best.centers, axis=0).max())
    return k > 1 and apart < _ONE_PLACE * math.sqrt(best.inertia / best.weights.sum())


def _warn_of_beta(options: Options) -> None:
    warnings.warn(
        f"All {options.n_clusters} centres have run together: beta={options.beta:g} is too small "
        "for these rows. A sensible one is of the size of 1 over how much farther from a row its "
        "second centre is than its nearest",
        ConvergenceWarning,
        stacklevel=4,
    )
