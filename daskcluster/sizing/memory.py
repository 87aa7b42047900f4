"""What a worker needs by addition, and what it may keep beside it."""

import math

from daskcluster.errors import BudgetError
from daskcluster.sizing.blocks import MIB, TASKS_PER_THREAD
from daskcluster.sizing.tiles import (
    LANES,
    MOST_PROJECTED,
    OUTSIDE_ROWS,
    small_products,
    soft_group,
    soft_rows,
    tile_rows,
)

STATE_BYTES_PER_ROW = 16  # of hard fits, and of all while starts are sought
READ_AHEAD_BYTES = 64 * MIB
MOST_READ_AHEAD = 16
# Python, the libraries and their pools, as its kernel counts them, of a worker that has opened a
# store; some 100 MiB more come with compiled loops.
WORKER_IDLE = 280 * MIB
WORKER_OVERHEAD = WORKER_IDLE + 104 * MIB
PLANNED_SHARE = 0.7
BUDGET_SHARE = 0.3


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
    n_runs: int = 1,
) -> int:
    """Peak bytes of one worker that fits with budget 0, its per-row state left out.

    Of several runs ``n_clusters`` is the sum of all.

    Per thread: the block in work, the blocks read ahead, a decoder's copy of one; what a step keeps
    for each row of it, most of it the distances of k-means++; float64 tiles and the products; the
    centres now and before, in two precisions, and what lies between any two; the statistics of its
    tasks and of a merge.
    """
    blocks = (2 + read_ahead(block_bytes, n_threads)) * block_bytes
    tile = tile_rows(n_features, n_clusters)
    rows = block_rows * n_runs * (8 * (2 * seed_trials(n_clusters) + 3) + 32)
    tiles = tile * (3 * 8 * n_features + 3 * 8 * n_clusters)
    centers = n_clusters * n_features * (8 + 8 + 8 + 4)
    projected = min(n_clusters, MOST_PROJECTED)
    centers += projected * (8 * projected + 16 * min(projected, OUTSIDE_ROWS))
    statistics = (TASKS_PER_THREAD + 3) * n_limbs * n_clusters * n_features * 8
    return n_threads * (blocks + rows + tiles + centers + statistics) + WORKER_OVERHEAD


def sparse_fit_bytes(
    block_bytes: int, n_threads: int, n_features: int, n_clusters: int, n_limbs: int
) -> int:
    """The same for sparse rows: in proportion to what is stored, and to the centres.

    Per thread the blocks as before, and what becomes of one: its elements as float64 and as limbs,
    each with its place; scores of a run of rows. The centres now and before with what is prepared
    of them, and sums. Of every feature what does not grow with the centres: their columns' padding,
    now and before, and sums of one cluster, or of all rows with their squares.
    """
    blocks = (2 + read_ahead(block_bytes, n_threads)) * block_bytes
    elements = block_bytes // 12 * 8 * (3 + 2 * n_limbs)
    scores = 8192 * n_clusters * 8 * 3
    centers = n_clusters * n_features * 8 * (8 + (TASKS_PER_THREAD + 2) * n_limbs)
    features = n_features * (2 * 4 * LANES + 8 * 8)
    return n_threads * (blocks + elements + scores + centers + features) + WORKER_OVERHEAD


def soft_bytes(
    block_rows: int,
    block_bytes: int,
    n_threads: int,
    n_features: int,
    n_clusters: int,
    fewest: int | None = None,
    n_runs: int = 1,
) -> int:
    """Peak bytes of one worker in a soft fit with budget 0, its per-row state left out.

    Per thread as `fit_bytes`; float64 rows of a tile, their shares and what numbers a row they
    need; products, and their sums in floats and limbs. Of several runs ``n_clusters`` is the sum of
    all, and ``fewest`` the least, whose products cover the longest runs of rows.
    """
    fewest = n_clusters if fewest is None else fewest
    blocks = (2 + read_ahead(block_bytes, n_threads)) * block_bytes
    tile = soft_rows(n_features, fewest)
    group = soft_group(n_features, fewest)
    rows = block_rows * n_runs * (8 * (2 * seed_trials(n_clusters) + 3) + 24)
    tiles = group * tile * 8 * (2 * n_features + 3 * n_clusters + 8)
    products = small_products(tile, n_features, fewest) + 3
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
