"""What `bench_engine` sends to workers; here, because functions of a script travel by value."""

from dataclasses import dataclass

from daskcluster.kernels.batch import Batch


@dataclass(frozen=True)
class Count:
    """Reduction: how many rows there are. What it costs is the engine's."""

    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[int, None]:
        return len(batch.rows), None

    def merge(self, a: int, b: int) -> int:
        return a + b


def no_op(x: int) -> int:
    """A task that does nothing."""
    return x
