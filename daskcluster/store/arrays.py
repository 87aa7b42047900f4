"""Zarr arrays of other people: read in place by row ranges, whatever made them."""

import math
import os
import uuid
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from daskcluster.errors import StoreError
from daskcluster.kernels.batch import Batch
from daskcluster.sizing import Block
from daskcluster.store.layout import is_url, plain_path, zarr_store


def zarr_array(path: str | os.PathLike[str]) -> Any | None:
    """The Zarr array at a path or URL, or None if there is something else."""
    place = plain_path(path)
    try:
        array = None if is_url(place) else _by_zarrs(place)
        return array or zarr.open_array(zarr_store(place, read_only=True), mode="r")
    # Something else, or damaged metadata: Zarr raises whatever its parsers can think of.
    except Exception:
        return None


def _by_zarrs(path: str) -> Any | None:
    """The array decoded by zarrs; None where that is not installed or does not know the codecs."""
    if find_spec("zarrs") is None:
        return None
    pipeline = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
    with zarr.config.set(pipeline), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with suppress(UserWarning):
            return zarr.open_array(zarr_store(path, read_only=True), mode="r")
    return None


@dataclass(frozen=True)
class ZarrRows:
    """Reads rows of any Zarr array, flattened; its missing chunks are fill values, as in Zarr."""

    array: Any
    opened: str = field(default_factory=lambda: uuid.uuid4().hex)
    """What was read of an array that was opened before is not what is there now."""

    in_memory = False

    @cached_property
    def token(self) -> str:
        return f"{self.array.store_path}{self.array.shape}{self.array.dtype}#{self.opened}"

    @property
    def n_rows(self) -> int:
        return int(self.array.shape[0])

    @property
    def n_features(self) -> int:
        return math.prod(self.array.shape[1:])

    @property
    def rows_per_chunk(self) -> int:
        """Rows of what Zarr reads at once: a shard where there are shards."""
        return int((self.array.shards or self.array.chunks)[0])

    @property
    def in_place(self) -> bool:
        """Whether a row lies in one chunk, so that nothing is decoded twice or in vain."""
        return bool(self.array.ndim == 2 and self.array.chunks[1] >= self.array.shape[1])

    def read(self, block: Block) -> Batch:
        return Batch(block.start, self.rows(block.start, block.stop))

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows ``start`` to ``stop`` as (stop - start, n_features), in native byte order."""
        rows = np.asarray(self.array[start:stop]).reshape(stop - start, self.n_features)
        return np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("="))

    def identity(self) -> str:
        array = zarr.open_array(self.array.store, path=self.array.path, mode="r")
        return f"{array.shape} {array.dtype} {array.chunks}"


def open_rows(array: Any) -> ZarrRows:
    """Wrap a Zarr array; raises `StoreError` for one without rows or columns."""
    if not isinstance(array, zarr.Array):
        raise StoreError(
            f"a {type(array).__name__} is not a Zarr array: give a path, URL or store, or an array "
            "of NumPy, Zarr or Dask"
        )
    if array.ndim < 1 or 0 in array.shape:
        raise StoreError(f"{array.store_path}: shape {array.shape} holds no rows to cluster")
    if not all(array.shards or array.chunks):
        raise StoreError(f"{array.store_path}: chunks of shape {array.chunks} hold no rows")
    return ZarrRows(array)
