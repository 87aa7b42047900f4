"""Some rows of the data, by index, in the type in which they are stored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels.batch import Batch
from daskcluster.kernels.sparse import SparseRows, is_sparse

Parts = list[tuple[int, Any, npt.NDArray[np.int64] | None]]
"""Of each block its first row, and of those of its rows that are wanted: themselves, weights."""


@dataclass(frozen=True)
class Sample:
    """Reduction: the rows at ascending indices; `gathered` makes one array of them."""

    indices: npt.NDArray[np.int64]
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[Parts, None]:
        low, high = np.searchsorted(self.indices, [batch.start, batch.start + len(batch.rows)])
        if low == high:
            return [], None
        places = self.indices[low:high] - batch.start
        weights = None if batch.weights is None else batch.weights[places]
        return [(batch.start, batch.rows[places], weights)], None

    def merge(self, a: Parts, b: Parts) -> Parts:
        return a + b


@dataclass(frozen=True)
class _None:
    """What `Nothing` asks for."""

    rows: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Nothing:
    """Reduction: reads and returns nothing, to see what that costs."""

    state_kind = None

    def ask(self, state: None) -> _None:
        return _None(np.empty(0, dtype=np.intp))

    def step(self, batch: None, asked: _None) -> tuple[int, None]:
        return 0, None

    def merge(self, a: int, b: int) -> int:
        return 0


def gathered(parts: Parts) -> tuple[Any, npt.NDArray[np.int64] | None]:
    """All rows in their order, and their weights."""
    ordered = sorted(parts, key=lambda part: part[0])
    rows = [part[1] for part in ordered]
    weights = [part[2] for part in ordered if part[2] is not None]
    whole = stacked(rows) if is_sparse(rows[0]) else np.concatenate(rows)
    return whole, np.concatenate(weights) if weights else None


def stacked(parts: list[SparseRows]) -> SparseRows:
    """Sparse rows one after the other."""
    ends = np.cumsum([0, *(part.indptr[-1] for part in parts)])
    starts = [part.indptr[1:] + end for part, end in zip(parts, ends[:-1], strict=True)]
    return SparseRows(
        np.concatenate([part.data for part in parts]),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([np.zeros(1, dtype=np.int64), *starts]),
        parts[0].n_features,
    )
