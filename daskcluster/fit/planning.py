"""What a fit would take: passes, bytes, tasks, memory and time, before it is begun."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone

from daskcluster.engine import Progress, Session, Silent, Workers
from daskcluster.engine.lazy import is_dask_array
from daskcluster.engine.progress import Within
from daskcluster.errors import InputError
from daskcluster.fit.budget import Spending
from daskcluster.fit.data import Dataset, array_dataset, is_array_like, view
from daskcluster.fit.estimator import Clusterer
from daskcluster.fit.options import Options, init_name
from daskcluster.fit.restart import Shared
from daskcluster.fit.run import decided, share_out
from daskcluster.fit.starting import Start, start
from daskcluster.fit.trial import Cost, Trial, iterations, mean, some_blocks
from daskcluster.kernels.sampling import Sample
from daskcluster.sizing import IDLE_TASK_SECONDS
from daskcluster.store import ZarrRows

TRIED = 8  # iterations of a trial
TRIAL_SECONDS = 4.0
BLOCKS_A_THREAD = 4
# Iterations until tol=1e-4, and until centres repeat, as MNIST and Fashion-MNIST took, about.
REFINED, OTHERS, STRICT = 10, 50, 100


@dataclass(frozen=True)
class Expected:
    """Of one number of iterations."""

    iterations: int
    passes: float
    bytes_decoded: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a fit would take.

    Attributes
    ----------
    n_rows, n_features, n_clusters : int
    bytes : int
        Decoded, of one pass.
    init : str
        How initial centres will be found.
    n_init : int
        Restarts.
    runs_at_once : int
        Restarts that share their passes; the memory has no room for more.
    workers, threads : int
        Processes, and threads of all together.
    n_blocks, tasks_per_iteration : int
    memory_limit, peak_memory : int
        Bytes of each worker: what it has, and the bound on what it needs, which `KMeans.fit` checks
        before it begins.
    memory : dict of str to int
        What is in the bound, in bytes: needed by the work, state of the rows, and the budget of
        kept rows.
    seeding, first_iteration, iteration, labels : Expected
        Passes, bytes_decoded and seconds of the stages: finding the initial centres, with what the
        rows' scale takes; the iteration in which every row is compared with every centre; a later
        one; the pass after the last.
    expected, most : Expected
        The whole fit with a number of iterations that is assumed, and with ``max_iter`` of them.
    assumption : str
        Where the number comes from.
    timed : dict
        What was timed for it: blocks, rows, threads, seconds.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, plan
    >>> X = np.random.default_rng(0).integers(0, 255, (1000, 4), dtype="uint8")
    >>> found = plan(KMeans(3, max_iter=5, random_state=0), X)
    >>> found.bytes, found.most.iterations, found.peak_memory < found.memory_limit
    (4000, 5, True)
    """

    n_rows: int
    n_features: int
    n_clusters: int
    bytes: int
    init: str
    n_init: int
    runs_at_once: int
    workers: int
    threads: int
    n_blocks: int
    tasks_per_iteration: int
    memory_limit: int
    peak_memory: int
    memory: dict[str, int]
    seeding: Expected
    first_iteration: Expected
    iteration: Expected
    labels: Expected
    expected: Expected
    most: Expected
    assumption: str
    timed: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, ready for JSON.

        Returns
        -------
        dict

        Examples
        --------
        >>> import json
        >>> import numpy as np
        >>> from daskcluster import KMeans, plan
        >>> X = np.random.default_rng(0).random((1000, 4))
        >>> "peak_memory" in json.loads(json.dumps(plan(KMeans(3, random_state=0), X).to_json()))
        True
        """
        return asdict(self)


def plan(
    estimator: Clusterer,
    X: Any,
    *,
    sample_weight: Any = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Say what a fit would take, before anything is run; refuse what cannot fit.

    A few blocks are fitted for some iterations, on the active Dask client or in this process, and
    what they take is told of all blocks. No result of a fit comes of it.

    Parameters
    ----------
    estimator : KMeans or SoftKMeans
        Stays as it is.
    X : store, path, URL, zarr Array or array
        What `KMeans.fit` takes, but for what that would write to a temporary store.
    sample_weight : array-like of shape (n_samples,), optional
    workers : Workers, optional
        Of a cluster that need not be there; blocks are timed on what is.
    progress : Progress, optional
        Told of the rows that are timed.

    Returns
    -------
    Plan

    Raises
    ------
    BudgetError
        A worker has not the memory; the message says what would fit.
    InputError
        What `KMeans.fit` raises before it begins.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, plan
    >>> X = np.random.default_rng(0).random((1000, 4))
    >>> found = plan(KMeans(3, max_iter=5, tol=0, random_state=0), X)
    >>> found.most.iterations, found.first_iteration.passes, found.peak_memory < 2**30
    (5, 0.0, True)
    """
    estimator = clone(estimator)
    data, options = _prepared(estimator, X, sample_weight)
    runs = [replace(options, n_init=1, restart=i) for i in range(options.n_init)]
    with Session(data.reader, data.cut, data.nbytes, workers=workers) as whole:
        spending, at_once = share_out(whole, data, runs, estimator.memory_budget)
        sizes = _sizes(whole, data, options, spending, at_once)
        tell = Within(progress or Silent(), "trial")
        costs = _timed(whole, data, runs[0], spending, IDLE_TASK_SECONDS if workers else 0.0, tell)
    estimates = _estimates(costs, data, options, at_once, holds_all=spending.holds_all)
    return Plan(**sizes, **estimates)


def _prepared(estimator: Clusterer, X: Any, sample_weight: Any) -> tuple[Dataset, Options]:
    """The rows as they would be clustered, and the options, decided."""
    if is_dask_array(X):
        raise InputError(
            "a Dask array would be written to a store first: convert it, and plan that"
        )
    if is_array_like(X):
        X = estimator._validated(X, reset=True)
        rows = array_dataset(X)
    else:
        rows = view(X)
        if isinstance(rows.reader, ZarrRows) and not rows.reader.in_place:
            raise InputError(
                f"the rows of {rows.name} span chunks, and would be written to a store first: "
                "convert them, and plan that"
            )
    estimator.n_features_in_ = rows.n_features
    if estimator.standardize:
        estimator._prepared(some_blocks(rows, rows.cut, BLOCKS_A_THREAD))
    data = rows.weighted(sample_weight).mapped(estimator.row_map_)
    return data, decided(data, estimator._options(X, None))


def _sizes(
    whole: Session, data: Dataset, options: Options, spending: Spending, at_once: int
) -> dict[str, Any]:
    return {
        "n_rows": data.n_rows,
        "n_features": data.n_features,
        "n_clusters": options.n_clusters,
        "bytes": data.nbytes,
        "init": init_name(options),
        "n_init": options.n_init,
        "runs_at_once": at_once,
        "workers": whole.n_processes,
        "threads": whole.n_threads,
        "n_blocks": len(whole.cut),
        "tasks_per_iteration": whole.n_tasks_a_pass,
        "memory_limit": whole.memory_limit,
        "peak_memory": spending.peak,
        "memory": {
            "needed": spending.needed, "state": spending.state, "budget": spending.budget,
        },
    }  # fmt: skip


@dataclass(frozen=True)
class _Costs:
    """What a trial has shown of one run over all of the data."""

    before: Cost
    """What all runs share: the rows' scale and what they are projected on, reading for the first
    time."""
    start: Start
    iterations: list[Cost]
    """The first ones."""
    labels: Cost
    pruned: bool
    """Whether fewer and fewer rows are compared."""
    trial: Trial
    timed: dict[str, Any]

    def iteration(self, i: int) -> Cost:
        """The i-th iteration, from 1.

        Those after the trial: the centres move less and less, so that of more rows it is proved
        that they stay. What is compared falls about as the root of the iteration's number.
        """
        n = len(self.iterations)
        if i <= n:
            return self.iterations[i - 1]
        tail = mean(self.iterations[1:][-3:] or self.iterations)
        if not self.pruned:
            return tail
        floor = min(self.trial.idle + self.trial.reading(tail), tail.seconds)
        return Cost(floor + (tail.seconds - floor) * math.sqrt(n / i), tail.nbytes)


def _timed(
    whole: Session,
    data: Dataset,
    options: Options,
    spending: Spending,
    task_seconds: float,
    progress: Progress,
) -> _Costs:
    """Fit some blocks: first one a thread to see how long it takes, then as many as time allows."""
    with _session(whole, data, spending, 1, progress) as (session, some):
        shared = Shared(session, some, some.scale(session), spending)
        trial = Trial(session, whole, task_seconds)
        drawn = start(trial, shared, data, replace(options, init="random"))
        for _ in range(2):  # the first compiles loops, and opens what is read
            stage = trial.run(iterations(shared, options, drawn.centers, 1), TRIAL_SECONDS)
    seconds = max(stage.named("iteration")[0].cost.seconds, 1e-4)
    per_thread = min(max(int(TRIAL_SECONDS / (2 * TRIED * seconds)), 1), BLOCKS_A_THREAD)
    with _session(whole, data, spending, per_thread, progress) as (session, some):
        return _trial(Trial(session, whole, task_seconds), some, data, options, spending)


@contextmanager
def _session(
    whole: Session, data: Dataset, spending: Spending, per_thread: int, progress: Progress
) -> Iterator[tuple[Session, Dataset]]:
    """A session over some blocks for each thread that is there, which keeps its share of them."""
    n_threads = whole.n_threads
    if whole.supposed:
        with data.session() as here:
            n_threads = here.n_threads
    some = some_blocks(data, whole.cut, per_thread * n_threads)
    with some.session(progress) as session:
        kept = spending.rows * whole.n_processes * session.data_bytes / data.nbytes
        session.keep(int(kept / session.n_processes))
        yield session, some


def _trial(
    trial: Trial, some: Dataset, data: Dataset, options: Options, spending: Spending
) -> _Costs:
    began, session = time.perf_counter(), trial.session
    trial.warm()
    cold = trial.over_all(trial.timed(Sample(np.empty(0, dtype=np.int64)), "read"))
    before = Cost(max(cold.seconds - trial.read.seconds, 0.0))
    scale, survey = trial.aside(lambda: some.scale(session))
    shared = Shared(session, some, scale, spending)
    _, basis = trial.aside(lambda: shared.basis)
    before += basis.cost if data.moments else basis.cost + trial.over_all(survey)
    begin = start(trial, shared, data, options)
    # Of so many rows loops may be compiled that the first blocks were too few for.
    trial.run(iterations(shared, options, begin.centers, 1), TRIAL_SECONDS)
    n = min(TRIED, options.max_iter)
    stage = trial.run(iterations(shared, options, begin.centers, n), TRIAL_SECONDS)
    driver = Cost(stage.driver / len(stage.passes))
    costs = [trial.over_all(timed) + driver for timed in stage.named("iteration")]
    labels = [trial.over_all(timed) + driver for timed in stage.named("labels")]
    return _Costs(
        before, begin, costs, labels[0] if labels else costs[-1],
        options.beta is None and options.algorithm != "lloyd" and not data.wide, trial,
        {
            "blocks": len(session.cut), "rows": some.n_rows, "threads": session.n_threads,
            "seconds": time.perf_counter() - began,
        },
    )  # fmt: skip


def _estimates(
    costs: _Costs, data: Dataset, options: Options, at_once: int, *, holds_all: bool
) -> dict[str, Any]:
    """Of all runs: those that are in memory together share what they read."""
    n_groups = -(-options.n_init // at_once)

    def all_runs(cost: Cost) -> Cost:
        reading = costs.trial.reading(cost)
        alone = options.n_init * (cost.seconds - reading)
        return Cost(n_groups * reading + alone, n_groups * cost.nbytes)

    def expected(n: int, cost: Cost) -> Expected:
        nbytes = round(min(cost.nbytes, data.nbytes) if holds_all else cost.nbytes)
        return Expected(n, nbytes / data.nbytes, nbytes, cost.seconds)

    seeding = costs.before + all_runs(costs.start.cost)
    seeding += Cost(options.n_init * costs.start.alone)
    if holds_all and not data.reader.in_memory:
        seeding = Cost(seeding.seconds, max(seeding.nbytes, data.nbytes))
    labels = all_runs(costs.labels)
    number, assumption = _iterations(options)

    def fit(n: int) -> Expected:
        steps = sum((all_runs(costs.iteration(i)) for i in range(1, n + 1)), Cost())
        return expected(n, seeding + steps + labels)

    return {
        "seeding": expected(0, seeding),
        "first_iteration": expected(1, all_runs(costs.iteration(1))),
        "iteration": expected(1, all_runs(costs.iteration(min(number, TRIED)))),
        "labels": expected(0, labels),
        "expected": fit(number),
        "most": fit(options.max_iter),
        "assumption": assumption,
        "timed": costs.timed,
    }


def _iterations(options: Options) -> tuple[int, str]:
    """A number of iterations, and why that one."""
    refined = options.init == "refined" if isinstance(options.init, str) else False
    usual = REFINED if refined else OTHERS
    if options.tol == 0 or options.beta is not None:
        usual = STRICT
    if options.max_iter <= usual:
        return options.max_iter, f"max_iter={options.max_iter}, unless the centres rest before"
    begin = f"init={init_name(options)!r} and tol={options.tol:g}"
    return usual, f"{usual} iterations are usual with {begin}; at most {options.max_iter}"
