"""Workers that need not be there: what a fit would ask of them, before any is started."""

from dataclasses import dataclass

from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT

from daskcluster.engine.tasks import Work
from daskcluster.errors import InputError
from daskcluster.sizing import tasks_per_thread


@dataclass(frozen=True)
class Workers:
    """Equal worker processes, here or anywhere.

    Parameters
    ----------
    n : int
        How many.
    threads : int, default=1
        Of each.
    memory_limit : int, optional
        Bytes of each; by default what a `LocalCluster` of this machine would give it.

    Examples
    --------
    >>> from daskcluster.engine import Workers
    >>> Workers(64, threads=2, memory_limit=2**34).n_threads
    128
    """

    n: int
    threads: int = 1
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("workers", self.n), ("threads of a worker", self.threads)):
            if value < 1:
                raise InputError(f"{value} {name}: there should be at least 1")

    @property
    def n_threads(self) -> int:
        """Of all together."""
        return self.n * self.threads


class SupposedBackend:
    """Has the sizes of a cluster, and runs nothing."""

    def __init__(self, workers: Workers) -> None:
        self.n_threads = workers.n_threads
        self.n_processes = workers.n
        self.tasks_per_thread = self.blocks_per_thread = tasks_per_thread(workers.threads)
        share = min(1, workers.threads / CPU_COUNT)
        self.memory_limit = workers.memory_limit or int(MEMORY_LIMIT * share)

    def open(self, work: Work) -> None: ...

    def close(self, work: Work) -> None: ...
