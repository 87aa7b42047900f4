"""Writing: a build's arrays, then one atomic write that makes them the store."""

import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    plain_path,
    zarr_store,
)

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
    _writers: _Writers = field(default_factory=_Writers, repr=False, compare=False)

    @property
    def folder(self) -> str:
        return f"build-{self.id}"

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_arrays", "_writers")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _writers=_Writers())

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
            config=_CONFIG,
        )

    def write(self, name: str, start: int, rows: npt.NDArray[Any]) -> None:
        """Write ``rows`` from row ``start`` on: whole chunks, or what ends the array."""
        with self._writers.writing():
            if name not in self._arrays:
                store = zarr_store(self.path, read_only=False)
                found: Any = zarr.open_array(store, path=f"{self.folder}/{name}", mode="r+")
                # Opening takes no configuration, and it is not kept with the array.
                again = zarr.AsyncArray(found.metadata, found.store_path, config=_CONFIG)
                self._arrays[name] = zarr.Array(again)
            self._arrays[name][start : start + len(rows)] = rows
            if not _exists(f"{self.path}/{self.folder}/zarr.json"):
                # Another process gave the build up meanwhile: what was just written goes too.
                self._delete_arrays()

    def seal(self, attributes: dict[str, Any]) -> None:
        """Make this build the store: one atomic write; then delete the build it replaces."""
        if not is_url(self.path):
            _sync_tree(Path(self.path))
        group = zarr.open_group(zarr_store(self.path, read_only=False), mode="r+")
        group.attrs.put({ATTRIBUTE: attributes})
        if not is_url(self.path):
            _sync(Path(self.path) / "zarr.json")
            _sync(Path(self.path))
        for name in [n for n in group.group_keys() if _is_build(n) and n != self.folder]:
            del group[name]

    def discard(self) -> None:
        """Give the build up: leave what was at the path before, or nothing.

        A build that is sealed stays: what it replaced may be gone already.
        """
        self._writers.shut_out()
        if self._sealed():
            return
        # This first: late writers of other processes look for it.
        _delete(f"{self.path}/{self.folder}/zarr.json")
        if self.root is not None:
            _delete(f"{self.path}/zarr.json")
        self._delete_arrays()

    def _sealed(self) -> bool:
        try:
            group = zarr.open_group(zarr_store(self.path, read_only=True), mode="r")
        except Exception:  # never opened, or damaged: not sealed by this build
            return False
        given = group.attrs.get(ATTRIBUTE)
        return isinstance(given, dict) and given.get("build") == self.id

    def _delete_arrays(self) -> None:
        _delete(f"{self.path}/{self.folder}")
        if self.root is not None and not is_url(self.path):
            _delete_empty(Path(self.path).absolute(), Path(self.root))


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
    path = plain_path(path)
    compressors(codec, 1)
    root = _check_target(path, overwrite, kind)
    return Build(path, uuid.uuid4().hex[:12], n_rows, rows_per_chunk, codec, root)


def _check_target(path: str, overwrite: bool, kind: str) -> str | None:
    """The `Build.root` of a build at ``path``; raises `StoreError` if none may begin there."""
    names = list(_names(path))
    if not names:
        return "" if is_url(path) else str(_nearest_folder(path))
    if "zarr.json" not in names or not _is_of_kind(path, kind):
        raise StoreError(f"{path} exists and is not a {kind}: choose another place")
    if not overwrite:
        raise StoreError(f"{path} exists: choose another place, or replace it with --overwrite")
    return None


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
        parent = _nearest_folder(path)
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise StoreError(f"{path} cannot be made: {parent} is not a folder one may write to")


def _nearest_folder(path: str) -> Path:
    absolute = Path(path).absolute()
    return next(p for p in (absolute, *absolute.parents) if p.exists())


def _is_of_kind(path: str, kind: str) -> bool:
    """Whether a Zarr group is sealed as ``kind``, or was begun: it holds nothing but builds."""
    try:
        group = zarr.open_group(zarr_store(path, read_only=True), mode="r")
        given = group.attrs.get(ATTRIBUTE)
        if isinstance(given, dict):
            return given.get("format") == kind
        names = list(group.group_keys()) + list(group.array_keys())
    except Exception:  # foreign metadata makes Zarr raise whatever its parsers can think of
        return False
    return bool(names) and not group.attrs and all(_is_build(name) for name in names)


def _is_build(name: str) -> bool:
    return re.fullmatch("build-[0-9a-f]{12}", name) is not None


def _exists(path: str) -> bool:
    if is_url(path):
        fs, inner = fsspec.core.url_to_fs(path)
        return bool(fs.exists(inner))
    return Path(path).exists()


def _delete(path: str) -> None:
    if is_url(path):
        fs, inner = fsspec.core.url_to_fs(path)
        if fs.exists(inner):
            fs.rm(inner, recursive=True)
    elif Path(path).is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def _delete_empty(path: Path, root: Path) -> None:
    """Remove the folders from ``path`` up to ``root``, which stays, as long as they are empty."""
    while path != root:
        try:
            path.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        path = path.parent


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
