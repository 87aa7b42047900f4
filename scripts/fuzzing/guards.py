"""What is watched while a case is read: memory, time, and files."""

import resource
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pyarrow as pa

from fuzzing.changes import Case

# What reading may allocate: buffers of fixed size, and a small multiple of the input.
FIXED_BYTES = 48 << 20
MOST_TIMES = 64
# Address space above what the process has at the beginning: what nobody counts fails here.
MOST_SPACE = 6 << 30


def write_case(folder: Path, case: Case) -> None:
    """The files of a case in an empty folder."""
    for name, content in case.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def read_case(folder: Path) -> Case:
    """The files of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# What Arrow made outlives the case; its pool must too.
_POOLS: list[pa.MemoryPool] = []


@dataclass
class Peak:
    """What was allocated at the same time, at most."""

    n_bytes: int = 0


@contextmanager
def counted() -> Iterator[Peak]:
    """Count what Python, NumPy and Arrow allocate: of Arrow tracemalloc knows nothing.

    Resident memory would not tell: what is allocated and never touched is not resident, and what
    was freed may be.

    What counts goes on if it did before: where other threads allocate, Python before 3.12.9 may
    crash when it stops (python/cpython#128679).
    """
    before = pa.system_memory_pool()
    pool = pa.proxy_memory_pool(before)
    _POOLS.append(pool)
    pa.set_memory_pool(pool)
    running = tracemalloc.is_tracing()
    tracemalloc.clear_traces() if running else tracemalloc.start(1)
    peak = Peak()
    try:
        yield peak
    finally:
        peak.n_bytes = tracemalloc.get_traced_memory()[1] + (pool.max_memory() or 0)
        if not running:
            tracemalloc.stop()
        pa.set_memory_pool(before)


def bounded_space() -> None:
    """Let what no counter sees, such as a library's own malloc, fail before it fills all."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


class Hung(BaseException):
    """A case took longer than it may."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End a case after so many seconds of this process's work; a busy machine does not matter."""

    def over(number: int, frame: FrameType | None) -> None:
        raise Hung(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
