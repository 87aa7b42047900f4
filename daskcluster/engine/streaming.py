"""Blocks one after the other in this process: for what depends on their order."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from daskcluster.engine.blas import BLAS
from daskcluster.engine.progress import Progress, Silent
from daskcluster.engine.protocols import Reader
from daskcluster.engine.stopping import current_stop
from daskcluster.engine.tasks import readers
from daskcluster.sizing import Cut


def stream(
    reader: Reader, cut: Cut, title: str, progress: Progress | None = None, ahead: int = 2
) -> Iterator[Any]:
    """What is read of each block, in order; the next are read during the work on it."""
    progress, stop = progress or Silent(), current_stop()
    coming: deque[Any] = deque()
    following = 0
    with BLAS.held():
        while following < len(cut) or coming:
            while following < len(cut) and len(coming) <= (0 if reader.in_memory else ahead):
                coming.append(readers().submit(reader.read, cut.block(following)))
                following += 1
            stop.check()
            batch = coming.popleft().result()
            yield batch
            progress.rows(title, batch.start + len(batch.rows), cut.n_rows)
