"""Who is there: the workers of a run, each set up once, looked after by the driver."""

import logging
import threading
import time
from functools import partial
from typing import Any

from distributed import Client
from distributed.comm import CommClosedError
from distributed.system import MEMORY_LIMIT

from daskcluster.engine.tasks import Work, WorkerFacts, close_worker, open_worker, versions
from daskcluster.errors import EngineError, InputError

_LOG = logging.getLogger("daskcluster")

NO_WORKER_SECONDS = 60.0
LOOK_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class Members:
    """The workers that have opened a run's data, and how many threads each has."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._address = client.scheduler.address
        self._opened: set[str] = set()
        self._refused: dict[str, BaseException] = {}
        self._looked = 0.0
        self.threads: dict[str, int] = {}
        self.memory_limit = int(MEMORY_LIMIT)

    def look_if_due(self, work: Work) -> bool:
        """Look again if the last look is old; says whether it did."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return False
        self.look(work)
        return True

    def look(self, work: Work) -> None:
        """See who is there, and set up who is new."""
        self._looked = time.monotonic()
        if self._client.status != "running":
            raise EngineError(f"the scheduler at {self._address} is gone: start it and run again")
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {})
        # A paused worker takes no tasks, and one that closes will not end them.
        here = {a: w["nthreads"] for a, w in workers.items() if w["status"] == "running"}
        self._opened &= set(here)
        new = sorted(set(here) - self._opened - set(self._refused))
        if new:
            self._open(work, new)
        self.threads = {a: n for a, n in here.items() if a in self._opened}
        limits = [w["memory_limit"] for w in workers.values() if w["memory_limit"]]
        self.memory_limit = min(limits, default=int(MEMORY_LIMIT))

    def _open(self, work: Work, new: list[str]) -> None:
        """Set workers up; one with other data or versions is left out, an error if all are."""
        facts = self._client.run(_open_here, work, workers=new, on_error="return")
        for address in new:
            answer = _judge(address, facts.get(address), work)
            if isinstance(answer, BaseException):
                self._refused[address] = answer
                _LOG.warning("worker left out: %s", answer)
            elif answer:
                self._opened.add(address)
        if self._refused and not self._opened:
            raise next(iter(self._refused.values()))

    def wait(self, work: Work) -> None:
        """Look until a worker is there; raises `EngineError` after a while without one."""
        self.look(work)
        deadline = time.monotonic() + NO_WORKER_SECONDS
        while not self.threads:
            if time.monotonic() > deadline:
                raise EngineError(
                    f"no worker for {NO_WORKER_SECONDS:.0f} s at {self._address}: "
                    "start workers and run again"
                )
            time.sleep(LOOK_SECONDS)
            self.look(work)

    def close(self, run: str) -> None:
        """Let the workers forget the run; those that are gone have forgotten it already."""
        if self._client.status != "running":
            return
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {})
        there = [a for a in self._opened.union(self._refused) if a in workers]
        # A worker that dies just now would be waited for as long as Dask waits to connect.
        call = partial(self._client.run, _close_here, run, workers=there, on_error="ignore")
        closing = threading.Thread(target=call, name="daskcluster-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def _open_here(work: Work, dask_worker: Any = None) -> WorkerFacts:
    return open_worker(work, f"{work.run}@{dask_worker.address}")


def _close_here(run: str, dask_worker: Any = None) -> None:
    close_worker(run, f"{run}@{dask_worker.address}")


def _judge(address: str, facts: Any, work: Work) -> bool | Exception:
    """Whether a worker answered; the error it deserves when it may not take part."""
    if isinstance(facts, InputError):
        return InputError(f"worker {address}: {facts}")
    if isinstance(facts, (OSError, CommClosedError)) or facts is None:
        return False  # it has just left
    if not isinstance(facts, WorkerFacts):
        error = EngineError(f"worker {address} cannot work for this run: {facts!r}")
        error.__cause__ = facts
        return error
    here = work.reader.identity()
    if facts.identity != here:
        return EngineError(
            f"worker {address} sees another build at {work.reader.token}: {facts.identity} instead "
            f"of {here}; give a path that is the same file system on every worker"
        )
    differing = {k: v for k, v in facts.versions.items() if versions().get(k) != v}
    if differing:
        return EngineError(
            f"worker {address} has {differing} where the driver has "
            f"{ {k: versions().get(k) for k in differing} }: install the same versions on both"
        )
    return True
