"""Dask's schedulers in this process: threads, or the synchronous one where Dask is set to it."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dask
import dask.threaded
from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT

from daskcluster.engine.protocols import Reduction
from daskcluster.engine.stopping import Stop
from daskcluster.engine.tasks import Outcome, Taker, Work, close_here, run_partition, worker_facts
from daskcluster.sizing import TASKS_PER_THREAD, Cut, partitions, within

_IN_THIS_THREAD = ("synchronous", "sync", "single-threaded")


class ThreadBackend:
    """Runs partitions on threads of this process."""

    blocks_per_thread = 1
    tasks_per_thread = TASKS_PER_THREAD

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._alone = dask.config.get("scheduler", None) in _IN_THIS_THREAD
        self.n_threads = (
            1 if self._alone else int(dask.config.get("num_workers", None) or CPU_COUNT)
        )
        self.memory_limit = int(MEMORY_LIMIT)
        self.n_processes = 1

    def open(self, work: Work) -> None:
        worker_facts(work)

    def close(self, work: Work) -> None:
        close_here(work.run)

    def run(
        self,
        work: Work,
        job: Reduction,
        cut: Cut,
        only: list[int] | None,
        tally: Taker,
    ) -> None:
        """Reduce all blocks, or those named, into ``tally``."""
        failed = threading.Event()

        def stops() -> bool:
            return failed.is_set() or self._stop.reason is not None

        self._stop.check()
        if hasattr(job, "prepare"):
            job.prepare()
        todo = partitions(cut, self.n_threads)
        if only is not None:
            todo = [run for runs in within(todo, only) for run in runs]
        while todo:
            self._stop.check()
            calls = [partial(run_partition, work, job, part, stops, tally.rows) for part in todo]
            finished = self._call(calls, failed)
            for outcome in finished:
                tally.take(outcome)
            todo = [part for outcome in finished for part in outcome.rest]

    def _call(
        self, calls: Sequence[Callable[[], Outcome]], failed: threading.Event
    ) -> list[Outcome]:
        running = _Running()
        graph: dict[Any, Any] = {
            ("daskcluster", i): (partial(running.count, call),) for i, call in enumerate(calls)
        }
        try:
            if self._alone:
                return list(dask.get(graph, list(graph)))
            return list(dask.threaded.get(graph, list(graph), num_workers=self.n_threads))
        except BaseException:
            # An error, or Ctrl-C, ends Dask's call and not the other threads: they stop at their
            # next block, and whoever cleans up must not meet them.
            failed.set()
            running.wait()
            raise


class _Running:
    """Counts the tasks that run now."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n = 0
        self._ended = False

    def count(self, call: Callable[[], Outcome]) -> Outcome:
        with self._changed:
            if self._ended:
                raise RuntimeError("the run has ended")
            self._n += 1
        try:
            return call()
        finally:
            with self._changed:
                self._n -= 1
                self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.wait_for(lambda: self._n == 0)
