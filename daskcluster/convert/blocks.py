"""Dask arrays of sparse blocks as a store: the blocks as they come, then chunks of even rows."""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from daskcluster.engine import Progress, Session
from daskcluster.engine.lazy import each_block
from daskcluster.engine.tasks import versions
from daskcluster.errors import InputError
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.moments import largest_magnitude
from daskcluster.kernels.sparse import SparseRows
from daskcluster.sizing import (
    SPARSE_GRAIN,
    Block,
    Cut,
    check_row_type,
    sparse_bytes,
    sparse_chunk_rows,
)
from daskcluster.store import (
    Build,
    SparseReader,
    Store,
    StoreInfo,
    building,
    get_rows,
    open_store,
    put_rows,
    sparse_arrays,
    write_sparse,
)
from daskcluster.store.sparse import joined
from daskcluster.survey import survey


def is_sparse_dask(x: Any) -> bool:
    """Whether a Dask array consists of matrices of scipy.sparse."""
    return bool(sparse.issparse(getattr(x, "_meta", None)))


def convert_sparse_dask(
    x: Any, store: str | os.PathLike[str], *, progress: Progress | None = None
) -> Store:
    """Write a Dask array of sparse blocks as a store, computed on whatever Dask runs on."""
    if x.numblocks[1] != 1:
        raise InputError(
            f"the Dask array's blocks hold {x.chunks[1]} columns: sparse blocks must hold all of "
            "them; make it of blocks of whole rows"
        )
    dtype = check_row_type(x.dtype, "the Dask array")
    with building(store, n_rows=1, rows_per_chunk=1) as build:
        lengths = each_block(x, _PutBlock(build, dtype))
        stored = np.concatenate(lengths)
        n, d = len(stored), int(x.shape[1])
        size = sparse_chunk_rows(n, int(stored.sum()), np.dtype(dtype).itemsize)
        width = max(int(np.add.reduceat(stored, np.arange(0, n, size)).max()), 1)
        build = replace(build, n_rows=n, rows_per_chunk=size)
        starts = np.cumsum([0, *map(len, lengths)])
        _write(build, tuple(starts.tolist()), int(stored.sum()), width, d, dtype, progress)
        _seal(build, int(stored.sum()), width, d, dtype, progress)
    return open_store(store)


@dataclass(frozen=True)
class _PutBlock:
    """Writes a block into the build; returns how many elements its rows store."""

    build: Build
    dtype: str

    def __call__(self, index: int, block: Any) -> npt.NDArray[np.int64]:
        rows = SparseRows.of(block)
        largest_magnitude(rows, 0, f"block {index} of the Dask array")
        put_rows(self.build, f"parts/{index}", rows)
        return rows.lengths


@dataclass(frozen=True)
class _Parts:
    """Reads runs of rows of the blocks."""

    build: Build
    starts: tuple[int, ...]
    """First rows of the blocks, and the end of the last."""
    n_features: int

    in_memory = False

    @property
    def token(self) -> str:
        return f"{self.build.path}#{self.build.id}/parts"

    def read(self, block: Block) -> Batch:
        low = int(np.searchsorted(self.starts, block.start, side="right")) - 1
        high = int(np.searchsorted(self.starts, block.stop, side="left"))
        rows = joined([self._part(i) for i in range(low, high)], self.n_features)
        first = block.start - self.starts[low]
        return Batch(block.start, rows[first : first + block.stop - block.start])

    def identity(self) -> str:
        return self.build.id

    @cached_property
    def _part(self) -> Any:
        """Reads a block; those read last are kept while this reader is."""

        def read(index: int) -> SparseRows:
            return get_rows(self.build, f"parts/{index}", self.n_features)

        return lru_cache(maxsize=2)(read)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_part"}


@dataclass(frozen=True)
class _WriteChunks:
    """Reduction: write every block of one chunk."""

    build: Build
    width: int
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[int, None]:
        write_sparse(self.build, batch.start // self.build.rows_per_chunk, batch.rows, self.width)
        return len(batch.rows), None

    def merge(self, a: int, b: int) -> int:
        return a + b


def _write(
    build: Build, starts: tuple[int, ...], stored: int, width: int, n_features: int, dtype: str,
    progress: Progress | None,
) -> None:  # fmt: skip
    for spec in sparse_arrays(width, build.rows_per_chunk, dtype):
        build.create_array(spec)
    cut = Cut(build.n_rows, build.rows_per_chunk)
    n_bytes = sparse_bytes(build.n_rows, stored, np.dtype(dtype).itemsize)
    with Session(_Parts(build, starts, n_features), cut, n_bytes, progress=progress) as session:
        session.reduce(_WriteChunks(build, width), "convert")
    build.drop("parts")


def _seal(
    build: Build, stored: int, width: int, n_features: int, dtype: str, progress: Progress | None
) -> None:
    n, size = build.n_rows, build.rows_per_chunk
    reader = SparseReader(build.path, build.id, n, n_features, size, sealed=False)
    n_bytes = sparse_bytes(n, stored, np.dtype(dtype).itemsize)
    with Session(reader, Cut(n, size), n_bytes, progress=progress) as session:
        moments = survey(session, "the Dask array", n, dtype)
    build.put("moments/sums", moments.sums)
    build.put("moments/squares", moments.squares)
    info = StoreInfo(
        build=build.id, n_rows=n, n_features=n_features, dtype=dtype, rows_per_chunk=size,
        grain=SPARSE_GRAIN, codec=build.codec, sample_shape=(n_features,), class_names=None,
        moments=moments, sources=(), created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=dict(versions()), sparse={"stored": stored, "width": width},
    )  # fmt: skip
    build.seal(info.to_json())
