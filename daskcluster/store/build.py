"""Writing: a build's arrays, then one atomic write that makes them the store."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from daskcluster.errors import StoreError
from daskcluster.files import sync
from daskcluster.store import place
from daskcluster.store.layout import ATTRIBUTE, compressors, is_build, is_url, zarr_store

# A chunk of zeros is written too, else it could not be told from a lost one.
_CONFIG: Any = {"write_empty_chunks": True}


class _Writers:
    """The writers of this process: whoever gives the build up shuts them out, and waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._writing = 0
        self._shut = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            if self._shut:
                raise StoreError("the build was given up while it was being written")
            self._writing += 1
        try:
            yield
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()

    def shut_out(self) -> None:
        with self._changed:
            self._shut = True
            self._changed.wait_for(lambda: self._writing == 0)


@dataclass(frozen=True)
class ArraySpec:
    """An array of a build: rows along the first axis, chunked there and nowhere else."""

    name: str
    row_shape: tuple[int, ...]
    dtype: str
    fill_value: int = 0
    per_chunk: bool = False
    """Whether what lies along the first axis are chunks of rows, one row of the array each."""


@dataclass(frozen=True)
class Build:
    """One writing of a store; picklable, so that workers write their own chunks.

    One writer per chunk: callers write whole chunks, each once.
    """

    path: str
    id: str
    n_rows: int
    rows_per_chunk: int
    codec: str
    root: str | None
    """Where nothing was at ``path`` before, the nearest folder that was: giving up removes all
    between the two. None where a store is being replaced."""
    sealed: bool = False
    """Whether it was the store already when it was begun, so that nothing is left to do."""
    _writers: _Writers = field(default_factory=_Writers, repr=False, compare=False)

    @property
    def folder(self) -> str:
        return f"build-{self.id}"

    @property
    def n_chunks(self) -> int:
        return -(-self.n_rows // self.rows_per_chunk)

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_arrays", "_writers")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _writers=_Writers())

    def create_array(self, spec: ArraySpec) -> None:
        """Write the array's metadata, if it is not there; its chunks come from `write`."""
        if place.exists(f"{self.path}/{self.folder}/{spec.name}/zarr.json"):
            return
        dtype = np.dtype(spec.dtype)
        n, size = (self.n_chunks, 1) if spec.per_chunk else (self.n_rows, self.rows_per_chunk)
        zarr.create_array(
            zarr_store(self.path, read_only=False),
            name=f"{self.folder}/{spec.name}",
            shape=(n, *spec.row_shape),
            chunks=(size, *spec.row_shape),
            dtype=dtype,
            compressors=compressors(self.codec, dtype.itemsize),
            fill_value=spec.fill_value,
            config=_CONFIG,
        )

    def put(self, name: str, values: npt.NDArray[Any]) -> None:
        """Write a small array of any shape whole; again, where it is there already."""
        with self._writers.writing():
            array = zarr.create_array(
                zarr_store(self.path, read_only=False),
                name=f"{self.folder}/{name}",
                shape=values.shape,
                chunks=tuple(max(n, 1) for n in values.shape),
                dtype=values.dtype,
                compressors=compressors(self.codec, values.dtype.itemsize),
                config=_CONFIG,
                overwrite=True,
            )
            if values.size:
                array[...] = values

    def get(self, name: str) -> npt.NDArray[Any]:
        """What `put` wrote."""
        store = zarr_store(self.path, read_only=True)
        array: Any = zarr.open_array(store, path=f"{self.folder}/{name}", mode="r", zarr_format=3)
        return np.asarray(array[...])

    def has(self, name: str) -> bool:
        """Whether an array, or a group of them, was begun."""
        return place.exists(f"{self.path}/{self.folder}/{name}")

    def drop(self, name: str) -> None:
        """Delete an array, or a folder of them."""
        place.delete(f"{self.path}/{self.folder}/{name}")

    def missing(self, name: str) -> list[int]:
        """Indices of the array's chunks that are not written. One that is there is whole."""
        written = {
            int(chunk.split("/")[0])
            for chunk in place.files(f"{self.path}/{self.folder}/{name}/c")
            if chunk.replace("/", "").isdigit()
        }
        return [i for i in range(self.n_chunks) if i not in written]

    def write(self, name: str, start: int, rows: npt.NDArray[Any]) -> None:
        """Write ``rows`` from row ``start`` on: whole chunks, or what ends the array."""
        with self._writers.writing():
            if name not in self._arrays:
                store = zarr_store(self.path, read_only=False)
                found: Any = zarr.open_array(
                    store, path=f"{self.folder}/{name}", mode="r+", zarr_format=3
                )
                # Opening takes no configuration, and it is not kept with the array.
                again = zarr.AsyncArray(found.metadata, found.store_path, config=_CONFIG)
                self._arrays[name] = zarr.Array(again)
            self._arrays[name][start : start + len(rows)] = rows
            if not place.exists(f"{self.path}/{self.folder}/zarr.json"):
                # Another process gave the build up meanwhile: what was just written goes too.
                self._delete_arrays()

    def seal(self, attributes: dict[str, Any]) -> None:
        """Make this build the store: one atomic write; then delete the build it replaces."""
        if not place.exists(f"{self.path}/{self.folder}/zarr.json"):
            raise StoreError(f"{self.path}: another conversion took this place; run it again")
        place.delete_partial(f"{self.path}/{self.folder}")
        if not is_url(self.path):
            place.sync_tree(Path(self.path))
        group = zarr.open_group(zarr_store(self.path, read_only=False), mode="r+", zarr_format=3)
        group.attrs.put({ATTRIBUTE: attributes})
        if not is_url(self.path):
            sync(Path(self.path) / "zarr.json")
            sync(Path(self.path))
        self.delete_others()

    def delete_others(self) -> None:
        """Delete all other builds here: nobody reads or writes them any more."""
        for name in place.names(self.path):
            if is_build(name) and name != self.folder:
                # This first: a build without it is never gone on with.
                place.delete(f"{self.path}/{name}/zarr.json")
                place.delete(f"{self.path}/{name}")

    def discard(self) -> None:
        """Give the build up: leave what was at the path before, or nothing.

        A build that is sealed stays: what it replaced may be gone already.
        """
        self._writers.shut_out()
        if self._sealed():
            return
        # This first: late writers of other processes look for it.
        place.delete(f"{self.path}/{self.folder}/zarr.json")
        if self.root is not None:
            place.delete(f"{self.path}/zarr.json")
        self._delete_arrays()

    def _sealed(self) -> bool:
        try:
            group = zarr.open_group(zarr_store(self.path, read_only=True), mode="r", zarr_format=3)
        except Exception:  # never opened, or damaged: not sealed by this build
            return False
        given = group.attrs.get(ATTRIBUTE)
        return isinstance(given, dict) and given.get("build") == self.id

    def _delete_arrays(self) -> None:
        place.delete(f"{self.path}/{self.folder}")
        if self.root is not None and not is_url(self.path):
            place.delete_empty(Path(self.path).absolute(), Path(self.root))
