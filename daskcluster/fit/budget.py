"""What a process may keep between passes, and what of it goes to what."""

from dataclasses import dataclass

import numpy as np

from daskcluster.engine import Session, parse_bytes
from daskcluster.fit.data import Dataset
from daskcluster.kernels import compiled
from daskcluster.kernels.projection import Basis, basis_of
from daskcluster.plan import (
    FEWEST_PROJECTED,
    SOFT_STATE_BYTES_PER_ROW,
    STATE_BYTES_PER_ROW,
    fit_bytes,
    memory_budget,
    n_directions,
    pairs_bytes,
    projection_bytes,
    soft_bytes,
    sparse_fit_bytes,
    sum_grid,
)
from daskcluster.seeding import take_rows
from daskcluster.survey import Scale

SAMPLE_ROWS = 1024
SAMPLE_BLOCKS = 8
# Directions in which rows hardly differ more than in any others prove little.
LEAST_SHARE = 0.4


@dataclass(frozen=True)
class Spending:
    """How a process's budget is spent."""

    rows: int
    """Bytes of decoded rows."""
    directions: int
    """Of the projection kept of every row; 0 for none."""
    pairs: bool
    """Whether a gap of each centre is kept of every row."""
    holds_all: bool
    """Whether no block need be read twice."""


def spend(
    session: Session, data: Dataset, n_clusters: int, asked: int | str | None, *, algorithm: str
) -> Spending:
    """Check that a process can do its share, and share out what it may keep.

    Raises
    ------
    BudgetError
        It has not the memory; the message says what would fit.
    """
    threads = -(-session.n_threads // session.n_processes)
    limbs = sum_grid(data.n_rows, data.dtype, 0).n_limbs
    block, share = session.cut.rows_per_block, -(-data.n_rows // session.n_processes)
    row_bytes = 0 if data.reader.in_memory else data.nbytes // data.n_rows
    needed = fit_bytes(block, block * row_bytes, threads, data.n_features, n_clusters, limbs)
    if data.sparse:
        needed = sparse_fit_bytes(
            block * (data.nbytes // data.n_rows), threads, data.n_features, n_clusters, limbs
        )
    # Owners of even runs of blocks may hold one block more than others.
    held = share + block
    loops = compiled.has_numba() and compiled.worthwhile(data.n_rows, n_clusters, data.n_features)
    loops = loops and not data.sparse
    # To compare a row with few centres costs loops less than what proves that it need not be.
    few = loops and n_clusters < FEWEST_PROJECTED
    project = algorithm == "projection" or (algorithm == "auto" and not few)
    project = project and not data.sparse
    most = n_directions(data.n_features, n_clusters, np.inf) if project else 0
    paired = pairs_bytes(n_clusters) if most and loops else 0
    wanted = held * (row_bytes + (projection_bytes(most) if most else 0) + paired)
    size = None if asked is None else parse_bytes(asked)
    state = STATE_BYTES_PER_ROW * share
    budget = memory_budget(size, needed, state, session.memory_limit, wanted, threads)
    # Where not all fits, rows that need not be read again are worth more than finer bounds.
    left = max(budget - held * row_bytes, budget // 4)
    directions = n_directions(data.n_features, n_clusters, left / held) if project else 0
    kept = projection_bytes(directions) if directions else 0
    pairs = 0 < paired <= left / held - kept and directions == most
    rows = budget - held * (kept + paired * pairs)
    return Spending(rows, directions, pairs, rows >= share * row_bytes)


def spend_on_blocks(
    session: Session, data: Dataset, n_clusters: int, asked: int | str | None
) -> Spending:
    """The same where every pass needs every row: soft k-means."""
    threads = -(-session.n_threads // session.n_processes)
    block, share = session.cut.rows_per_block, -(-data.n_rows // session.n_processes)
    row_bytes = 0 if data.reader.in_memory else data.nbytes // data.n_rows
    needed = soft_bytes(block, block * row_bytes, threads, data.n_features, n_clusters)
    size = None if asked is None else parse_bytes(asked)
    wanted, state = (share + block) * row_bytes, SOFT_STATE_BYTES_PER_ROW * share
    rows = memory_budget(size, needed, state, session.memory_limit, wanted, threads)
    return Spending(rows, 0, False, rows >= share * row_bytes)


def leading_directions(
    session: Session, data: Dataset, scale: Scale, directions: int
) -> Basis | None:
    """The basis that rows are projected on, from a sample; None where it would prove little."""
    if not directions or data.n_rows < 2 * directions:
        return None
    blocks = np.unique(np.linspace(0, len(session.cut) - 1, SAMPLE_BLOCKS).astype(int))
    indices: list[int] = []
    for i in blocks.tolist():
        block = session.cut.block(i)
        n = min(SAMPLE_ROWS // len(blocks), block.stop - block.start)
        indices += np.linspace(block.start, block.stop - 1, n).astype(int).tolist()
    rows = take_rows(session, sorted(set(indices)))
    basis = basis_of(rows, scale.frame, directions)
    return basis if basis.share >= LEAST_SHARE else None
