"""Writing: a build's arrays, then one atomic write that makes them the store."""

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import zarr

from daskcluster.errors import StoreError
from daskcluster.store.layout import (
    ATTRIBUTE,
    FORMAT,
    compressors,
    is_url,
    zarr_store,
)


@dataclass(frozen=True)
class ArraySpec:
    """An array of a build: rows along the first axis, chunked there and nowhere else."""

    name: str
    row_shape: tuple[int, ...]
    dtype: str
    fill_value: int = 0


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
    fresh: bool
    """Whether nothing was at ``path`` before, so that giving up removes all of it."""

    @property
    def folder(self) -> str:
        return f"build-{self.id}"

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_arrays"}

    def create_array(self, spec: ArraySpec) -> None:
        """Write the array's metadata; its chunks come from `write`."""
        dtype = np.dtype(spec.dtype)
        zarr.create_array(
            zarr_store(self.path, read_only=False),
            name=f"{self.folder}/{spec.name}",
            shape=(self.n_rows, *spec.row_shape),
            chunks=(self.rows_per_chunk, *spec.row_shape),
            dtype=dtype,
            compressors=compressors(self.codec, dtype.itemsize),
            fill_value=spec.fill_value,
            # A chunk of zeros is written too, else it could not be told from a lost one.
            config={"write_empty_chunks": True},
        )

    def write(self, name: str, start: int, rows: npt.NDArray[Any]) -> None:
        """Write ``rows`` from row ``start`` on: whole chunks, or what ends the array."""
        if name not in self._arrays:
            store = zarr_store(self.path, read_only=False)
            self._arrays[name] = zarr.open_array(store, path=f"{self.folder}/{name}", mode="r+")
        self._arrays[name][start : start + len(rows)] = rows

    def seal(self, attributes: dict[str, Any]) -> None:
        """Make this build the store: one atomic write; then delete the build it replaces."""
        if not is_url(self.path):
            _sync_tree(Path(self.path))
        group = zarr.open_group(zarr_store(self.path, read_only=False), mode="r+")
        group.attrs.put({ATTRIBUTE: attributes})
        if not is_url(self.path):
            _sync(Path(self.path) / "zarr.json")
            _sync(Path(self.path))
        for name in [n for n in group.group_keys() if n.startswith("build-") and n != self.folder]:
            del group[name]

    def discard(self) -> None:
        """Give the build up: leave what was at the path before, or nothing."""
        if self.fresh:
            _delete(self.path)
        else:
            group = zarr.open_group(zarr_store(self.path, read_only=False), mode="r+")
            if self.folder in group:
                del group[self.folder]


def create_build(
    path: str | os.PathLike[str],
    *,
    n_rows: int,
    rows_per_chunk: int,
    codec: str = "lz4",
    overwrite: bool = False,
    kind: str = FORMAT,
) -> Build:
    """Begin a build at ``path``.

    Raises
    ------
    StoreError
        Something is there that ``overwrite`` does not allow to replace: a file, a folder or Zarr
        group of another ``kind`` (never replaced), or a store (replaced with ``overwrite``).
    """
    path = os.fspath(path)
    compressors(codec, 1)
    fresh = _check_target(path, overwrite, kind)
    return Build(path, uuid.uuid4().hex[:12], n_rows, rows_per_chunk, codec, fresh)


def _check_target(path: str, overwrite: bool, kind: str) -> bool:
    names = list(_names(path))
    if not names:
        return True
    if "zarr.json" not in names or not _is_of_kind(path, kind):
        raise StoreError(f"{path} exists and is not a {kind}: choose another place")
    if not overwrite:
        raise StoreError(f"{path} exists: choose another place, or replace it with --overwrite")
    return False


def _names(path: str) -> Iterator[str]:
    if is_url(path):
        fs, inner = fsspec.core.url_to_fs(path)
        if fs.exists(inner):
            yield from (name.rstrip("/").rsplit("/", 1)[-1] for name in fs.ls(inner, detail=False))
    elif Path(path).is_dir():
        yield from (p.name for p in Path(path).iterdir())
    elif Path(path).exists():
        raise StoreError(f"{path} is a file: a store is a folder, choose another place")
    else:
        parent = next(p for p in Path(path).absolute().parents if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise StoreError(f"{path} cannot be made: {parent} is not a folder one may write to")


def _is_of_kind(path: str, kind: str) -> bool:
    """Whether a Zarr group is sealed as ``kind``, or was begun: it holds nothing but builds."""
    try:
        group = zarr.open_group(zarr_store(path, read_only=True), mode="r")
    except (FileNotFoundError, ValueError, KeyError):
        return False
    given = group.attrs.get(ATTRIBUTE)
    if isinstance(given, dict):
        return given.get("format") == kind
    names = list(group.group_keys()) + list(group.array_keys())
    return bool(names) and all(name.startswith("build-") for name in names)


def _delete(path: str) -> None:
    if is_url(path):
        fs, inner = fsspec.core.url_to_fs(path)
        if fs.exists(inner):
            fs.rm(inner, recursive=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _sync_tree(root: Path) -> None:
    for folder, _, files in os.walk(root):
        for name in files:
            _sync(Path(folder) / name)
        _sync(Path(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
