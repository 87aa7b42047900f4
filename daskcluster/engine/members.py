"""Who is there: the workers of a run, each set up once, looked after by the driver."""

import threading
import time
from functools import partial
from typing import Any

from distributed import Client
from distributed.system import MEMORY_LIMIT

from daskcluster.engine.tasks import Work, WorkerFacts, close_worker, open_worker, versions
from daskcluster.errors import EngineError, InputError

NO_WORKER_SECONDS = 60.0
LOOK_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class Members:
    """The workers that have opened a run's data, and how many threads each has."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._opened: set[str] = set()
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
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {})
        here = {a: w["nthreads"] for a, w in workers.items() if w.get("status") != "closing"}
        self._opened &= set(here)
        new = sorted(set(here) - self._opened)
        if new:
            facts = self._client.run(_open_here, work, workers=new, on_error="return")
            self._opened |= {a for a in new if _agrees(a, facts.get(a), work)}
        self.threads = {a: n for a, n in here.items() if a in self._opened}
        limits = [w["memory_limit"] for w in workers.values() if w["memory_limit"]]
        self.memory_limit = min(limits, default=int(MEMORY_LIMIT))

    def wait(self, work: Work) -> None:
        """Look until a worker is there; raises `EngineError` after a while without one."""
        self.look(work)
        deadline = time.monotonic() + NO_WORKER_SECONDS
        while not self.threads:
            if time.monotonic() > deadline:
                raise EngineError(
                    f"no worker for {NO_WORKER_SECONDS:.0f} s at {self._client.scheduler.address}: "
                    "start workers and run again"
                )
            time.sleep(LOOK_SECONDS)
            self.look(work)

    def close(self, run: str) -> None:
        """Let the workers forget the run; those that are gone have forgotten it already."""
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {})
        there = [address for address in self.threads if address in workers]
        # A worker that dies just now would be waited for as long as Dask waits to connect.
        call = partial(self._client.run, _close_here, run, workers=there, on_error="ignore")
        closing = threading.Thread(target=call, name="daskcluster-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def _open_here(work: Work, dask_worker: Any = None) -> WorkerFacts:
    return open_worker(work, f"{work.run}@{dask_worker.address}")


def _close_here(run: str, dask_worker: Any = None) -> None:
    close_worker(run, f"{run}@{dask_worker.address}")


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
