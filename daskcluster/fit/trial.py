"""A fit of some blocks, timed: what a fit of all of them takes is told from it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from daskcluster.engine import Asking, Session
from daskcluster.engine.some import SomeBlocks
from daskcluster.fit.checkpoint import NoTrail
from daskcluster.fit.data import Dataset
from daskcluster.fit.ledger import Ledger
from daskcluster.fit.options import Options
from daskcluster.fit.restart import Shared, hard_restart, soft_restart
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.sampling import Nothing, Sample
from daskcluster.sizing import Cut

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """Of a piece of work."""

    seconds: float = 0.0
    nbytes: float = 0.0
    """Decoded."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, self.nbytes + other.nbytes)

    def __mul__(self, times: float) -> "Cost":
        return Cost(self.seconds * times, self.nbytes * times)


@dataclass(frozen=True)
class Timed:
    """One reduction of a trial."""

    title: str
    cost: Cost
    whole: bool
    """Over all blocks of the trial, and not over some that would be as few in all of the data."""


@dataclass
class Stage:
    """What a computation of a trial took, until its end or its limit."""

    passes: list[Timed] = field(default_factory=list)
    driver: float = 0.0
    """Seconds beside the passes."""
    value: Any = None
    ended: bool = False

    def named(self, title: str) -> list[Timed]:
        """The passes of titles that begin so."""
        return [timed for timed in self.passes if timed.title.startswith(title)]


def some_blocks(data: Dataset, cut: Cut, n: int) -> Dataset:
    """``n`` blocks of a cut as data of their own, evenly spread."""
    indices = np.unique(np.linspace(0, len(cut) - 1, n).astype(int)).tolist()
    blocks = tuple(map(cut.block, indices))
    n_rows = sum(block.stop - block.start for block in blocks)
    weights = None
    if data.weights is not None:
        weights = np.concatenate([data.weights[b.start : b.stop] for b in blocks])
    return replace(
        data,
        n_rows=n_rows,
        reader=SomeBlocks(data.reader, blocks),
        cut=Cut(n_rows, cut.rows_per_block),
        weights=weights,
        stored=None if data.stored is None else -(-data.stored * n_rows // data.n_rows),
    )


class Trial:
    """Times reductions over some blocks, and says what they would take over all.

    Parameters
    ----------
    session : Session
        Over the blocks.
    whole : Session
        Over all of the data, on the workers that are to do it.
    task_seconds : float
        What each task of theirs costs beside its work; nothing where the session's cost it too.
    """

    def __init__(self, session: Session, whole: Session, task_seconds: float) -> None:
        self.session = session
        blocks = min(len(whole.cut) / whole.n_threads, float(len(whole.cut)))
        # No thread has less than a block, and what is left over one of them does alone.
        busiest = np.ceil(blocks) if blocks < 8 else blocks
        own = np.ceil(len(session.cut) / session.n_threads)
        self._times = float(max(busiest, 1.0) / own)
        self._share = whole.data_bytes / session.data_bytes
        self._idle = 0.0
        self._tasks = whole.n_tasks_a_pass * task_seconds

    def warm(self) -> None:
        """See what a pass costs that does nothing, on workers that are set up."""
        for _ in range(2):
            self._idle = self.timed(Nothing(), "nothing").cost.seconds

    def timed(self, job: Any, title: str, blocks: list[int] | None = None) -> Timed:
        """One reduction."""
        return self.answered(job, title, blocks)[0]

    def answered(self, job: Any, title: str, blocks: list[int] | None = None) -> tuple[Timed, Any]:
        """One reduction, and what comes of it."""
        before, began = self.session.bytes_decoded, time.perf_counter()
        answer = self.session.reduce(job, title, blocks, told=False)
        took = Cost(time.perf_counter() - began, self.session.bytes_decoded - before)
        return Timed(title, took, blocks is None), answer

    def aside(self, call: Callable[[], T]) -> tuple[T, Timed]:
        """What a call does over the session, and what it takes as one pass."""
        before, began = self.session.bytes_decoded, time.perf_counter()
        value = call()
        took = Cost(time.perf_counter() - began, self.session.bytes_decoded - before)
        return value, Timed("", took, whole=True)

    @property
    def idle(self) -> float:
        """Seconds of a pass over all that does nothing."""
        return self._idle + self._tasks

    @cached_property
    def read(self) -> Cost:
        """One pass over all of the data that only reads."""
        return self.over_all(self.timed(Sample(np.empty(0, dtype=np.int64)), "read"))

    def over_all(self, timed: Timed) -> Cost:
        """What a reduction would take over all of the data."""
        if not timed.whole:
            return timed.cost
        seconds = max(timed.cost.seconds - self._idle, 0.0) * self._times
        return Cost(seconds + self.idle, timed.cost.nbytes * self._share)

    def reading(self, cost: Cost) -> float:
        """The seconds of a pass over all that went by with reading."""
        whole = self.session.data_bytes * self._share
        return min(self.read.seconds * min(cost.nbytes / whole, 1.0), cost.seconds)

    def run(self, computation: Asking[Any], seconds: float, most: int | None = None) -> Stage:
        """A computation, to its end or until its next pass after some seconds or passes."""
        stage, began, answer = Stage(), time.perf_counter(), None
        while True:
            try:
                ask = computation.send(answer)
            except StopIteration as end:
                stage.value, stage.ended = end.value, True
                break
            over = time.perf_counter() - began > seconds
            if over or (most is not None and len(stage.passes) >= most):
                computation.close()
                break
            timed, answer = self.answered(ask.job, ask.title, ask.blocks)
            stage.passes.append(timed)
        passing = sum(timed.cost.seconds for timed in stage.passes)
        stage.driver = time.perf_counter() - began - passing
        return stage


def iterations(shared: Shared, options: Options, centers: Floats, n: int) -> Asking[Any]:
    """So many iterations from given centres, and the labels after them."""
    given = replace(options, init=centers, n_init=1, max_iter=n, tol=0.0)
    page = Ledger(shared.session, NoTrail(), {}).page(0)
    return (hard_restart if options.beta is None else soft_restart)(shared, given, page, {})


def total(costs: list[Cost], n: int, tail: Callable[[int], Cost]) -> Cost:
    """The first ``n`` of passes of which the first are known: ``tail(i)`` is the i-th, from 1."""
    known = sum(costs[:n], Cost())
    return sum((tail(i) for i in range(len(costs) + 1, n + 1)), known)


def mean(costs: list[Cost]) -> Cost:
    """Their mean; nothing where there are none."""
    return sum(costs, Cost()) * (1 / len(costs)) if costs else Cost()
