"""Workers of a Dask cluster: every block has an owner, and what is lost is done again."""

import logging
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import count, takewhile
from typing import Any

from distributed import Client, Future, KilledWorker, wait
from distributed.comm import CommClosedError

from daskcluster.engine import members
from daskcluster.engine.aside import aside, give_up
from daskcluster.engine.members import Members
from daskcluster.engine.memory import Forgotten
from daskcluster.engine.protocols import Reduction
from daskcluster.engine.stopping import Stop
from daskcluster.engine.tasks import (
    OpenedReader,
    Outcome,
    Taker,
    Work,
    merge_outcomes,
    run_partition,
)
from daskcluster.errors import ClusterLost, EngineError, InputError, Stopped
from daskcluster.sizing import (
    TASKS_PER_THREAD,
    Cut,
    Partition,
    partitions,
    tasks_per_thread,
    within,
)

_LOG = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
# Larger arguments would pass through the scheduler once a task; as a future they do once, but wait
# for one worker to send them to the others: for few tasks that takes longer.
BROADCAST_BYTES = 64 * 1024
FEW_BYTES = 1024 * 1024
# Partials go straight to the driver while they are small in total, through a tree above that.
STRAIGHT_BYTES = 64 * 2**20
FAN_IN = 8
CANCEL_SECONDS = 5.0

_GONE = ("cancelled", "lost")
_LOST = (KilledWorker, CancelledError, CommClosedError)


@dataclass(frozen=True)
class _Attempt:
    part: Partition
    owner: str
    number: int = 1


@dataclass
class _Pass:
    """One reduction on its way."""

    work: Work
    reduction: Reduction
    title: str
    n_tasks: int
    """How many it begins with."""
    job: Any = None
    """The reduction itself, or a future of it."""
    silences: int = 0
    """How often a worker had fallen silent when that future was made."""
    earlier: list[Future] = field(default_factory=list)
    """Futures of it that tasks may still wait for."""


def _itself(job: Reduction) -> Reduction:
    return job


class ClusterBackend:
    """Runs partitions on the workers of a Dask cluster."""

    blocks_per_thread = TASKS_PER_THREAD  # a worker that comes late is given some

    def __init__(self, client: Client, stop: Stop) -> None:
        if client.asynchronous:
            raise InputError(
                "the active Dask client is asynchronous, and a fit blocks: create it with "
                "Client(..., asynchronous=False), or make it not the default client"
            )
        self._client = client
        self._stop = stop
        self._members = Members(client, stop)
        self._counter = count()

    @property
    def n_threads(self) -> int:
        return sum(self._members.threads.values())

    @property
    def n_processes(self) -> int:
        return len(self._members.threads)

    @property
    def memory_limit(self) -> int:
        return self._members.memory_limit

    @property
    def tasks_per_thread(self) -> int:
        return tasks_per_thread(max(self._members.threads.values()))

    def open(self, work: Work) -> None:
        self._members.wait(work, at_start=True)

    def close(self, work: Work) -> None:
        self._members.close(work.run)

    def run(
        self,
        work: Work,
        job: Reduction,
        cut: Cut,
        only: list[int] | None,
        tally: Taker,
    ) -> None:
        """Reduce all blocks, or those named, into ``tally``."""
        self._members.look_if_due(work)
        if not self._members.threads:
            self._members.wait(work)
        pending: dict[Future, _Attempt] = {}
        try:
            todo = self._assign(cut, only)
            step = self._ship(_Pass(work, job, key_prefix(tally.title), len(todo)))
            large = getattr(job, "partial_nbytes", 0) * len(todo) > STRAIGHT_BYTES
            take = self._through_a_tree if large else self._straight
            while todo or pending:
                pending |= {self._submit(step, attempt): attempt for attempt in todo}
                outcomes, todo = take(step, pending)
                for outcome in outcomes:
                    n_rows = sum(part.n_rows for part in outcome.done)
                    tally.rows(n_rows, outcome.bytes_decoded)
                    tally.take(outcome)
        except BaseException as error:
            self._cancel(list(pending))
            if self._client.status == "closed" and not isinstance(error, Stopped):
                raise ClusterLost(f"the scheduler is gone ({error}): start it") from error
            raise

    def _straight(
        self, step: _Pass, pending: dict[Future, _Attempt]
    ) -> tuple[list[Outcome], list[_Attempt]]:
        """Take what is done out of ``pending``; return its outcomes, and what must run next."""
        finished, todo = self._finished(step, pending)
        owners = {attempt.owner for attempt in finished.values()}
        outcomes = self._gather(step, list(finished), owners)
        if outcomes is None:
            self._cancel(list(finished))
            self._members.wait(step.work)
            return [], todo + [self._again(step, attempt) for attempt in finished.values()]
        for outcome, attempt in zip(outcomes, finished.values(), strict=True):
            todo += [_Attempt(part, attempt.owner) for part in outcome.rest]
        return outcomes, todo

    def _through_a_tree(
        self, step: _Pass, pending: dict[Future, _Attempt]
    ) -> tuple[list[Outcome], list[_Attempt]]:
        """The same for large partials: wait for all, merge on the workers, gather what is left."""
        finished: dict[Future, _Attempt] = {}
        outcomes: list[Outcome] | None = None
        merges = 0
        while outcomes is None:
            while pending:
                some, todo = self._finished(step, pending)
                finished |= some
                pending |= {self._submit(step, attempt): attempt for attempt in todo}
            # A result may be lost while others are waited for: nobody would make it again.
            pending |= self._lost(step, finished)
            if pending:
                continue
            if merges == MAX_ATTEMPTS:
                raise EngineError(
                    f"results of {step.title} were lost {merges} times while they were merged: "
                    "look at the workers' logs, memory is the usual reason"
                )
            merges += 1
            outcomes = self._merge(step, list(finished))
        owners = sorted(self._members.threads)
        rest = [part for outcome in outcomes for part in outcome.rest]
        return outcomes, [_Attempt(p, owners[i % len(owners)]) for i, p in enumerate(rest)]

    def _lost(self, step: _Pass, finished: dict[Future, _Attempt]) -> dict[Future, _Attempt]:
        """Take out of ``finished`` what left with its owner or scheduler, and begin it again."""
        self._stop.check()
        self._members.wait(step.work)
        there = self._members.threads
        gone = [f for f, a in finished.items() if a.owner not in there or f.status != "finished"]
        self._cancel(gone)
        again = [self._again(step, finished.pop(future)) for future in gone]
        return {self._submit(step, attempt): attempt for attempt in again}

    def _merge(self, step: _Pass, futures: list[Future]) -> list[Outcome] | None:
        """Merge groups until few are left; None when a worker was lost on the way."""
        there = set(self._members.threads)
        while len(futures) > FAN_IN:
            groups = [futures[i : i + FAN_IN] for i in range(0, len(futures), FAN_IN)]
            futures = [
                self._client.submit(
                    merge_outcomes,
                    self._job(step),
                    *group,
                    key=self._key(step, "merge"),
                    workers=sorted(there),
                    pure=False,
                )
                for group in groups
            ]
            while not all(future.done() for future in futures):
                self._wait(futures)
                # The inputs are pinned: with their worker gone nobody would make them again.
                if self._members.look_if_due(step.work) and not there <= set(self._members.threads):
                    self._cancel(futures)
                    return None
        return self._gather(step, futures, there)

    def _finished(
        self, step: _Pass, pending: dict[Future, _Attempt]
    ) -> tuple[dict[Future, _Attempt], list[_Attempt]]:
        """Wait a while; take out of ``pending`` what is finished, and what is lost to do again."""
        self._wait(list(pending))
        done = [future for future in pending if future.done()]
        finished = {f: pending.pop(f) for f in done if f.status == "finished"}
        reasons = {future: _reason(future) for future in done if future not in finished}
        if any(isinstance(reason, Forgotten) for reason in reasons.values()):
            self._members.open_again(step.work)
        todo = [self._again(step, pending.pop(f), reason) for f, reason in reasons.items()]
        if pending and self._members.look_if_due(step.work):
            todo += self._orphans(step, pending)
        return finished, todo

    def _wait(self, futures: list[Future]) -> None:
        self._stop.check()
        with suppress(TimeoutError, CancelledError):
            wait(futures, timeout=members.LOOK_SECONDS)

    def _gather(
        self, step: _Pass, futures: list[Future], holders: set[str]
    ) -> list[Outcome] | None:
        """Results; None where some were lost with their worker before they arrived."""
        if not futures:
            return []

        def look() -> None:
            self._stop.check()
            self._members.look(step.work)
            if not holders <= set(self._members.threads):
                raise CancelledError

        # Dask would wait for ever for a lost result that only its dead owner may compute again.
        try:
            outcomes = aside(lambda: self._client.gather(futures), members.LOOK_SECONDS, look)
        except _LOST:
            return None
        except BaseException:
            self._cancel(futures)
            raise
        return list(outcomes)

    def _orphans(self, step: _Pass, pending: dict[Future, _Attempt]) -> list[_Attempt]:
        """Attempts whose owner has left: a pinned task would wait for it for ever."""
        there = self._members.threads
        gone = [future for future, attempt in pending.items() if attempt.owner not in there]
        again = [self._again(step, pending[future]) for future in gone]
        if isinstance(step.job, Future) and (
            self._members.silences > step.silences or step.job.status in _GONE
        ):
            # Whoever fetches the reduction from a silent worker waits as long as that is silent.
            stuck = [future for future in pending if future not in gone]
            again += [pending[future] for future in stuck]
            gone += stuck
            self._ship(step)
        self._cancel(gone)
        for future in gone:
            del pending[future]
        return again

    def _cancel(self, futures: list[Future]) -> None:
        # With the scheduler gone there is nothing left to cancel, and another error to tell of.
        with suppress(Exception):
            if futures:
                aside(lambda: self._client.cancel(futures, force=True), CANCEL_SECONDS, give_up)

    def _again(
        self, step: _Pass, attempt: _Attempt, cause: BaseException | None = None
    ) -> _Attempt:
        if attempt.number >= MAX_ATTEMPTS:
            raise EngineError(
                f"blocks {attempt.part.low} to {attempt.part.high} were lost with their worker "
                f"{attempt.number} times: look at the workers' logs, memory is the usual reason"
            ) from cause
        if not self._members.threads:
            self._members.wait(step.work)
        _LOG.info(
            "blocks %d to %d of %s are begun again, attempt %d: %r",
            attempt.part.low, attempt.part.high, step.title, attempt.number + 1, cause,
        )  # fmt: skip
        owners = sorted(self._members.threads)
        owner = owners[(attempt.part.low + attempt.number) % len(owners)]
        return _Attempt(attempt.part, owner, attempt.number + 1)

    def _assign(self, cut: Cut, only: list[int] | None) -> list[_Attempt]:
        """Even runs of blocks, in the workers' order: with the same workers, the same owners."""
        threads = self._members.threads
        per_thread = self.tasks_per_thread
        seats = [a for a in sorted(threads) for _ in range(per_thread * threads[a])]
        parts = partitions(cut, self.n_threads, per_thread)
        runs = [[part] for part in parts] if only is None else within(parts, only)
        return [
            _Attempt(part, seats[i * len(seats) // len(parts)])
            for i, run in enumerate(runs)
            for part in run
        ]

    def _submit(self, step: _Pass, attempt: _Attempt) -> Future:
        work = step.work
        if getattr(work.reader, "heavy", False):
            work = replace(work, reader=OpenedReader(work.reader.token))
        return self._client.submit(
            run_partition, work, self._job(step), attempt.part,
            key=self._key(step, step.title), workers=[attempt.owner], allow_other_workers=False,
            pure=False,
        )  # fmt: skip

    def _key(self, step: _Pass, title: str) -> str:
        return f"{title}-{step.work.run}-{next(self._counter)}"

    def _job(self, step: _Pass) -> Any:
        """The reduction, or a future of it: another one where that has left with its holders."""
        if isinstance(step.job, Future) and step.job.status in _GONE:
            self._ship(step)
        return step.job

    def _ship(self, step: _Pass) -> _Pass:
        step.silences = self._members.silences
        size = _array_bytes(step.reduction)
        if size <= BROADCAST_BYTES or size * step.n_tasks <= FEW_BYTES:
            step.job = step.reduction
            return step
        if step.job is not None:
            step.earlier.append(step.job)
        step.job = self._client.submit(
            _itself, step.reduction, key=self._key(step, "broadcast"),
            # All of these may leave, and others come.
            workers=sorted(self._members.threads), allow_other_workers=True, pure=False,
        )  # fmt: skip
        return step


def key_prefix(title: str) -> str:
    """A pass's title as the dashboard's name of its tasks: one for all iterations.

    Examples
    --------
    >>> key_prefix("iteration 12 of 3 models"), key_prefix("k-means++ draw")
    ('iteration', 'kmeans++_draw')
    """
    words = takewhile(lambda word: not word[0].isdigit(), title.replace("-", "").split())
    return "_".join(words)


def _array_bytes(value: Any) -> int:
    """Bytes of the arrays in a reduction, also in those that it is made of."""
    n_bytes = getattr(value, "nbytes", None)
    if isinstance(n_bytes, int):
        return n_bytes
    if isinstance(value, (tuple, list)):
        return sum(map(_array_bytes, value))
    if not is_dataclass(value):
        return 0
    return sum(_array_bytes(getattr(value, field.name)) for field in fields(value))


def _reason(future: Future) -> BaseException:
    """Why a future failed, if that is the cluster's doing; an error of the task is raised."""
    if future.status in ("cancelled", "lost"):
        return CancelledError(future.key)
    error: BaseException = future.exception()
    if isinstance(error, (*_LOST, Forgotten)):
        return error
    raise error
