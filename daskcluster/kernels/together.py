"""Several reductions in one read of the data."""

from dataclasses import dataclass
from typing import Any

from daskcluster.kernels.batch import Batch


@dataclass(frozen=True)
class Together:
    """Reduction: the partials of several, as a tuple. None of them keeps state."""

    jobs: tuple[Any, ...]
    state_kind = None

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the sums of one partial."""
        return sum(getattr(job, "partial_nbytes", 0) for job in self.jobs)

    def step(self, batch: Batch, state: None) -> tuple[tuple[Any, ...], None]:
        return tuple(job.step(batch, None)[0] for job in self.jobs), None

    def merge(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(job.merge(x, y) for job, x, y in zip(self.jobs, a, b, strict=True))
