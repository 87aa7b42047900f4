"""Readers of rows in memory, and of rows that are mapped or weighted as they are read."""

import hashlib
import uuid
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from daskcluster.fit.weights import Whole
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.rowmaps import RowMap
from daskcluster.sizing import MOST_READ_AHEAD, Block


@dataclass(frozen=True)
class ArrayReader:
    """Rows of an array in this process; nothing is decoded or copied."""

    array: Any
    """An ndarray, or `SparseRows`."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    in_memory = True

    def read(self, block: Block) -> Batch:
        return Batch(block.start, self.array[block.start : block.stop])

    def identity(self) -> str:
        return self.token


@dataclass(frozen=True)
class MappedReader:
    """Rows of a reader, mapped as they are read."""

    reader: Any
    map: RowMap

    in_memory = False

    @property
    def token(self) -> str:
        return f"{self.reader.token}|{self.map.token}"

    def read(self, block: Block) -> Batch:
        batch: Batch = self.reader.read(block)
        return replace(batch, rows=self.map(batch.rows))

    def identity(self) -> str:
        return str(self.reader.identity())


@dataclass(frozen=True)
class WeightedReader:
    """Rows of a reader, each with its weight."""

    reader: Any
    weights: Whole

    heavy = True

    @property
    def in_memory(self) -> bool:
        return bool(self.reader.in_memory)

    @property
    def most_ahead(self) -> int:
        return int(getattr(self.reader, "most_ahead", MOST_READ_AHEAD))

    @cached_property
    def token(self) -> str:
        return f"{self.reader.token}|{hashlib.sha256(self.weights.tobytes()).hexdigest()[:16]}"

    def read(self, block: Block) -> Batch:
        batch: Batch = self.reader.read(block)
        return replace(batch, weights=self.weights[block.start : block.stop])

    def identity(self) -> str:
        return str(self.reader.identity())
