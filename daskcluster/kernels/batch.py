"""What a block holds when it is read: the argument of every step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Batch:
    """Rows ``start`` to ``start + len(rows)`` of the data."""

    start: int
    """Absolute index of the first row."""
    rows: npt.NDArray[Any]
    """Shape (n, n_features), C-contiguous, in the type in which they are stored."""
    labels: npt.NDArray[np.int32] | None = None
    """True classes as codes, shape (n,), -1 where unknown; None unless asked for."""

    @property
    def nbytes(self) -> int:
        """Decoded bytes."""
        return self.rows.nbytes + (0 if self.labels is None else self.labels.nbytes)
