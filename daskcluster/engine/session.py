"""A run over the blocks of one reader: reductions, passes counted, and the end of it all."""

import functools
import uuid
from types import TracebackType
from typing import Any, Self

import dask.utils
from distributed import Client, default_client

from daskcluster.engine.cluster import ClusterBackend
from daskcluster.engine.progress import Progress, Silent
from daskcluster.engine.protocols import Reader, Reduction
from daskcluster.engine.tasks import Work
from daskcluster.engine.threads import ThreadBackend
from daskcluster.errors import InputError
from daskcluster.plan import Cut

# Budget and peak together stay well below the 80 % at which Dask pauses a worker.
BUDGET_SHARE = 0.3


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


def active_client() -> Client | None:
    """The Dask client of this process, if there is one."""
    try:
        return default_client()
    except ValueError:
        return None


class Session:
    """Maps reductions over all blocks: on the active Dask client, else on this process's threads.

    Parameters
    ----------
    reader : Reader
    cut : Cut
        The blocks.
    data_bytes : int
        Decoded bytes of the whole data; what one pass is counted by.
    memory_budget : int, str or None
        Bytes of decoded blocks that each process may keep; None for a share of its memory.
    progress : Progress, optional
    """

    def __init__(
        self,
        reader: Reader,
        cut: Cut,
        data_bytes: int,
        *,
        memory_budget: int | str | None = None,
        progress: Progress | None = None,
    ) -> None:
        client = None if reader.in_memory else active_client()
        self._backend = ThreadBackend() if client is None else ClusterBackend(client)
        self._reader = reader
        self._budget = None if memory_budget is None else parse_bytes(memory_budget)
        self._work = Work(uuid.uuid4().hex[:12], reader, 0)
        self.cut = cut
        self.data_bytes = data_bytes
        self.progress = progress or Silent()
        self.bytes_decoded = 0
        self.n_tasks = 0

    def __enter__(self) -> Self:
        self._backend.open(self._work)
        budget = self._budget
        if budget is None:
            budget = int(BUDGET_SHARE * self._backend.memory_limit)
        self._work = Work(self._work.run, self._reader, budget)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._backend.close(self._work)
        self.progress.close()

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

    def reduce(self, job: Reduction, title: str, blocks: list[int] | None = None) -> Any:
        """One pass over all blocks, or over those named: their partials, merged."""
        seen = 0

        def on_rows(rows: int) -> None:
            nonlocal seen
            seen += rows
            self.progress.rows(title, seen, self.cut.n_rows)

        outcomes, tasks = self._backend.run(self._work, job, self.cut, blocks, on_rows)
        self.n_tasks += tasks
        self.bytes_decoded += sum(outcome.bytes_decoded for outcome in outcomes)
        return functools.reduce(job.merge, (outcome.partial for outcome in outcomes))
