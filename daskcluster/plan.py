"""Arithmetic only: grains, blocks, partitions, overflow proofs and bytes. No arrays, no I/O.

Words used throughout the package: a *grain* is the fixed run of rows that one product covers, a
*chunk* is Zarr's storage unit, a *block* is what a task reads at once, a *partition* is the run of
blocks that one task goes through.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from daskcluster.errors import BudgetError, InputError

MIB = 1 << 20
CHUNK_BYTES = 8 * MIB
SMALLEST_BLOCK_BYTES = 4 * MIB
LARGEST_BLOCK_BYTES = 32 * MIB
BLOCKS_KEPT_APART = 256
SMALLEST_CUT = 16
LIMB_BITS = 48
GRID_BITS = 96
# The square of a float64 has twice its digits, and an inertia far below them is what is left.
SQUARE_GRID_BITS = 144
INT64_SAFE_BITS = 62
TASKS_PER_THREAD = 2
STATE_BYTES_PER_ROW = 16
SOFT_STATE_BYTES_PER_ROW = 8
READ_AHEAD_BYTES = 64 * MIB
MOST_READ_AHEAD = 16
# Python, the libraries and their pools, as measured on an idle worker that has opened a store.
WORKER_OVERHEAD = 192 * MIB
PLANNED_SHARE = 0.7
BUDGET_SHARE = 0.3
# Between more centres the distances outside the directions would take more room than blocks.
MOST_PROJECTED = 4096
FEWEST_PROJECTED = 16
# Beyond it a gap of each centre takes longer to bring up to date than what it saves.
MOST_PAIRED = 128
# Beyond it temporary arrays of a number a row leave the cache.
MOST_SOFT_ROWS = 4096
SMALL_PRODUCT = 10**6
# float32 that loops take from a row of gaps at once.
LANES = 16
# Rows so narrow that a chunk would hold millions of them cost more beside it than in it.
LARGEST_CHUNK_ROWS = 1 << 19

# Every integer of these types is a float64, so a centre and a row meet in exact arithmetic.
INTEGER_BOUNDS = {
    "uint8": 2**8 - 1, "int8": 2**7, "uint16": 2**16 - 1, "int16": 2**15,
    "uint32": 2**32 - 1, "int32": 2**31, "int64": 2**53,
}  # fmt: skip
ROW_TYPES = (*INTEGER_BOUNDS, "float32", "float64")

# Beyond it a squared distance no longer fits float64.
LARGEST_MAGNITUDE = 2.0**480


def check_row_type(dtype: Any, where: str) -> str:
    """Return the name of ``dtype`` if rows may have it; raise `InputError` otherwise."""
    name = str(getattr(dtype, "name", dtype))
    if name not in ROW_TYPES:
        raise InputError(
            f"{where}: rows of type {name} are not supported; use {', '.join(ROW_TYPES)}"
        )
    return name


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
    return grain * -(-rows_per_chunk // grain)


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


@dataclass(frozen=True)
class Grid:
    """Fixed-point numbers: ``sum(limb[l] * 2**(48 l)) * 2**exponent`` with int64 limbs."""

    exponent: int
    n_limbs: int


def integer_grid(n_rows: int, bound: int) -> Grid:
    """The grid on which ``n_rows`` integers of magnitude up to ``bound`` add without overflow."""
    bits = (n_rows * bound).bit_length()
    return Grid(0, 1 if bits <= INT64_SAFE_BITS else -(-bits // LIMB_BITS))


def real_grid(n_rows: int, exponent: int, bits: int = GRID_BITS) -> Grid:
    """The grid for ``n_rows`` reals below ``2**exponent``: its unit is ``bits`` below their sum."""
    return Grid(exponent + n_rows.bit_length() - bits, bits // LIMB_BITS)


def sum_grid(n_rows: int, dtype: str, exponent: int) -> Grid:
    """The grid for sums of elements of ``dtype`` (reals: all below ``2**exponent``)."""
    if dtype in INTEGER_BOUNDS:
        return integer_grid(n_rows, INTEGER_BOUNDS[dtype])
    return real_grid(n_rows, exponent)


def square_grid(n_rows: int, dtype: str, exponent: int) -> Grid:
    """The grid for sums of squares of elements of ``dtype``."""
    if dtype in INTEGER_BOUNDS:
        return integer_grid(n_rows, INTEGER_BOUNDS[dtype] ** 2)
    return real_grid(n_rows, 2 * exponent, SQUARE_GRID_BITS)


def tile_rows(n_features: int, n_clusters: int) -> int:
    """Rows of a tile: float32 rows and products near 4 MiB, so that they stay in cache."""
    rows = 4 * MIB // (4 * (n_features + n_clusters))
    return min(max(1 << max(rows.bit_length() - 1, 0), 64), 16384)


def soft_rows(n_features: int, n_clusters: int) -> int:
    """Rows of one product of soft k-means: a power of two that divides a grain.

    Bits depend on it, so it is a function of shapes alone: float64 rows and shares near 4 MiB.
    """
    rows = 4 * MIB // (8 * (n_features + n_clusters))
    rows = 1 << max(rows.bit_length() - 1, 0)
    return min(max(rows, 32), grain_rows(n_features), MOST_SOFT_ROWS)


def soft_group(n_features: int, n_clusters: int) -> int:
    """How many such runs are gone through at once: no bit depends on it, but time does.

    Threads take turns to call NumPy, so a call should be worth it: float64 rows near 12 MiB.
    """
    run = soft_rows(n_features, n_clusters)
    return min(max(12 * MIB // (8 * run * (n_features + n_clusters)), 1), 32)


def small_products(n_rows: int, n_features: int, n_clusters: int) -> int:
    """How many products of even runs of rows to make one of; bits depend on it too.

    OpenBLAS has a kernel twice as fast for products of up to 10**6 multiplications.
    """
    rows = n_rows
    while rows * n_features * n_clusters > SMALL_PRODUCT:
        rows //= 2
    return n_rows // rows if rows >= 32 and n_rows % rows == 0 else 1


def projection_tile_rows(width: int) -> int:
    """Rows of a tile of ``width`` float32 each: near 1 MiB, so that passes over it are cheap."""
    return min(max(MIB // (4 * width), 64), 4096)


def n_directions(n_features: int, n_clusters: int, bytes_per_row: float) -> int:
    """How many directions to project rows on where so many bytes may be kept of each; 0 for none.

    Few centres are told apart by fewer; where features are few, products with them are cheap.
    """
    wanted = 32 if n_clusters <= 32 else 64
    if n_features < 4 * wanted or not 2 <= n_clusters <= MOST_PROJECTED:
        return 0
    while wanted >= 16 and projection_bytes(wanted) > bytes_per_row:
        wanted //= 2
    return wanted if wanted >= 16 else 0


def projection_bytes(n_directions: int) -> int:
    """Bytes kept of a row for its projection."""
    return 4 * (n_directions + 1)


def pairs_width(n_clusters: int) -> int:
    """Numbers kept for a gap of each centre: whole vector registers of float32."""
    return -(-n_clusters // LANES) * LANES


def pairs_bytes(n_clusters: int) -> int:
    """Bytes of them for a row; 0 where there are so many centres that they are not kept."""
    return 4 * pairs_width(n_clusters) if n_clusters <= MOST_PAIRED else 0


def read_ahead(block_bytes: int, n_threads: int) -> int:
    """Blocks that each thread may read ahead: one, or its share of 64 MiB a process."""
    share = READ_AHEAD_BYTES // max(n_threads * block_bytes, 1)
    return min(max(share, 1), MOST_READ_AHEAD)


def fit_bytes(
    block_rows: int,
    block_bytes: int,
    n_threads: int,
    n_features: int,
    n_clusters: int,
    n_limbs: int,
) -> int:
    """Peak bytes of one worker that fits with budget 0, its per-row state left out.

    Per thread: the block in work, the blocks read ahead, a decoder's copy of one; what a step keeps
    for each row of it, most of it the distances of k-means++; float64 tiles and the products; the
    centres now and before, in two precisions, and what lies between any two; the statistics of its
    tasks and of a merge.
    """
    blocks = (2 + read_ahead(block_bytes, n_threads)) * block_bytes
    tile = tile_rows(n_features, n_clusters)
    rows = block_rows * (8 * (2 * seed_trials(n_clusters) + 3) + 32)
    tiles = tile * (3 * 8 * n_features + 3 * 8 * n_clusters)
    centers = n_clusters * n_features * (8 + 8 + 8 + 4)
    centers += min(n_clusters, MOST_PROJECTED) ** 2 * 12
    statistics = (TASKS_PER_THREAD + 3) * n_limbs * n_clusters * n_features * 8
    return n_threads * (blocks + rows + tiles + centers + statistics) + WORKER_OVERHEAD


def soft_bytes(
    block_rows: int, block_bytes: int, n_threads: int, n_features: int, n_clusters: int
) -> int:
    """Peak bytes of one worker in a soft fit with budget 0, its per-row state left out.

    Per thread as `fit_bytes`; float64 rows of a tile, their shares and what numbers a row they
    need; products, and their sums in floats and limbs.
    """
    blocks = (2 + read_ahead(block_bytes, n_threads)) * block_bytes
    tile = soft_rows(n_features, n_clusters)
    group = soft_group(n_features, n_clusters)
    rows = block_rows * (8 * (2 * seed_trials(n_clusters) + 3) + 24)
    tiles = group * tile * 8 * (2 * n_features + 3 * n_clusters + 8)
    products = small_products(tile, n_features, n_clusters) + 3
    products *= group * n_clusters * n_features * 8
    centers = n_clusters * n_features * 8 * 4
    statistics = (TASKS_PER_THREAD + 7) * 2 * n_clusters * n_features * 8
    return n_threads * (blocks + rows + tiles + products + centers + statistics) + WORKER_OVERHEAD


def seed_trials(n_clusters: int) -> int:
    """Candidates that greedy k-means++ compares for each seed."""
    return 2 + int(math.log(n_clusters))


def memory_budget(
    asked: int | None, needed: int, state: int, limit: int, data_bytes: int, n_threads: int
) -> int:
    """Bytes of decoded blocks that a worker may keep beside what it needs.

    Parameters
    ----------
    asked : int or None
        None takes a share of the memory, or what is left of it.
    needed, state : int
        The bound without any kept block, and the per-row state.
    limit : int
        The worker's memory; only a part of it is planned with, since Dask pauses a worker at 80 %.
    data_bytes : int
        Decoded bytes of the worker's share of the data: more is never kept.

    Raises
    ------
    BudgetError
        The worker cannot hold what is needed, or asked for; the message says what would fit.
    """
    left = int(PLANNED_SHARE * limit) - needed - state
    if left < 0:
        raise BudgetError(
            f"a worker with {n_threads} threads needs {(needed + state) / MIB:,.0f} MiB "
            f"({state / MIB:,.0f} MiB of it per-row state) and may plan with "
            f"{PLANNED_SHARE * limit / MIB:,.0f} MiB of its {limit / MIB:,.0f}: use fewer threads "
            "per worker, more workers, a store with fewer rows per chunk, or fewer clusters"
        )
    if asked is None:
        return min(int(BUDGET_SHARE * limit), left, data_bytes)
    if min(asked, data_bytes) > left:
        raise BudgetError(
            f"a memory budget of {asked / MIB:,.0f} MiB does not fit beside the "
            f"{(needed + state) / MIB:,.0f} MiB that a worker of {limit / MIB:,.0f} MiB needs: "
            f"lower it to {left / MIB:,.0f} MiB, or leave it out"
        )
    return min(asked, data_bytes)
