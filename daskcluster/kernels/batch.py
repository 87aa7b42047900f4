"""What a block holds when it is read: the argument of every step."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Batch:
    """Rows ``start`` to ``start + len(rows)`` of the data, or some of those of a block."""

    start: int
    """Absolute index of the block's first row."""
    rows: Any
    """Shape (n, n_features), C-contiguous, in the type in which they are stored, or sparse."""
    labels: npt.NDArray[np.int32] | None = None
    """True classes as codes, shape (n,), -1 where unknown; None unless asked for."""
    picked: Indices | None = None
    """Which rows of the block these are, ascending; None for all of them."""
    weights: npt.NDArray[np.int64] | None = None
    """How many rows each of these stands for, shape (n,); None for one each."""

    def pick(self, indices: Indices) -> "Batch | None":
        """Copies of some rows, by their ascending place in the block; None if one is not here."""
        places = indices
        if self.picked is not None:
            places = np.searchsorted(self.picked, indices)
            if len(indices) and (
                places[-1] >= len(self.picked) or (self.picked[places] != indices).any()
            ):
                return None
        labels = None if self.labels is None else self.labels[places]
        weights = None if self.weights is None else self.weights[places]
        return Batch(self.start, self.rows[places], labels, indices, weights)

    @cached_property
    def squares(self) -> npt.NDArray[np.float64]:
        """Squared norms of rows of small integers: whole numbers, of which float64 loses none.

        Once for all that see this block.
        """
        squares = np.empty(len(self.rows))
        for i in range(0, len(squares), 4096):
            run = self.rows[i : i + 4096].astype(np.float64)
            squares[i : i + 4096] = np.einsum("ij,ij->i", run, run)
        return squares

    @property
    def nbytes(self) -> int:
        """Decoded bytes."""
        arrays = (self.rows, self.labels, self.picked)
        return sum(array.nbytes for array in arrays if array is not None)
