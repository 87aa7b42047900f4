"""The two reductions over a corpus: documents to counted parts, counts to weighed rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.convert.parts import DOCUMENTS_PER_PART, count_terms, write_part
from daskcluster.convert.weighing import TextOptions, weigh
from daskcluster.kernels.batch import Batch
from daskcluster.sizing import Block
from daskcluster.sources.documents import Document
from daskcluster.store import Build, write_sparse


@dataclass(frozen=True)
class Texts:
    """Documents ``start`` and following, as a block is read."""

    start: int
    documents: list[Document]

    picked = None

    @property
    def nbytes(self) -> int:
        """How many they are: what a pass over a corpus is counted by."""
        return len(self.documents)

    def pick(self, indices: Any) -> None:
        """Documents are never asked for one by one."""


@dataclass(frozen=True)
class DocumentReader:
    """Reads documents of a folder as blocks."""

    source: Any

    in_memory = False

    @property
    def token(self) -> str:
        return f"documents:{self.source.path}"

    def read(self, block: Block) -> Texts:
        return Texts(block.start, self.source.read(block.start, block.stop))

    def identity(self) -> str:
        return f"{self.source.n_documents} documents"


@dataclass(frozen=True)
class CountParts:
    """Reduction: count the terms of every block, and write the part; returns how many there are."""

    build: Build
    options: TextOptions
    state_kind = None

    @cached_property
    def _analyze(self) -> Any:
        return self.options.analyzer()

    def __getstate__(self) -> dict[str, Any]:
        return {"build": self.build, "options": self.options}

    def step(self, batch: Texts, state: None) -> tuple[int, None]:
        part = count_terms(batch.documents, self._analyze)
        write_part(self.build, batch.start // DOCUMENTS_PER_PART, part)
        return len(batch.documents), None

    def merge(self, a: int, b: int) -> int:
        return a + b


@dataclass(frozen=True)
class WriteRows:
    """Reduction: weigh the counts of every block of one chunk, and write it."""

    build: Build
    options: TextOptions
    idf: npt.NDArray[np.float64] | None
    n_features: int
    width: int | None
    """Of a sparse chunk; None for dense rows."""
    state_kind = None

    @cached_property
    def _transformer(self) -> Any:
        return self.options.transformer(self.idf, self.n_features)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_transformer"}

    def step(self, batch: Batch, state: None) -> tuple[int, None]:
        rows = weigh(batch.rows, self._transformer)
        if self.width is None:
            self.build.write("data", batch.start, np.asarray(rows))
        else:
            write_sparse(self.build, batch.start // self.build.rows_per_chunk, rows, self.width)
        return len(rows), None

    def merge(self, a: int, b: int) -> int:
        return a + b
