"""Workers of a Dask cluster: every block has an owner, and the driver minds who is there."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from distributed import Client, Future, KilledWorker, LocalCluster, wait
from distributed.comm import CommClosedError
from distributed.system import MEMORY_LIMIT

from daskcluster.engine.protocols import Reduction
from daskcluster.engine.tasks import (
    Outcome,
    Work,
    WorkerFacts,
    close_worker,
    open_worker,
    run_partition,
    versions,
)
from daskcluster.errors import EngineError, InputError
from daskcluster.plan import TASKS_PER_THREAD, Cut, Partition, partitions, within

MAX_ATTEMPTS = 5
NO_WORKER_SECONDS = 60.0
LOOK_SECONDS = 1.0
# Larger arguments would pass through the scheduler once a task; as a future they do once.
BROADCAST_BYTES = 64 * 1024

_LOST = (KilledWorker, CancelledError, CommClosedError)


@contextmanager
def local_cluster(
    n_workers: int, threads_per_worker: int = 1, memory_limit: str | int = "auto"
) -> Iterator[Client]:
    """A LocalCluster of worker processes that ends with the block.

    Examples
    --------
    >>> from daskcluster.engine import local_cluster
    >>> with local_cluster(1) as client:
    ...     client.submit(sum, [1, 2]).result()
    3
    """
    cluster = LocalCluster(
        n_workers=n_workers,
        threads_per_worker=threads_per_worker,
        memory_limit=memory_limit,
        dashboard_address=":0",
    )
    with cluster, Client(cluster) as client:
        yield client


@dataclass(frozen=True)
class _Attempt:
    part: Partition
    owner: str
    number: int


def _open_here(work: Work, dask_worker: Any = None) -> WorkerFacts:
    return open_worker(work, f"{work.run}@{dask_worker.address}")


def _close_here(run: str, dask_worker: Any = None) -> None:
    close_worker(run, f"{run}@{dask_worker.address}")


def _itself(job: Reduction) -> Reduction:
    return job


class ClusterBackend:
    """Runs partitions on the workers of a Dask cluster."""

    def __init__(self, client: Client) -> None:
        if client.asynchronous:
            raise InputError(
                "the active Dask client is asynchronous, and a fit blocks: create it with "
                "Client(..., asynchronous=False), or make it not the default client"
            )
        self._client = client
        self._threads: dict[str, int] = {}
        self._opened: set[str] = set()
        self._looked = 0.0
        self._counter = count()
        self.memory_limit = int(MEMORY_LIMIT)

    @property
    def n_threads(self) -> int:
        return sum(self._threads.values())

    @property
    def n_processes(self) -> int:
        return len(self._threads)

    def open(self, work: Work) -> None:
        self._look(work)
        self._await_workers(work)

    def close(self, work: Work) -> None:
        """Let the workers forget the run; those that are gone have forgotten it already."""
        self._client.run(_close_here, work.run, workers=list(self._threads), on_error="ignore")

    def run(
        self,
        work: Work,
        job: Reduction,
        cut: Cut,
        only: list[int] | None,
        on_rows: Callable[[int], None],
    ) -> tuple[list[Outcome], int]:
        """All outcomes, and how many tasks it took."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._look(work)
        argument = self._ship(job)
        title = type(job).__name__.lower()
        pending = {
            self._submit(work, argument, attempt, title): attempt
            for attempt in self._assign(cut, only)
        }
        outcomes: list[Outcome] = []
        tasks = len(pending)
        try:
            while pending:
                more = self._collect(work, pending, outcomes, on_rows)
                for attempt in more:
                    pending[self._submit(work, argument, attempt, title)] = attempt
                tasks += len(more)
        except BaseException:
            self._client.cancel(list(pending), force=True)
            raise
        return outcomes, tasks

    def _collect(
        self,
        work: Work,
        pending: dict[Future, _Attempt],
        outcomes: list[Outcome],
        on_rows: Callable[[int], None],
    ) -> list[_Attempt]:
        """Take what is done out of ``pending`` and into ``outcomes``; return what must run next."""
        try:
            done = wait(list(pending), timeout=LOOK_SECONDS).done
        except TimeoutError:
            done = {future for future in pending if future.done()}
        except CancelledError:
            done = set(pending)
        good = [future for future in done if future.status == "finished"]
        more = []
        for future, outcome in zip(good, self._gather(good), strict=True):
            attempt = pending.pop(future)
            if outcome is None:
                more.append(self._again(work, attempt, None))
                continue
            outcomes.append(outcome)
            on_rows(outcome.done.n_rows)
            if outcome.rest is not None:
                more.append(_Attempt(outcome.rest, attempt.owner, 1))
        for future in done.difference(good):
            more.append(self._again(work, pending.pop(future), _lost(future)))
        return more + self._orphans(work, pending)

    def _gather(self, futures: list[Future]) -> list[Outcome | None]:
        """Results; None for each that was lost with its worker before it arrived."""
        try:
            return list(self._client.gather(futures))
        except _LOST:
            return [None] * len(futures)

    def _orphans(self, work: Work, pending: dict[Future, _Attempt]) -> list[_Attempt]:
        """Attempts whose owner has left: a pinned task would wait for it for ever."""
        if time.monotonic() - self._looked < LOOK_SECONDS or not pending:
            return []
        self._look(work)
        gone = [f for f, attempt in pending.items() if attempt.owner not in self._threads]
        if gone:
            self._client.cancel(gone, force=True)
        return [self._again(work, pending.pop(future), None) for future in gone]

    def _again(self, work: Work, attempt: _Attempt, cause: BaseException | None) -> _Attempt:
        if attempt.number >= MAX_ATTEMPTS:
            raise EngineError(
                f"blocks {attempt.part.low} to {attempt.part.high} were lost with their worker "
                f"{attempt.number} times: look at the workers' logs, memory is the usual reason"
            ) from cause
        self._look(work)
        self._await_workers(work)
        owners = sorted(self._threads)
        owner = owners[(attempt.part.low + attempt.number) % len(owners)]
        return _Attempt(attempt.part, owner, attempt.number + 1)

    def _assign(self, cut: Cut, only: list[int] | None) -> list[_Attempt]:
        """Even runs of blocks, in the workers' order: with the same workers, the same owners."""
        seats = [
            a for a in sorted(self._threads) for _ in range(TASKS_PER_THREAD * self._threads[a])
        ]
        parts = partitions(cut, self.n_threads)
        runs = [[part] for part in parts] if only is None else within(parts, only)
        return [
            _Attempt(part, seats[i * len(seats) // len(parts)], 1)
            for i, run in enumerate(runs)
            for part in run
        ]

    def _submit(self, work: Work, argument: Any, attempt: _Attempt, title: str) -> Future:
        key = f"{title}-{work.run}-{next(self._counter)}"
        return self._client.submit(
            run_partition, work, argument, attempt.part,
            key=key, workers=[attempt.owner], allow_other_workers=False, pure=False, retries=0,
        )  # fmt: skip

    def _ship(self, job: Reduction) -> Any:
        size = sum(v.nbytes for v in vars(job).values() if isinstance(v, np.ndarray))
        if size <= BROADCAST_BYTES:
            return job
        return self._client.submit(_itself, job, key=f"broadcast-{id(job)}-{next(self._counter)}")

    def _look(self, work: Work) -> None:
        """See who is there, and set up who is new."""
        self._looked = time.monotonic()
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {})
        here = {a: w["nthreads"] for a, w in workers.items() if w.get("status") != "closing"}
        self._opened &= set(here)
        new = sorted(set(here) - self._opened)
        if new:
            facts = self._client.run(_open_here, work, workers=new, on_error="return")
            self._opened |= {
                address for address in new if _agrees(address, facts.get(address), work)
            }
        self._threads = {a: n for a, n in here.items() if a in self._opened}
        limits = [w["memory_limit"] for w in workers.values() if w["memory_limit"]]
        self.memory_limit = min(limits, default=int(MEMORY_LIMIT))

    def _await_workers(self, work: Work) -> None:
        deadline = time.monotonic() + NO_WORKER_SECONDS
        while not self._threads:
            if time.monotonic() > deadline:
                raise EngineError(
                    f"no worker for {NO_WORKER_SECONDS:.0f} s at {self._client.scheduler.address}: "
                    "start workers and run again"
                )
            time.sleep(LOOK_SECONDS)
            self._look(work)


def _lost(future: Future) -> BaseException:
    """The reason a future failed, if it is the cluster's; an error of the task itself is raised."""
    if future.status in ("cancelled", "lost"):
        return CancelledError(future.key)
    error: BaseException = future.exception()
    if isinstance(error, _LOST):
        return error
    raise error


def _agrees(address: str, facts: Any, work: Work) -> bool:
    """Whether a worker answered; raises when it has other data or other versions."""
    if not isinstance(facts, WorkerFacts):
        if isinstance(facts, InputError):
            raise InputError(f"worker {address}: {facts}") from facts
        return False
    here = work.reader.identity()
    if facts.identity != here:
        raise EngineError(
            f"worker {address} sees another build at {work.reader.token}: {facts.identity} instead "
            f"of {here}; give a path that is the same file system on every worker"
        )
    differing = {k: v for k, v in facts.versions.items() if versions().get(k) != v}
    if differing:
        raise EngineError(
            f"worker {address} has {differing} where the driver has "
            f"{ {k: versions().get(k) for k in differing} }: install the same versions on both"
        )
    return True
