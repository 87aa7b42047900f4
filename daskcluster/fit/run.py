"""One fit of open data: check the memory, survey, seed, iterate, keep the best."""

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from daskcluster.engine import Progress, Session
from daskcluster.engine.tasks import versions
from daskcluster.errors import BudgetError, InputError, Stopped
from daskcluster.fit.budget import Spending, leading_directions, spend
from daskcluster.fit.checkpoint import NoTrail, State, Trail
from daskcluster.fit.data import Dataset
from daskcluster.fit.lloyd import Lloyd, Progression, lloyd
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.projection import Basis
from daskcluster.plan import LARGEST_MAGNITUDE
from daskcluster.seeding import kmeans_plusplus, random_rows
from daskcluster.survey import Scale, scale_of

Init = str | Floats | Callable[[int, int], Floats]


@dataclass(frozen=True)
class Options:
    """What decides a fit's result; the same options and seed give the same bits."""

    n_clusters: int
    init: Init
    """``'k-means++'``, ``'random'``, centres, or a call of (seed, restart) that returns centres."""
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
    about: dict[str, dict[str, Any]]
    """All that decided the result."""


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
        scale = scale_of(data.known_moments(session))
        job = _Job(session, data, scale, options, trail, spending)
        about = describe(data, scale, options)
        best = job.run(trail.begin(about))
        _warn_if_fewer(best, options.n_clusters)
        return Fit(best, session.passes, job.seconds, session.n_tasks, about)


def _spending(
    session: Session, data: Dataset, options: Options, budget: int | str | None
) -> Spending:
    """What the budget goes to. Where blocks are read again, small ones are read less often."""
    spending = spend(session, data, options.n_clusters, budget, algorithm=options.algorithm)
    if not spending.holds_all:
        return spending
    fine = session.cut
    session.recut(session.coarser())
    with suppress(BudgetError):
        coarse = spend(session, data, options.n_clusters, budget, algorithm=options.algorithm)
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


def describe(data: Dataset, scale: Scale, options: Options) -> dict[str, dict[str, Any]]:
    """All that decides a fit's result, as JSON."""
    init = options.init
    if isinstance(init, np.ndarray):
        init = _digest(init)
    elif callable(init):
        init = "callable"
    moments = scale.moments
    content = None if data.build else _digest(moments.sums, moments.squares)
    rows = {"rows": data.n_rows, "features": data.n_features, "type": data.dtype}
    plain = {f.name: getattr(options, f.name) for f in fields(options)}
    return {
        "data": {"build": data.build, "content": content, **rows},
        "options": plain | {"init": init},
        "software": {"daskcluster": versions()["daskcluster"]},
    }


def _digest(*arrays: Any) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()[:16]


class _Job:
    """The restarts of a fit, one after the other, from whatever state it had come to."""

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

    def run(self, state: State) -> Lloyd:
        spent = state.get("spent", {"bytes": 0, "tasks": 0, "seconds": 0.0})
        self._session.bytes_decoded += spent["bytes"]
        self._session.n_tasks += spent["tasks"]
        self._began -= spent["seconds"]
        best = None if state.get("best") is None else Lloyd(**state["best"])
        for restart in range(state.get("restart", 0), self._options.n_init):
            found = self._restart(restart, state)
            best = found if best is None or found.inertia < best.inertia else best
            state = {}
            self._keep(restart=restart + 1, best=vars(best), seeds=None, lloyd=None)
        assert best is not None
        return best

    def _restart(self, restart: int, state: State) -> Lloyd:
        options = self._options
        if state.get("lloyd") is None:
            run = Progression(self._initial(restart, state.get("seeds")))
        else:
            run = Progression.from_state(state["lloyd"])
        return lloyd(
            self._session, self._scale, run, max_iter=options.max_iter, tol=options.tol,
            restart=restart, bounded=options.algorithm != "lloyd", basis=self._basis,
            paired=self._spending.pairs, keep=lambda state: self._keep(lloyd=state, seeds=None),
        )  # fmt: skip

    @cached_property
    def _basis(self) -> Basis | None:
        directions = self._spending.directions
        return leading_directions(self._session, self._data, self._scale, directions)

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


def _warn_if_fewer(best: Lloyd, n_clusters: int) -> None:
    distinct = int((best.cluster_sizes > 0).sum())
    if distinct < n_clusters:
        warnings.warn(
            f"Number of distinct clusters ({distinct}) found smaller than n_clusters "
            f"({n_clusters}). Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=4,
        )
