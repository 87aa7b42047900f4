"""How rows are cut: grains, chunks, blocks, and the partitions that tasks go through."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from daskcluster.errors import InputError

MIB = 1 << 20
CHUNK_BYTES = 8 * MIB
SMALLEST_BLOCK_BYTES = 4 * MIB
LARGEST_BLOCK_BYTES = 32 * MIB
BLOCKS_KEPT_APART = 256
SMALLEST_CUT = 16
# Rows so narrow that a chunk would hold millions of them cost more beside it than in it.
LARGEST_CHUNK_ROWS = 1 << 19
TASKS_PER_THREAD = 2
# What a task that does nothing costs on a cluster, in turn with all others: measured on 2 to 64
# workers by scripts/bench_scheduler.py, 6 to 11 ms.
IDLE_TASK_SECONDS = 0.008
# The fixed run of sparse rows that one product covers: few sums are made of it, and not too small.
SPARSE_GRAIN = 4096


def grain_rows(n_features: int) -> int:
    """Rows of a grain: the power of two in [32, 65536] nearest to 4 MiB / (8 * n_features)."""
    target = max(4 * MIB // (8 * n_features), 1)
    low = 1 << (target.bit_length() - 1)
    nearest = low if target * target <= 2 * low * low else 2 * low
    return min(max(nearest, 32), 65536)


def chunk_rows(
    n_rows: int, n_features: int, itemsize: int, rows_per_chunk: int | None = None
) -> int:
    """Rows of a chunk: whole grains near 8 MiB, or the asked-for number rounded up to grains.

    Small data is cut into some sixteen chunks, so that threads share it evenly.
    """
    grain = grain_rows(n_features)
    if rows_per_chunk is None:
        rows = min(CHUNK_BYTES // (n_features * itemsize), LARGEST_CHUNK_ROWS)
        grains = max(rows // grain, 1)
        return grain * min(grains, -(-n_rows // (SMALLEST_CUT * grain)))
    if rows_per_chunk < 1:
        raise InputError(f"rows_per_chunk={rows_per_chunk} should be >= 1")
    # A chunk is written whole, so one that is longer than the data would only take memory.
    return grain * -(-min(rows_per_chunk, n_rows) // grain)


def sparse_bytes(n_rows: int, n_stored: int, itemsize: int) -> int:
    """Bytes of sparse rows: their elements, a column for each, and where rows begin."""
    return n_stored * (itemsize + 4) + (n_rows + 1) * 8


def sparse_chunk_rows(
    n_rows: int, n_stored: int, itemsize: int, rows_per_chunk: int | None = None
) -> int:
    """Rows of a chunk of sparse rows: whole grains near 8 MiB, or the asked-for number of them."""
    if rows_per_chunk is None:
        row_bytes = sparse_bytes(n_rows, n_stored, itemsize) // n_rows
        rows = min(CHUNK_BYTES // max(row_bytes, 1), -(-n_rows // SMALLEST_CUT))
        return SPARSE_GRAIN * max(-(-rows // SPARSE_GRAIN), 1)
    if rows_per_chunk < 1:
        raise InputError(f"rows_per_chunk={rows_per_chunk} should be >= 1")
    return SPARSE_GRAIN * -(-min(rows_per_chunk, n_rows) // SPARSE_GRAIN)


@dataclass(frozen=True)
class Block:
    """Rows ``start`` to ``stop`` (absolute, half open), the ``index``-th block of its data."""

    index: int
    start: int
    stop: int


@dataclass(frozen=True)
class Cut:
    """The cutting of ``n_rows`` rows into blocks of ``rows_per_block``; a few bytes to send."""

    n_rows: int
    rows_per_block: int

    def __len__(self) -> int:
        return -(-self.n_rows // self.rows_per_block)

    def block(self, index: int) -> Block:
        start = index * self.rows_per_block
        return Block(index, start, min(start + self.rows_per_block, self.n_rows))


@dataclass(frozen=True)
class Partition:
    """Blocks ``low`` to ``high`` (half open) of a cut: what one task goes through."""

    cut: Cut
    low: int
    high: int

    def __iter__(self) -> Iterator[Block]:
        return map(self.cut.block, range(self.low, self.high))

    @property
    def n_rows(self) -> int:
        return self.cut.block(self.high - 1).stop - self.cut.block(self.low).start


def cut_blocks(n_rows: int, rows_per_chunk: int, row_bytes: int) -> Cut:
    """Blocks of whole chunks; small chunks are read several at once where there are very many."""
    n_chunks = -(-n_rows // rows_per_chunk)
    together = SMALLEST_BLOCK_BYTES // max(rows_per_chunk * row_bytes, 1)
    return Cut(n_rows, rows_per_chunk * max(min(together, n_chunks // BLOCKS_KEPT_APART), 1))


def coarser(cut: Cut, row_bytes: int, n_blocks: int) -> Cut:
    """The same rows in blocks of several chunks, in some ``n_blocks`` blocks, or more large ones.

    What a step costs beside its rows is paid once a block.
    """
    block_bytes = max(cut.rows_per_block * row_bytes, 1)
    share = -(-len(cut) // n_blocks)
    together = min(LARGEST_BLOCK_BYTES // block_bytes, share)
    return Cut(cut.n_rows, cut.rows_per_block * max(together, 1))


def aligned(cut: Cut, rows: int, row_bytes: int) -> Cut:
    """The same rows in blocks of whole runs of ``rows``, of whole chunks too where they are small.

    Where they would be large, a chunk between two blocks is read by both.
    """
    whole = math.lcm(cut.rows_per_block, rows)
    if whole * row_bytes > max(LARGEST_BLOCK_BYTES, cut.rows_per_block * row_bytes):
        whole = rows * -(-cut.rows_per_block // rows)
    return Cut(cut.n_rows, whole)


def n_tasks(n_blocks: int, n_threads: int, per_thread: int = TASKS_PER_THREAD) -> int:
    """Tasks of one iteration: a few a thread, never in proportion to the chunks."""
    return min(n_blocks, per_thread * n_threads)


def tasks_per_thread(threads: int) -> int:
    """Of a worker of so many: they share its tasks; one alone would only pay for each of them."""
    return 1 if threads == 1 else TASKS_PER_THREAD


def partitions(cut: Cut, n_threads: int, per_thread: int = TASKS_PER_THREAD) -> list[Partition]:
    """Cut the blocks into as many even runs as there are tasks."""
    n = n_tasks(len(cut), n_threads, per_thread)
    edges = [len(cut) * i // n for i in range(n + 1)]
    return [Partition(cut, low, high) for low, high in pairwise(edges)]


def within(parts: list[Partition], blocks: list[int]) -> list[list[Partition]]:
    """For each partition, the runs of consecutive blocks of it that are among ``blocks``."""
    return [_runs(part, [i for i in blocks if part.low <= i < part.high]) for part in parts]


def _runs(part: Partition, blocks: list[int]) -> list[Partition]:
    breaks = [i for i in range(1, len(blocks)) if blocks[i] != blocks[i - 1] + 1]
    edges = [0, *breaks, len(blocks)]
    return [Partition(part.cut, blocks[a], blocks[b - 1] + 1) for a, b in pairwise(edges) if a < b]
