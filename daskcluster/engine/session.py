"""A run over the blocks of one reader: reductions, passes counted, and the end of it all."""

import logging
import threading
import time
import uuid
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import dask.utils
from distributed import Client, default_client

from daskcluster.engine.cluster import ClusterBackend
from daskcluster.engine.progress import Pass, Progress, Silent, tell, tell_pass
from daskcluster.engine.protocols import Reader, Reduction
from daskcluster.engine.stopping import current_stop
from daskcluster.engine.supposed import SupposedBackend, Workers
from daskcluster.engine.tasks import Outcome, Work
from daskcluster.engine.threads import ThreadBackend
from daskcluster.errors import InputError
from daskcluster.sizing import MOST_READ_AHEAD, Cut, coarser, n_tasks, read_ahead

_LOG = logging.getLogger(__name__)


def parse_bytes(size: str | int | float) -> int:
    """``"2 GiB"`` -> 2147483648, by Dask's rules; refuses what is negative or no size.

    Examples
    --------
    >>> parse_bytes("1 MiB")
    1048576
    """
    try:
        # Dask reads "GB" as one gigabyte; without a number it is more likely a slip.
        if isinstance(size, str) and not any(c.isdigit() for c in size):
            raise ValueError(size)
        n_bytes = int(dask.utils.parse_bytes(size))
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{size!r} is not a size: write it like 512MiB or 2GB") from error
    if n_bytes < 0:
        raise InputError(f"{size!r} is negative; a size is 0 or more")
    return n_bytes


def parse_seconds(time: str | float) -> float:
    """``"1.5h"`` -> 5400.0, by Dask's rules; refuses what is not above 0 or no time.

    Examples
    --------
    >>> parse_seconds("2m")
    120.0
    """
    try:
        seconds = float(dask.utils.parse_timedelta(time))
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise InputError(f"{time!r} is not a time: write it like 90s, 45m or 2h") from error
    if not 0 < seconds < float("inf"):
        raise InputError(f"{time!r}: a time is above 0, and finite")
    return seconds


def active_client() -> Client | None:
    """The Dask client of this process, if there is one."""
    try:
        return default_client()
    except ValueError:
        return None


class Tally:
    """What a pass has come to: one partial, merged as outcomes arrive, and what they cost."""

    def __init__(self, job: Reduction, title: str, n_rows: int, progress: Progress) -> None:
        self._job, self._n_rows, self._progress = job, n_rows, progress
        self._lock = threading.Lock()
        self._seen = 0
        self._began = time.perf_counter()
        self.title = title
        self.partial: Any = None
        self.bytes_decoded = 0
        self.n_tasks = 0
        self.rows_asked = 0

    def rows(self, n_rows: int, n_bytes: int) -> None:
        """So many rows more are through, for which so much was decoded; called from any thread."""
        with self._lock:
            self._seen += n_rows
            tell(self._progress, "decoded", {"bytes": n_bytes})
            self._progress.rows(self.title, self._seen, self._n_rows)

    def take(self, outcome: Outcome) -> None:
        """Add an outcome; merging is exact, so the order does not matter."""
        first = self.partial is None
        self.partial = outcome.partial if first else self._job.merge(self.partial, outcome.partial)
        self.bytes_decoded += outcome.bytes_decoded
        self.n_tasks += outcome.n_tasks
        self.rows_asked += outcome.rows_asked

    def finish(self) -> Pass:
        """What it took until now."""
        seconds = time.perf_counter() - self._began
        return Pass(self.title, self._seen, self.rows_asked, self.bytes_decoded, seconds)


def _backend(
    reader: Reader, workers: Workers | None
) -> ThreadBackend | ClusterBackend | SupposedBackend:
    if workers is not None:
        return SupposedBackend(workers)
    client = None if reader.in_memory else active_client()
    stop = current_stop()
    return ThreadBackend(stop) if client is None else ClusterBackend(client, stop)


class Session:
    """Maps reductions over all blocks: on the active Dask client, else on this process's threads.

    Parameters
    ----------
    reader : Reader
    cut : Cut
        The blocks.
    data_bytes : int
        Decoded bytes of the whole data; what one pass is counted by.
    memory_budget : int, default=0
        Bytes of decoded blocks that each process may keep; see `keep`.
    progress : Progress, optional
    workers : Workers, optional
        Of whom only the sizes are asked: nothing can be reduced.
    """

    def __init__(
        self,
        reader: Reader,
        cut: Cut,
        data_bytes: int,
        *,
        memory_budget: int = 0,
        progress: Progress | None = None,
        workers: Workers | None = None,
    ) -> None:
        self._backend = _backend(reader, workers)
        self._work = Work(uuid.uuid4().hex[:12], reader, memory_budget)
        self.cut = cut
        self.data_bytes = data_bytes
        self.progress = progress or Silent()
        self.bytes_decoded = 0
        self.n_tasks = 0
        self.last = Pass("", 0, 0, 0, 0.0)
        """What the last reduction took."""

    def __enter__(self) -> Self:
        try:
            self._backend.open(self._work)
        except BaseException:
            self._close()
            raise
        self._read_ahead()
        return self

    def _read_ahead(self) -> None:
        block_bytes = self.data_bytes // self.cut.n_rows * self.cut.rows_per_block
        threads = -(-self.n_threads // self.n_processes)
        most = getattr(self._work.reader, "most_ahead", MOST_READ_AHEAD)
        self._work = replace(self._work, ahead=min(read_ahead(block_bytes, threads), most))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        try:
            self._backend.close(self._work)
        finally:
            self.progress.close()

    def recut(self, cut: Cut) -> None:
        """Go on with other blocks of the same rows; before any `reduce`."""
        self.cut = cut
        self._read_ahead()

    def coarser(self) -> Cut:
        """Larger blocks, of which each thread still has enough."""
        row_bytes = self.data_bytes // self.cut.n_rows
        return coarser(self.cut, row_bytes, self._backend.blocks_per_thread * self.n_threads)

    def keep(self, memory_budget: int) -> None:
        """From now on each process may keep so many bytes of decoded blocks."""
        share = memory_budget * self.n_processes / self.data_bytes
        self._work = replace(self._work, budget=memory_budget, share=share)

    @property
    def supposed(self) -> bool:
        """Whether its workers need not be there, and can do nothing."""
        return isinstance(self._backend, SupposedBackend)

    @property
    def passes(self) -> float:
        """Passes over the data so far: bytes decoded / bytes of the data."""
        return self.bytes_decoded / self.data_bytes

    @property
    def n_threads(self) -> int:
        """Threads of all processes together."""
        return self._backend.n_threads

    @property
    def n_processes(self) -> int:
        """Worker processes, or 1 for this one."""
        return self._backend.n_processes

    @property
    def memory_limit(self) -> int:
        """Bytes of memory of the smallest process."""
        return self._backend.memory_limit

    @property
    def n_tasks_a_pass(self) -> int:
        """Tasks of one pass over all blocks."""
        return n_tasks(len(self.cut), self.n_threads, self._backend.tasks_per_thread)

    def reduce(
        self,
        job: Reduction,
        title: str,
        blocks: list[int] | None = None,
        *,
        told: bool | None = None,
    ) -> Any:
        """One pass over all blocks, or over those named: their partials, merged.

        Progress is told of its end, of some blocks where ``told`` says so; False leaves it to an
        iteration to tell of its pass.
        """
        assert not isinstance(self._backend, SupposedBackend)
        tally = Tally(job, title, self.cut.n_rows, self.progress)
        self._backend.run(self._work, job, self.cut, blocks, tally)
        self.n_tasks += tally.n_tasks
        self.bytes_decoded += tally.bytes_decoded
        self.last = tally.finish()
        if told or (told is None and blocks is None):
            tell_pass(self.progress, self.last)
        _LOG.debug("%s: %s", title, self.last.facts)
        return tally.partial

    def iterated(self, took: Pass, entry: dict[str, Any], most: int, about: dict[str, Any]) -> None:
        """Tell of an iteration of at most so many: its pass, its ``entry`` in the history."""
        left = {"seconds_left_at_most": (most - entry["iteration"]) * took.seconds}
        facts = about | entry | took.facts | left
        self.progress.event("iteration", facts)
        _LOG.info("iteration %d: %s", entry["iteration"], facts)
