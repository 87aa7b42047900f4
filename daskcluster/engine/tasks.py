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

from daskcluster.engine.memory import BLAS, MEMORY
from daskcluster.engine.protocols import Reader, Reduction, Sized
from daskcluster.plan import Block, Partition

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


@dataclass(frozen=True)
class Outcome:
    """What a task returns."""

    partial: Any
    done: tuple[Partition, ...]
    rest: tuple[Partition, ...]
    """The blocks it did not get to in its time."""
    bytes_decoded: int
    n_tasks: int = 1


class Taker(Protocol):
    """Takes the outcomes of a pass as they arrive."""

    def rows(self, n_rows: int) -> None:
        """So many rows more are through; called from any thread."""

    def take(self, outcome: Outcome) -> None:
        """Add an outcome."""


def run_partition(
    work: Work,
    job: Reduction,
    blocks: Partition,
    stops: Callable[[], bool] = lambda: False,
    on_rows: Callable[[int], None] | None = None,
) -> Outcome:
    """Reduce the blocks of a partition to one partial, in order."""
    deadline = time.monotonic() + TASK_SECONDS
    reader = open_here(work)
    partial, decoded, reached = None, 0, blocks.low

    def ends() -> bool:
        return time.monotonic() > deadline or stops() or MEMORY.has_ended(work.run)

    for block, batch, fresh in _read_ahead(work, reader, blocks, ends):
        one = _step(work, job, block, batch)
        partial = one if partial is None else job.merge(partial, one)
        decoded += fresh
        reached = block.index + 1
        if on_rows is not None:
            on_rows(block.stop - block.start)
    done = Partition(blocks.cut, blocks.low, reached)
    rest = (Partition(blocks.cut, reached, blocks.high),) if reached < blocks.high else ()
    return Outcome(partial, (done,), rest, decoded)


def merge_outcomes(job: Reduction, *outcomes: Outcome) -> Outcome:
    """One outcome of several, merged where they are instead of on the driver."""
    return Outcome(
        reduce(job.merge, (outcome.partial for outcome in outcomes)),
        sum((outcome.done for outcome in outcomes), ()),
        sum((outcome.rest for outcome in outcomes), ()),
        sum(outcome.bytes_decoded for outcome in outcomes),
        sum(outcome.n_tasks for outcome in outcomes),
    )


def _step(work: Work, job: Reduction, block: Block, batch: Sized) -> Any:
    if job.state_kind is None:
        return job.step(batch, None)[0]
    key = (work.run, job.state_kind, block.index)
    partial, state = job.step(batch, MEMORY.pop_state(key))
    MEMORY.put_state(key, state)
    return partial


def _read_ahead(
    work: Work, reader: Reader, blocks: Partition, ends: Callable[[], bool]
) -> Iterator[tuple[Block, Sized, int]]:
    """Blocks with their rows and the bytes decoded for them; the next are read during the step.

    One ahead is enough for a disk; of storage that is far away many must be on their way at once.
    """
    coming = deque([_coming(work, reader, blocks.cut.block(blocks.low))])
    following = blocks.low + 1
    ahead = 0 if reader.in_memory else work.ahead
    for block in blocks:
        # What is read already is worked through, so that nothing is read in vain.
        if not ends():
            until = max(min(block.index + 1 + ahead, blocks.high), following)
            new = map(blocks.cut.block, range(following, until))
            coming.extend(_coming(work, reader, one) for one in new)
            following = until
        if not coming:
            return
        batch, fresh = coming.popleft().result()
        yield block, batch, fresh


def _coming(work: Work, reader: Reader, block: Block) -> Future[tuple[Sized, int]]:
    """The block to come; at once, and in this thread, where it is in memory."""
    there: Future[tuple[Sized, int]] = Future()
    if reader.in_memory:
        there.set_result((reader.read(block), 0))
        return there
    kept = MEMORY.get_block((reader.token, block.start, block.stop))
    if kept is None:
        return _readers().submit(_load, work, reader, block)
    there.set_result((kept, 0))
    return there


def _load(work: Work, reader: Reader, block: Block) -> tuple[Sized, int]:
    key = (reader.token, block.start, block.stop)
    if (kept := MEMORY.get_block(key)) is not None:
        return kept, 0
    batch = reader.read(block)
    MEMORY.keep_block(key, batch, work.budget)
    return batch, batch.nbytes


@cache
def _readers() -> ThreadPoolExecutor:
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
    reader = MEMORY.open_run(work.run, work.reader)
    BLAS.acquire(work.run)
    return reader


def worker_facts(work: Work) -> WorkerFacts:
    """Set this process up for a run, and say what it sees."""
    return WorkerFacts(open_here(work).identity(), versions())


def close_here(run: str) -> None:
    """Undo `open_here`; what still runs of the run ends at its next block."""
    MEMORY.close_run(run)
    BLAS.release(run)
