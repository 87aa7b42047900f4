"""What the engine asks of its callers."""

from typing import Any, Protocol

from daskcluster.sizing import Block


class Rows(Protocol):
    """What was read of a block: all of its rows, or some."""

    @property
    def nbytes(self) -> int:
        """Decoded bytes."""

    @property
    def picked(self) -> Any:
        """Which rows of the block these are; None for all."""

    def pick(self, indices: Any) -> "Rows | None":
        """Copies of some rows, by their ascending place in the block; None if one is not here."""


class Reader(Protocol):
    """Reads rows; picklable, and cheap to send: it opens its data where it is used.

    One for which every block on its way costs more than the block says so in an attribute
    ``most_ahead``: so many are read before they are needed, at most. One that is not cheap to send
    says so in an attribute ``heavy``: it is sent once to each worker, and not with every task.
    """

    @property
    def token(self) -> str:
        """Names the bytes: readers of one token read the same rows."""

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in this process already, so that nothing is decoded or kept."""

    def read(self, block: Block) -> Rows:
        """The block's rows; raises what a damaged or missing file deserves."""

    def identity(self) -> str:
        """Look at the data afresh and say which build of it is there."""


class Reduction(Protocol):
    """A map and a merge over all blocks. Pure: any attempt may be repeated or run elsewhere.

    One that has work to do before any block may do it in a method ``prepare``, which is called in a
    run on this process's threads; elsewhere its first steps do it.

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


class Sparing(Reduction, Protocol):
    """A reduction that says, before a block is read, which of its rows it must see.

    One that does so at times only has an attribute ``spares``: when false, its step gets the state.
    """

    def ask(self, state: Any) -> Any:
        """From a block's state (None when absent) to what its step gets in the state's place.

        Its attribute ``rows`` holds ascending places in the block, or None for all. Where they are
        no rows, nothing is read, and the step gets None for a batch; where all are in memory, it
        may get these or more.
        """

    def likely(self, state: Any, n: int) -> Any:
        """The ``n`` rows, fewer than all, that are most likely to be asked for next: ascending."""
