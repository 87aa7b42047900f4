"""Dask arrays at the edge: lazy results made of blocks, and Dask arrays written as rows."""

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt

from daskcluster.engine.blas import BLAS
from daskcluster.engine.protocols import Reader
from daskcluster.sizing import Cut

BlockFunction = Callable[[Any], npt.NDArray[Any]]


def temporary_directory() -> str | None:
    """Where Dask is told to keep temporary files; None for the system's own place."""
    place: str | None = dask.config.get("temporary-directory", None)
    return place


def is_dask_array(x: Any) -> bool:
    """Whether ``x`` is a Dask array."""
    return isinstance(x, da.Array)


def lazy_rows(
    reader: Reader, cut: Cut, function: BlockFunction, dtype: Any, width: int | None = None
) -> da.Array:
    """A Dask array of ``function(batch)``, a chunk a block; its graph holds no more than that.

    ``width`` is the second axis of the result, None for one dimension.
    """
    blocks = (cut.block(i) for i in range(len(cut)))
    rows = tuple(block.stop - block.start for block in blocks)
    indices = da.arange(len(cut), chunks=1)
    more: dict[str, Any] = {} if width is None else {"new_axis": 1}
    chunks = (rows,) if width is None else (rows, (width,))
    meta = np.empty((0,) if width is None else (0, 0), dtype=dtype)
    return da.map_blocks(
        _block, indices, reader=reader, cut=cut, function=function, chunks=chunks, dtype=dtype,
        meta=meta, **more,
    )  # fmt: skip


def _block(
    index: npt.NDArray[np.int64], reader: Reader, cut: Cut, function: BlockFunction
) -> npt.NDArray[Any]:
    return _alone(reader.read(cut.block(int(index[0]))), function)


def _alone(rows: Any, function: BlockFunction) -> npt.NDArray[Any]:
    """``function(rows)`` on one thread of BLAS: others would be too many, and round otherwise."""
    with BLAS.held():
        return function(rows)


def map_rows(
    x: da.Array, function: BlockFunction, dtype: Any, width: int | None = None
) -> da.Array:
    """``function`` of each run of rows of a Dask array, lazily."""
    x = flat(x)
    if width is None:
        meta = np.empty((0,), dtype=dtype)
        return x.map_blocks(_alone, function=function, dtype=dtype, drop_axis=1, meta=meta)
    chunks = (x.chunks[0], (width,))
    meta = np.empty((0, 0), dtype=dtype)
    return x.map_blocks(_alone, function=function, dtype=dtype, chunks=chunks, meta=meta)


def flat(x: da.Array) -> da.Array:
    """A Dask array of known length as rows of whole features."""
    if any(np.isnan(n) for n in x.shape):
        x = x.compute_chunk_sizes()
    x = x.rechunk(dict.fromkeys(range(1, x.ndim), -1))
    return x if x.ndim == 2 else x.reshape((x.shape[0], -1))


class _Target:
    def __init__(self, write: Callable[[int, npt.NDArray[Any]], Any]) -> None:
        self._write = write

    def __setitem__(self, index: tuple[slice, ...], rows: npt.NDArray[Any]) -> None:
        self._write(index[0].start, rows)


def write_dask(
    x: da.Array, rows_per_block: int, write: Callable[[int, npt.NDArray[Any]], Any]
) -> None:
    """Compute ``flat(x)`` on whatever Dask runs on; each task writes whole blocks of rows."""
    aligned = x.rechunk((rows_per_block, -1))
    # Every block is whole chunks of the target with one writer, so no lock is needed.
    da.store(aligned, _Target(write), lock=False)


def each_block(x: da.Array, function: Callable[[int, Any], Any]) -> list[Any]:
    """``function(index, block)`` of every run of rows of a Dask array, in the order of the rows."""
    blocks = x.to_delayed().ravel()
    calls = [dask.delayed(function)(i, block) for i, block in enumerate(blocks)]
    return list(dask.compute(*calls))
