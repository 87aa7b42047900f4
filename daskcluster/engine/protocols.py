"""What the engine asks of its callers."""

from typing import Any, Protocol

from daskcluster.plan import Block


class Sized(Protocol):
    """Anything that says how many decoded bytes it holds."""

    @property
    def nbytes(self) -> int: ...


class Reader(Protocol):
    """Reads rows; picklable, and cheap to send: it opens its data where it is used."""

    @property
    def token(self) -> str:
        """Names the bytes: readers of one token read the same rows."""

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in this process already, so that nothing is decoded or kept."""

    def read(self, block: Block) -> Sized:
        """The block's rows; raises what a damaged or missing file deserves."""

    def identity(self) -> str:
        """Look at the data afresh and say which build of it is there."""


class Reduction(Protocol):
    """A map and a merge over all blocks. Pure: any attempt may be repeated or run elsewhere.

    One whose partials are large says so in an attribute ``partial_nbytes``: they are then merged on
    the workers before what is left of them comes to the driver.
    """

    @property
    def state_kind(self) -> str | None:
        """Under which name a block's state is kept between reductions of a run; None for none."""

    def step(self, batch: Any, state: Any) -> tuple[Any, Any]:
        """From a block and its state (None when absent) to a partial and the new state."""

    def merge(self, a: Any, b: Any) -> Any:
        """Add two partials; associative and commutative to the last bit."""
