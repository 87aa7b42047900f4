"""What runs inside a task: read ahead, step through the blocks, merge, stop after a while."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, reduce
from importlib.metadata import version
from typing import Any, Protocol

from daskcluster.engine.blas import BLAS
from daskcluster.engine.memory import MEMORY, Forgotten
from daskcluster.engine.protocols import Reader, Reduction, Rows
from daskcluster.sizing import Block, Partition

# A task ends after this long and is followed by the next range, so that progress, stop flags and
# retries stay fine-grained on huge data.
TASK_SECONDS = 20.0
# Most of them wait for storage; those that decode take their turns on the cores.
_MOST_READERS = 64


@dataclass(frozen=True)
class Work:
    """All that a task needs beside its reduction and its blocks."""

    run: str
    reader: Reader
    budget: int
    """Bytes of decoded blocks that the process may keep."""
    ahead: int = 1
    """Blocks that a task may have read, or be reading, before it needs them."""
    share: float = 0.0
    """The part of the data that the budgets hold: of each block so many rows, where below 1."""


@dataclass(frozen=True)
class OpenedReader:
    """Stands in a task for a heavy reader that its worker has opened already."""

    token: str
    in_memory = False

    def read(self, block: Block) -> Rows:
        raise Forgotten(self.token)

    def identity(self) -> str:
        raise Forgotten(self.token)


@dataclass(frozen=True)
class Outcome:
    """What a task returns."""

    partial: Any
    done: tuple[Partition, ...]
    rest: tuple[Partition, ...]
    """The blocks it did not get to in its time."""
    bytes_decoded: int
    n_tasks: int = 1
    rows_asked: int = 0
    """Rows that were not spared."""


class Taker(Protocol):
    """Takes the outcomes of a pass as they arrive."""

    title: str
    """Of the pass."""

    def rows(self, n_rows: int, n_bytes: int) -> None:
        """So many rows more are through, for which so much was decoded; called from any thread."""

    def take(self, outcome: Outcome) -> None:
        """Add an outcome."""


def run_partition(
    work: Work,
    job: Reduction,
    blocks: Partition,
    stops: Callable[[], bool] = lambda: False,
    on_rows: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Reduce the blocks of a partition to one partial, in order."""
    deadline = time.monotonic() + TASK_SECONDS
    reader = open_here(work)
    partial, decoded, asked, reached = None, 0, 0, blocks.low

    def ends() -> bool:
        return time.monotonic() > deadline or stops() or MEMORY.has_ended(work.run)

    for one in _read_ahead(work, reader, job, blocks, ends):
        step, fresh = _step(work, job, one)
        partial = step if partial is None else job.merge(partial, step)
        decoded += fresh
        asked += one.n_asked
        reached = one.block.index + 1
        if on_rows is not None:
            on_rows(one.block.stop - one.block.start, fresh)
    done = Partition(blocks.cut, blocks.low, reached)
    rest = (Partition(blocks.cut, reached, blocks.high),) if reached < blocks.high else ()
    return Outcome(partial, (done,), rest, decoded, rows_asked=asked)


def merge_outcomes(job: Reduction, *outcomes: Outcome) -> Outcome:
    """One outcome of several, merged where they are instead of on the driver."""
    return Outcome(
        reduce(job.merge, (outcome.partial for outcome in outcomes)),
        sum((outcome.done for outcome in outcomes), ()),
        sum((outcome.rest for outcome in outcomes), ()),
        sum(outcome.bytes_decoded for outcome in outcomes),
        sum(outcome.n_tasks for outcome in outcomes),
        sum(outcome.rows_asked for outcome in outcomes),
    )


@dataclass(frozen=True)
class _Coming:
    """A block on its way."""

    block: Block
    state: Any
    """What its step gets beside its rows."""
    rows: Future[tuple[Rows | None, int]]
    """With the bytes decoded for them."""
    wanted: Any = None
    """Which of the rows its step must see; None for all."""

    @property
    def n_asked(self) -> int:
        return self.block.stop - self.block.start if self.wanted is None else len(self.wanted)


def _step(work: Work, job: Reduction, coming: _Coming) -> tuple[Any, int]:
    batch, fresh = coming.rows.result()
    partial, state = job.step(batch, coming.state)
    if job.state_kind is not None:
        if fresh and _spares(job) and work.share < 1:
            _keep_likely(work, job, coming.block, batch, state)
        MEMORY.put_state((work.run, job.state_kind, coming.block.index), state)
    return partial, fresh


def _spares(job: Reduction) -> bool:
    return bool(getattr(job, "spares", hasattr(job, "ask")))


def _keep_likely(work: Work, job: Any, block: Block, batch: Any, state: Any) -> None:
    n = int(work.share * (block.stop - block.start))
    if n > 0:
        some = batch.pick(job.likely(state, n))
        MEMORY.keep_block(_key(work.reader, block), some, work.budget)


def _read_ahead(
    work: Work, reader: Reader, job: Reduction, blocks: Partition, ends: Callable[[], bool]
) -> Iterator[_Coming]:
    """The blocks in order; the next are read during the step.

    One ahead is enough for a disk; of storage that is far away many must be on their way at once.
    """
    coming = deque([_coming(work, reader, job, blocks.cut.block(blocks.low))])
    following = blocks.low + 1
    ahead = 0 if reader.in_memory else work.ahead
    for block in blocks:
        # What is read already is worked through, so that nothing is read in vain.
        if not ends():
            until = max(min(block.index + 1 + ahead, blocks.high), following)
            new = map(blocks.cut.block, range(following, until))
            coming.extend(_coming(work, reader, job, one) for one in new)
            following = until
        if not coming:
            return
        yield coming.popleft()


def _coming(work: Work, reader: Reader, job: Any, block: Block) -> _Coming:
    """The block to come; at once, and in this thread, where it is in memory or not needed."""
    state = None
    if job.state_kind is not None:
        state = MEMORY.pop_state((work.run, job.state_kind, block.index))
    if not _spares(job):
        return _Coming(block, state, _rows(work, reader, block, None, whole=True))
    asked = job.ask(state)
    rows = _rows(work, reader, block, asked.rows, whole=work.share >= 1)
    return _Coming(block, asked, rows, asked.rows)


def _rows(
    work: Work, reader: Reader, block: Block, wanted: Any, *, whole: bool
) -> Future[tuple[Rows | None, int]]:
    there: Future[tuple[Rows | None, int]] = Future()
    kept = None
    if wanted is None or len(wanted):
        if reader.in_memory:
            kept = reader.read(block)
        elif (kept := MEMORY.get_block(_key(reader, block), wanted)) is None:
            return readers().submit(_load, work, reader, block, whole)
    there.set_result((kept, 0))
    return there


def _load(work: Work, reader: Reader, block: Block, whole: bool) -> tuple[Rows, int]:
    key = _key(reader, block)
    if (kept := MEMORY.get_block(key)) is not None:
        return kept, 0
    batch = reader.read(block)
    if whole:
        MEMORY.keep_block(key, batch, work.budget)
    return batch, batch.nbytes


def _key(reader: Reader, block: Block) -> tuple[str, int, int]:
    return (reader.token, block.start, block.stop)


@cache
def readers() -> ThreadPoolExecutor:
    """Threads of this process that read blocks."""
    return ThreadPoolExecutor(_MOST_READERS, thread_name_prefix="daskcluster-read")


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker says of itself before the first pass."""

    identity: str
    versions: dict[str, str]


@cache
def versions() -> dict[str, str]:
    """Versions that must agree between driver and workers."""
    names = ("daskcluster", "dask", "distributed", "numpy", "scipy", "zarr")
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python} | {name: version(name) for name in names}


def open_here(work: Work) -> Reader:
    """Set this process up for a run, if it is not yet: open the data, limit BLAS."""
    reader = MEMORY.open_run(work.run, work.reader, known=isinstance(work.reader, OpenedReader))
    BLAS.acquire(work.run)
    return reader


def worker_facts(work: Work) -> WorkerFacts:
    """Set this process up for a run, and say what it sees."""
    return WorkerFacts(open_here(work).identity(), versions())


def close_here(run: str) -> None:
    """Undo `open_here`; what still runs of the run ends at its next block."""
    MEMORY.close_run(run)
    BLAS.release(run)
