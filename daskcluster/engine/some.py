"""Some blocks of data, to see what all of them would take."""

from dataclasses import dataclass, replace
from typing import Any

from daskcluster.engine.protocols import Rows
from daskcluster.sizing import MOST_READ_AHEAD, Block


@dataclass(frozen=True)
class SomeBlocks:
    """Some blocks of a reader's rows, as if there were no others."""

    reader: Any
    blocks: tuple[Block, ...]

    @property
    def in_memory(self) -> bool:
        return bool(self.reader.in_memory)

    @property
    def heavy(self) -> bool:
        return bool(getattr(self.reader, "heavy", False))

    @property
    def most_ahead(self) -> int:
        return int(getattr(self.reader, "most_ahead", MOST_READ_AHEAD))

    @property
    def token(self) -> str:
        return f"{self.reader.token}|{[block.start for block in self.blocks]}"

    def read(self, block: Block) -> Rows:
        batch: Any = self.reader.read(self.blocks[block.index])
        moved: Rows = replace(batch, start=block.start)
        return moved

    def identity(self) -> str:
        return str(self.reader.identity())
