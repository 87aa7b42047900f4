"""What a process keeps between tasks: states and decoded blocks, all of it rebuildable.

A task pops a block's state, works, and puts it back, so two attempts can never share one. Decoded
blocks are kept up to a byte budget: the first that come stay, because a pass that goes round and
round would drive every block out of a cache that forgets the oldest. Where not all fit, a reduction
that can tell which rows it will need again has those kept, a share of every block.
"""

import threading
import time
from collections import deque
from typing import Any

from daskcluster.engine.blas import BLAS
from daskcluster.engine.protocols import Reader, Rows

IDLE_SECONDS = 600.0
_ENDED_REMEMBERED = 64

StateKey = tuple[str, str, int]
BlockKey = tuple[str, int, int]


class Forgotten(Exception):  # noqa: N818 - the driver opens the reader again
    """A reader that was open here is no longer."""


class ProcessMemory:
    """States, decoded blocks and opened readers of one process, for all its runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[tuple[str, int], tuple[str, Any]] = {}
        self._blocks: dict[BlockKey, Rows] = {}
        self._kept = 0
        self._readers: dict[str, Reader] = {}
        self._runs: dict[str, str] = {}
        self._used: dict[str, float] = {}
        self._ended: deque[str] = deque(maxlen=_ENDED_REMEMBERED)
        self._janitor: threading.Thread | None = None

    def open_run(self, run: str, reader: Reader, *, known: bool = False) -> Reader:
        """Note that ``run`` reads through ``reader``; returns the one already open here.

        One that should be ``known`` and is not raises `Forgotten`.
        """
        with self._lock:
            if known and reader.token not in self._readers:
                raise Forgotten(reader.token)
            if run in self._ended:  # a late attempt would open it for ever
                raise RuntimeError(f"run {run} has ended")
            self._runs[run] = reader.token
            self._used[run] = time.monotonic()
            self._watch()
            return self._readers.setdefault(reader.token, reader)

    def close_run(self, run: str) -> None:
        """End a run: forget its states, and the blocks and reader that no other run uses."""
        with self._lock:
            self._ended.append(run)
            self._forget(run)

    def has_ended(self, run: str) -> bool:
        """Whether `close_run` ended the run, so that its tasks work in vain."""
        return run in self._ended

    def _forget(self, run: str) -> None:
        token = self._runs.pop(run, None)
        self._used.pop(run, None)
        self._states = {k: v for k, v in self._states.items() if k[0] != run}
        if token is not None and token not in self._runs.values():
            self._readers.pop(token, None)
            self._blocks = {k: v for k, v in self._blocks.items() if k[0] != token}
            self._kept = sum(batch.nbytes for batch in self._blocks.values())

    def pop_state(self, key: StateKey) -> Any:
        """Take out a block's state; one of another kind is of a stage that is over, and goes."""
        run, kind, block = key
        with self._lock:
            found, state = self._states.pop((run, block), (None, None))
        return state if found == kind else None

    def put_state(self, key: StateKey, state: Any) -> None:
        with self._lock:
            # A late attempt of a run that has ended would stay for ever.
            if key[0] in self._runs:
                self._used[key[0]] = time.monotonic()
                self._states[key[0], key[2]] = (key[1], state)

    def get_block(self, key: BlockKey, rows: Any = None) -> Rows | None:
        """A block that is kept, or some of its rows; None where any that is wanted is not."""
        with self._lock:
            kept = self._blocks.get(key)
        if kept is None or kept.picked is None:
            return kept
        return None if rows is None else kept.pick(rows)

    def keep_block(self, key: BlockKey, batch: Rows, budget: int) -> None:
        """Keep a block, or rows of it in its place, if the budget of this process allows."""
        with self._lock:
            before = self._blocks.get(key)
            if before is not None and batch.picked is None:
                return
            more = batch.nbytes - (0 if before is None else before.nbytes)
            if key[0] in self._runs.values() and self._kept + more <= budget:
                self._blocks[key] = batch
                self._kept += more

    def bytes_kept(self) -> int:
        """Bytes of decoded blocks held now."""
        with self._lock:
            return self._kept

    def _watch(self) -> None:
        if self._janitor is None or not self._janitor.is_alive():
            self._janitor = threading.Thread(
                target=self._tidy, name="daskcluster-tidy", daemon=True
            )
            self._janitor.start()

    def _tidy(self) -> None:
        """A driver that died cannot close its run: idle minutes end it."""
        while self._runs:
            time.sleep(min(IDLE_SECONDS, 30.0))
            for run in self._idle():
                with self._lock:
                    self._forget(run)
                BLAS.release(run)

    def _idle(self) -> list[str]:
        with self._lock:
            now = time.monotonic()
            return [run for run, used in self._used.items() if now - used > IDLE_SECONDS]


MEMORY = ProcessMemory()
