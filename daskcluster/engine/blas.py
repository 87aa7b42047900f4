"""BLAS in this process: one thread of it while a run is open, and which one it is."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np  # noqa: F401 - loads the BLAS that is asked about
from threadpoolctl import threadpool_info, threadpool_limits


class OneBlasThread:
    """Limits BLAS to one thread while any run is open in this process, and restores it after.

    The limit is global to a process: set inside tasks it would race, and stick. From threadpoolctl
    3.8 on the thread that sets it holds it, and what others set has no effect: one thread sets all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: set[str] = set()
        self._limits: Any = None
        self._setter = ThreadPoolExecutor(1, thread_name_prefix="daskcluster-blas")

    @contextmanager
    def held(self) -> Iterator[None]:
        """While something is computed outside of any run."""
        holder = uuid.uuid4().hex
        self.acquire(holder)
        try:
            yield
        finally:
            self.release(holder)

    def acquire(self, holder: str) -> None:
        with self._lock:
            if not self._holders:
                self._setter.submit(self._limit).result()
            self._holders.add(holder)

    def release(self, holder: str) -> None:
        with self._lock:
            if holder not in self._holders:
                return
            self._holders.discard(holder)
            if not self._holders:
                self._setter.submit(self._limits.__exit__, None, None, None).result()

    def _limit(self) -> None:
        self._limits = threadpool_limits(limits=1, user_api="blas")
        self._limits.__enter__()


def blas_build() -> str:
    """Name, version and kernel of the BLAS that NumPy uses; soft results depend on it."""
    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    own = [pool for pool in found if "numpy" in Path(pool["filepath"]).parent.name]
    for pool in own or found:
        words = (pool["internal_api"], pool["version"], pool.get("architecture"))
        return " ".join(str(word) for word in words if word)
    return "unknown"


BLAS = OneBlasThread()
