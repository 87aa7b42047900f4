"""Who is there: the workers of a run, each set up once, looked after by the driver."""

import logging
import time
from contextlib import suppress
from typing import Any

from distributed import Client
from distributed.comm import CommClosedError
from distributed.system import MEMORY_LIMIT

from daskcluster.engine.aside import aside, give_up
from daskcluster.engine.stopping import Stop
from daskcluster.engine.tasks import Work, WorkerFacts, close_here, versions, worker_facts
from daskcluster.errors import ClusterLost, EngineError, InputError
from daskcluster.settings import seconds

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
CLOSE_SECONDS = 5.0
REMIND_SECONDS = 60.0


class Members:
    """The workers that have opened a run's data, and how many threads each has.

    A worker takes part while the scheduler says that it runs and while its heartbeats arrive: one
    that is stopped, or cut off, keeps its connection for minutes and would be waited for.
    """

    def __init__(self, client: Client, stop: Stop) -> None:
        self._client = client
        self._stop = stop
        self._address = client.scheduler.address
        self._opened: set[str] = set()
        self._refused: dict[str, BaseException] = {}
        self._heard: dict[str, tuple[float, float]] = {}
        self._silent: set[str] = set()
        self._looked = 0.0
        self.silences = 0
        """How often a worker has fallen silent."""
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
        workers = self._ask()
        here = self._able(workers)
        new = sorted(set(here) - self._opened - set(self._refused))
        if new:
            self._open(work, new)
        before = set(self.threads)
        self.threads = {a: n for a, n in here.items() if a in self._opened - self._silent}
        for address in sorted(before ^ set(self.threads)):
            _LOG.info("worker %s %s the run", address, "leaves" if address in before else "joins")
        limits = [w["memory_limit"] for w in workers.values() if w["memory_limit"]]
        self.memory_limit = min(limits, default=int(MEMORY_LIMIT))
        self._looked = time.monotonic()

    def open_again(self, work: Work) -> None:
        """Set all workers up once more: one of them has forgotten what it had open."""
        self._opened.clear()
        self.look(work)

    def wait(self, work: Work, *, at_start: bool = False) -> None:
        """Look until a worker is there.

        At the start, when workers may still be in a batch system's queue, for as long as it takes;
        later `ClusterLost` is raised after a while without one.
        """
        limit = seconds("no-worker-timeout")
        began = time.monotonic()
        reminded = -REMIND_SECONDS
        self.look(work)
        while not self.threads:
            waited = time.monotonic() - began
            if not at_start and waited > limit:
                raise ClusterLost(f"no worker for {limit:.0f} s at {self._address}: start workers")
            if at_start and waited - reminded >= REMIND_SECONDS:
                reminded = waited
                _LOG.warning(
                    "no worker yet at %s: waiting; start some with `dask worker %s`",
                    self._address, self._address,
                )  # fmt: skip
            self._stop.check()
            time.sleep(LOOK_SECONDS)
            self.look(work)

    def close(self, run: str) -> None:
        """Let the workers forget the run; those that are gone have forgotten it already."""

        def forget() -> None:
            known = self._opened.union(self._refused) - self._silent
            there = known & set(self._client.scheduler_info(n_workers=-1).get("workers", {}))
            if there:
                self._client.run(close_here, run, workers=sorted(there), on_error="ignore")

        # A worker that dies just now would be waited for as long as Dask waits to connect.
        with suppress(Exception):
            if self._client.status == "running":
                aside(forget, CLOSE_SECONDS, give_up)

    def _ask(self) -> dict[str, Any]:
        """What the scheduler says of its workers, with a limit to waiting for its answer."""
        deadline = time.monotonic() + seconds("no-worker-timeout")

        def check() -> None:
            self._stop.check()
            if self._client.status == "closed" or time.monotonic() > deadline:
                raise ClusterLost(f"the scheduler at {self._address} is gone: start it")

        # After a broken connection the client tries for a while to make a new one.
        while self._client.status != "running":
            check()
            time.sleep(LOOK_SECONDS / 10)
        info = aside(lambda: self._client.scheduler_info(n_workers=-1), LOOK_SECONDS, check)
        return dict(info.get("workers", {}))

    def _able(self, workers: dict[str, Any]) -> dict[str, int]:
        """Threads of the workers that take tasks and will end them."""
        self._listen(workers)
        self._opened &= set(workers)
        self._refused = {a: error for a, error in self._refused.items() if a in workers}
        # A paused worker takes no tasks, and one that closes will not end them.
        running = {a: w["nthreads"] for a, w in workers.items() if w["status"] == "running"}
        return {a: n for a, n in running.items() if a not in self._silent}

    def _listen(self, workers: dict[str, Any]) -> None:
        """Note whose heartbeats have stopped. Only this process's clock is used."""
        now = time.monotonic()
        limit = seconds("silent-timeout")
        for address, worker in workers.items():
            beat = worker["last_seen"]
            if self._heard.get(address, (None, now))[0] != beat:
                self._heard[address] = (beat, now)
        self._heard = {a: heard for a, heard in self._heard.items() if a in workers}
        silent = {a for a, (_, heard) in self._heard.items() if now - heard > limit}
        for address in silent - self._silent:
            self.silences += 1
            _LOG.warning("worker %s is silent: its blocks go to others", address)
        self._silent = silent

    def _open(self, work: Work, new: list[str]) -> None:
        """Set workers up; one with other data or versions is left out, an error if all are."""

        def look() -> None:
            if not set(new) <= set(self._able(self._ask())):
                raise CommClosedError

        try:
            facts = aside(
                lambda: self._client.run(worker_facts, work, workers=new, on_error="return"),
                LOOK_SECONDS, look,
            )  # fmt: skip
        except CommClosedError:  # somebody left: the next look asks the others
            return
        for address in new:
            answer = _judge(address, facts.get(address), work)
            if isinstance(answer, BaseException):
                self._refused[address] = answer
                _LOG.warning("worker left out: %s", answer)
            elif answer:
                self._opened.add(address)
        if self._refused and not self._opened:
            raise next(iter(self._refused.values()))


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
