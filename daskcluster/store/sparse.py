"""Sparse rows in a build: for every chunk of rows one chunk of each of three arrays.

``data`` and ``indices`` have as many places a chunk as the fullest one needs, and ``indptr`` says
how many of them a chunk's rows take; the rest are zeros, which compress to nothing. So every chunk
has one writer, and one read fetches the rows of a block.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.errors import StoreError
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.sparse import SparseRows
from daskcluster.sizing import Block
from daskcluster.store.build import ArraySpec, Build
from daskcluster.store.reading import BuildArray, open_store

NAMES = ("data", "indices", "indptr")


def sparse_arrays(width: int, rows_per_chunk: int, dtype: str) -> tuple[ArraySpec, ...]:
    """The three arrays, of chunks that hold up to ``width`` elements."""
    return (
        ArraySpec("data", (width,), dtype, per_chunk=True),
        ArraySpec("indices", (width,), "int32", per_chunk=True),
        ArraySpec("indptr", (rows_per_chunk + 1,), "int64", per_chunk=True),
    )


def write_sparse(build: Build, chunk: int, rows: SparseRows, width: int) -> None:
    """Write the rows of a chunk; the last one may have fewer."""
    indptr = np.full(build.rows_per_chunk + 1, len(rows.data), dtype=np.int64)
    indptr[: len(rows) + 1] = rows.indptr
    build.write("indptr", chunk, indptr[np.newaxis])
    build.write("indices", chunk, _padded(rows.indices, width))
    build.write("data", chunk, _padded(rows.data, width))


def put_rows(build: Build, place: str, rows: SparseRows) -> None:
    """Write rows as they are, under a name of their own: what is on the way to chunks."""
    for name in NAMES:
        build.put(f"{place}/{name}", getattr(rows, name))


def get_rows(build: Build, place: str, n_features: int) -> SparseRows:
    """What `put_rows` wrote."""
    data, indices, indptr = (build.get(f"{place}/{name}") for name in NAMES)
    return SparseRows(data, indices, indptr, n_features)


def _padded(values: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    padded = np.zeros((1, width), dtype=values.dtype)
    padded[0, : len(values)] = values
    return padded


@dataclass(frozen=True)
class SparseReader:
    """Reads blocks of whole chunks of one build; opens its arrays once in each process."""

    path: str
    build: str
    n_rows: int
    n_features: int
    rows_per_chunk: int
    sealed: bool = True
    """Whether the build is what the store's pointer should name."""
    with_labels: bool = False

    in_memory = False

    @property
    def token(self) -> str:
        return f"{self.path}#{self.build}/sparse{'+labels' if self.with_labels else ''}"

    @cached_property
    def _arrays(self) -> dict[str, BuildArray]:
        names = (*NAMES, "labels") if self.with_labels else NAMES
        return {name: BuildArray(self.path, self.build, name) for name in names}

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_arrays"}

    def read(self, block: Block) -> Batch:
        """The block's rows, and their labels if asked for."""
        labels = None
        if self.with_labels:
            labels = self._arrays["labels"].rows(block.start, block.stop)
        return Batch(block.start, self.rows(block.start, block.stop), labels)

    def rows(self, start: int, stop: int) -> SparseRows:
        """Rows ``start`` to ``stop``."""
        size = self.rows_per_chunk
        parts = [self._chunk(i) for i in range(start // size, -(-stop // size))]
        first = start - start // size * size
        found: SparseRows = joined(parts, self.n_features)[first : first + stop - start]
        return found

    def _chunk(self, i: int) -> SparseRows:
        data, indices, indptr = (self._arrays[name].rows(i, i + 1)[0] for name in NAMES)
        n = min(self.rows_per_chunk, self.n_rows - i * self.rows_per_chunk)
        ends, stored = indptr[: n + 1], int(indptr[n])
        columns = indices[:stored]
        # Products by compiled loops would go wherever these lead.
        sound = ends[0] == 0 and stored <= len(data) and (np.diff(ends) >= 0).all()
        if not sound or (stored and not 0 <= columns.min() <= columns.max() < self.n_features):
            raise StoreError(
                f"{self.path}: chunk {i} holds rows of other columns than the store: restore it, "
                "or convert again"
            )
        return SparseRows(data[:stored], columns, ends, self.n_features)

    def identity(self) -> str:
        """The build that a fresh look at the path finds."""
        return open_store(self.path).check_build(self.build) if self.sealed else self.build


def joined(parts: list[SparseRows], n_features: int) -> SparseRows:
    """Rows one after the other."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(len(part.data) for part in parts)])
    indptr = [part.indptr[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return SparseRows(
        np.concatenate([part.data for part in parts]),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([*indptr, ends[-1:]]),
        n_features,
    )
