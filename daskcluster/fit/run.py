"""One fit of open data: check the memory, survey, seed, iterate, keep the best."""

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from daskcluster.engine import Progress, Session
from daskcluster.errors import BudgetError, InputError, Stopped
from daskcluster.fit.budget import Spending, leading_directions, spend, spend_on_blocks
from daskcluster.fit.checkpoint import NoTrail, State, Trail
from daskcluster.fit.data import Dataset
from daskcluster.fit.lloyd import Lloyd, Progression, lloyd
from daskcluster.fit.options import Options, check_centers, check_n_clusters, describe
from daskcluster.fit.soft import SoftFit, SoftProgression, choose_precision, soften
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.projection import Basis
from daskcluster.kernels.responsibilities import Softness
from daskcluster.kernels.rowmaps import unit_rows
from daskcluster.seeding import kmeans_plusplus, random_rows
from daskcluster.survey import Scale

_Share = Callable[[Session, Dataset, int, int | str | None], Spending]


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


def run_fit(
    data: Dataset,
    options: Options,
    *,
    budget: int | str | None = None,
    progress: Progress | None = None,
    trail: Trail | None = None,
) -> Fit:
    """Fit k-means to open data.

    Parameters
    ----------
    trail : Trail, optional
        Where the state is kept on the way, and taken from when the fit goes on.

    Raises
    ------
    InputError
        Fewer rows than clusters, centres of another shape, values that are not finite.
    BudgetError
        The bound on a worker's memory exceeds what it has.
    Interrupted, ClusterLost
        The fit ended early; what it had come to is in ``trail``.
    """
    check_n_clusters(options.n_clusters, data.n_rows, data.name)
    if isinstance(options.init, np.ndarray):
        check_centers(options.init, options.n_clusters, data.n_features)
    trail = trail or NoTrail()
    with saved_at_the_end(trail), data.session(progress) as session:
        spending = _spending(session, data, options, budget)
        session.keep(spending.rows)
        scale = data.scale(session)
        kind = _Hard if options.beta is None else _Soft
        job = kind(session, data, scale, options, trail, spending)
        about = describe(data, scale, options)
        best = job.run(trail.begin(about))
        if (
            options.beta is None
        ):  # soft clusters may share a place, and so have no rows of their own
            _warn_if_fewer(best, options.n_clusters)
        return Fit(best, session.passes, job.seconds, session.n_tasks, about, job.precision)


def _spending(
    session: Session, data: Dataset, options: Options, budget: int | str | None
) -> Spending:
    """What the budget goes to. Where blocks are read again, small ones are read less often."""
    share: _Share = partial(spend, algorithm=options.algorithm)
    if options.beta is not None:
        share = spend_on_blocks
        session.recut(data.aligned(options.n_clusters))
    spending = share(session, data, options.n_clusters, budget)
    if not spending.holds_all:
        return spending
    fine = session.cut
    session.recut(session.coarser())
    with suppress(BudgetError):
        coarse = share(session, data, options.n_clusters, budget)
        if coarse.holds_all:
            return coarse
    session.recut(fine)
    return spending


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


class _Job(ABC):
    """The restarts of a fit, one after the other, from whatever state it had come to."""

    found: type[Any]
    """What a restart finds; made again from its attributes."""
    precision: str | None = None

    def __init__(
        self,
        session: Session,
        data: Dataset,
        scale: Scale,
        options: Options,
        trail: Trail,
        spending: Spending,
    ) -> None:
        self._session, self._data, self._scale = session, data, scale
        self._options, self._trail = options, trail
        self._spending = spending
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of this run and of those it goes on from."""
        return time.perf_counter() - self._began

    def run(self, state: State) -> Any:
        spent = state.get("spent", {"bytes": 0, "tasks": 0, "seconds": 0.0})
        self._session.bytes_decoded += spent["bytes"]
        self._session.n_tasks += spent["tasks"]
        self._began -= spent["seconds"]
        self.precision = state.get("precision")
        best = None if state.get("best") is None else self.found(**state["best"])
        for restart in range(state.get("restart", 0), self._options.n_init):
            found = self._restart(restart, state)
            best = found if best is None or found.cost < best.cost else best
            state = {}
            self._keep(restart=restart + 1, best=vars(best), seeds=None, lloyd=None)
        assert best is not None
        return best

    @abstractmethod
    def _restart(self, restart: int, state: State) -> Any:
        """One run, or the rest of one, from the stages ``seeds`` and ``lloyd`` of a state."""

    def _initial(self, restart: int, before: State | None) -> Floats:
        options, session = self._options, self._session
        rng = np.random.Generator(np.random.Philox(key=[options.seed, restart]))
        if isinstance(options.init, np.ndarray):
            return options.init.astype(np.float64)
        if callable(options.init):
            centers = np.asarray(options.init(options.seed, restart), dtype=np.float64)
            check_centers(centers, options.n_clusters, self._data.n_features)
            return centers
        if options.init == "random":
            return random_rows(session, options.n_clusters, rng)
        return kmeans_plusplus(
            session, self._scale, self._data.dtype, options.n_clusters, rng, restart,
            before=before, keep=lambda state: self._keep(seeds=state),
        )  # fmt: skip

    def _keep(self, **stages: Any) -> None:
        session = self._session
        spent = {
            "bytes": session.bytes_decoded, "tasks": session.n_tasks, "seconds": self.seconds,
        }  # fmt: skip
        self._trail.keep(spent=spent, **stages)


class _Hard(_Job):
    """Lloyd's algorithm."""

    found = Lloyd

    def _restart(self, restart: int, state: State) -> Lloyd:
        options = self._options
        if state.get("lloyd") is None:
            start = self._initial(restart, state.get("seeds"))
            run = Progression(unit_rows(start) if self._unit else start)
        else:
            run = Progression.from_state(state["lloyd"])
        return lloyd(
            self._session, self._scale, run, max_iter=options.max_iter, tol=options.tol,
            restart=restart, bounded=options.algorithm != "lloyd", basis=self._basis,
            paired=self._spending.pairs, loops=not self._data.sparse,
            unit=self._unit,
            keep=lambda state: self._keep(lloyd=state, seeds=None),
        )  # fmt: skip

    @property
    def _unit(self) -> bool:
        return self._options.metric == "cosine"

    @cached_property
    def _basis(self) -> Basis | None:
        directions = self._spending.directions
        return leading_directions(self._session, self._data, self._scale, directions)


class _Soft(_Job):
    """Soft k-means."""

    found = SoftFit

    def _restart(self, restart: int, state: State) -> SoftFit:
        options = self._options
        if state.get("lloyd") is None:
            run = SoftProgression(self._initial(restart, state.get("seeds")))
        else:
            run = SoftProgression(**state["lloyd"])
        return soften(
            self._session, self._scale, run, self._softness(run.centers),
            max_iter=options.max_iter, tol=options.tol,
            keep=lambda state: self._keep(
                lloyd=state, seeds=None, precision=self.precision
            ),
        )  # fmt: skip

    def _softness(self, centers: Floats) -> Softness:
        options = self._options
        assert options.beta is not None
        assert options.metric is not None
        if self.precision is None:
            self.precision = options.precision
            if self._data.sparse and options.precision == "float32":
                raise InputError("sparse rows have products in float64 alone: precision='float64'")
            if options.precision == "auto":
                self.precision = choose_precision(
                    self._session,
                    self._scale,
                    centers,
                    options.beta,
                    options.metric,
                    sparse=self._data.sparse,
                )
        assert self.precision is not None
        return Softness(options.beta, options.metric, self.precision)


def _warn_if_fewer(best: Lloyd, n_clusters: int) -> None:
    distinct = int((best.cluster_sizes > 0).sum())
    if distinct < n_clusters:
        warnings.warn(
            f"Number of distinct clusters ({distinct}) found smaller than n_clusters "
            f"({n_clusters}). Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=4,
        )
