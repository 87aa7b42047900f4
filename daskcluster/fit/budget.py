"""What a process may keep between passes, and what of it goes to what."""

from dataclasses import dataclass

import numpy as np

from daskcluster.engine import Session, parse_bytes
from daskcluster.fit.data import Dataset
from daskcluster.kernels import compiled, compiling
from daskcluster.kernels.projection import Basis, basis_of
from daskcluster.seeding import take_rows
from daskcluster.sizing import (
    FEWEST_PROJECTED,
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
    needed: int
    """Bytes that the process has at its peak beside what it keeps."""
    state: int
    """Bytes kept of its rows that are no part of the budget."""
    budget: int
    """Bytes that are: rows and what is kept of them for finer bounds."""

    @property
    def peak(self) -> int:
        """The bound on the process's memory."""
        return self.needed + self.state + self.budget


def spend(
    session: Session,
    data: Dataset,
    clusters: list[int],
    asked: int | str | None,
    starting: int = 0,
    *,
    algorithm: str,
) -> Spending:
    """Check that a process can do its share, and share out what it may keep.

    Parameters
    ----------
    clusters : list of int
        Numbers of clusters of the runs that take turns.
    starting : int
        Bytes that finding their initial centres needs.

    Raises
    ------
    BudgetError
        It has not the memory; the message says what would fit.
    """
    threads = -(-session.n_threads // session.n_processes)
    block, share = session.cut.rows_per_block, -(-data.n_rows // session.n_processes)
    row_bytes = 0 if data.reader.in_memory else data.nbytes // data.n_rows
    runs, held = len(clusters), share + block  # owners may hold one block more than others
    kept = _kept_of_rows(data, clusters, algorithm)
    wanted = held * (row_bytes + runs * (kept.projection + kept.pairs))
    size = None if asked is None else parse_bytes(asked)
    state = STATE_BYTES_PER_ROW * share * runs
    needed = _needed(session, data, clusters, threads, row_bytes) + starting
    needed += _weight_bytes(data)
    budget = memory_budget(size, needed, state, session.memory_limit, wanted, threads)
    # Where not all fits, rows that need not be read again are worth more than finer bounds.
    left = max(budget - held * row_bytes, budget // 4) / (held * runs)
    most = kept.directions
    directions = n_directions(data.n_features, clusters[0], left) if most else 0
    projected = projection_bytes(directions) if directions else 0
    pairs = 0 < kept.pairs <= left - projected and directions == most
    rows = budget - held * runs * (projected + kept.pairs * pairs)
    return Spending(rows, directions, pairs, rows >= share * row_bytes, needed, state, budget)


@dataclass(frozen=True)
class _Finest:
    """What would be kept of every row if there were room for all of it."""

    directions: int
    projection: int
    """Bytes."""
    pairs: int
    """Bytes."""


def _kept_of_rows(data: Dataset, clusters: list[int], algorithm: str) -> _Finest:
    k = clusters[0]
    loops = compiling.has_numba() and compiled.worthwhile(data.n_rows, k, data.n_features)
    # To compare a row with few centres costs loops less than what proves that it need not be.
    few = loops and k < FEWEST_PROJECTED
    project = algorithm == "projection" or (algorithm == "auto" and not few)
    # What rows are projected on depends on the number of clusters.
    if not project or data.sparse or len(set(clusters)) > 1:
        return _Finest(0, 0, 0)
    directions = n_directions(data.n_features, k, np.inf)
    pairs = pairs_bytes(k) if directions and loops else 0
    return _Finest(directions, projection_bytes(directions) if directions else 0, pairs)


def _needed(
    session: Session, data: Dataset, clusters: list[int], threads: int, row_bytes: int
) -> int:
    """Bytes without any kept block; what is there once a cluster is there for those of all runs."""
    limbs = sum_grid(data.population, data.dtype, 0).n_limbs
    block, total = session.cut.rows_per_block, sum(clusters)
    if data.sparse:
        size = block * (data.nbytes // data.n_rows)
        return sparse_fit_bytes(size, threads, data.n_features, total, limbs)
    return fit_bytes(
        block, block * row_bytes, threads, data.n_features, total, limbs, len(clusters)
    )


def _weight_bytes(data: Dataset) -> int:
    """Every process has the weights of all rows."""
    return 0 if data.weights is None or data.reader.in_memory else data.weights.nbytes


def spend_on_blocks(
    session: Session,
    data: Dataset,
    clusters: list[int],
    asked: int | str | None,
    starting: int = 0,
) -> Spending:
    """The same where every pass needs every row: soft k-means."""
    threads = -(-session.n_threads // session.n_processes)
    block, share = session.cut.rows_per_block, -(-data.n_rows // session.n_processes)
    row_bytes = 0 if data.reader.in_memory else data.nbytes // data.n_rows
    runs = len(clusters)
    needed = soft_bytes(
        block, block * row_bytes, threads, data.n_features, sum(clusters), clusters[-1], runs
    )
    needed += starting + _weight_bytes(data)
    size = None if asked is None else parse_bytes(asked)
    wanted, state = (share + block) * row_bytes, STATE_BYTES_PER_ROW * share * runs
    rows = memory_budget(size, needed, state, session.memory_limit, wanted, threads)
    return Spending(rows, 0, False, rows >= share * row_bytes, needed, state, rows)


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
