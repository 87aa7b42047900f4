"""BLAS in this process: one thread of it while a run is open, and which one it is."""

import threading
from pathlib import Path
from typing import Any

import numpy as np  # noqa: F401 - loads the BLAS that is asked about
from threadpoolctl import threadpool_info, threadpool_limits


class OneBlasThread:
    """Limits BLAS to one thread while any run is open in this process, and restores it after.

    The limit is global to a process: set inside tasks it would race, and stick.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: set[str] = set()
        self._limits: Any = None

    def acquire(self, holder: str) -> None:
        with self._lock:
            if not self._holders:
                self._limits = threadpool_limits(limits=1, user_api="blas")
            self._holders.add(holder)

    def release(self, holder: str) -> None:
        with self._lock:
            if holder not in self._holders:
                return
            self._holders.discard(holder)
            if not self._holders:
                self._limits.restore_original_limits()


def blas_build() -> str:
    """Name, version and kernel of the BLAS that NumPy uses; soft results depend on it."""
    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    own = [pool for pool in found if "numpy" in Path(pool["filepath"]).parent.name]
    for pool in own or found:
        words = (pool["internal_api"], pool["version"], pool.get("architecture"))
        return " ".join(str(word) for word in words if word)
    return "unknown"


BLAS = OneBlasThread()
