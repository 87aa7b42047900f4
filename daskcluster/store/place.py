"""What lies at a path or URL: the few questions that Zarr does not answer alike for both."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from daskcluster.errors import StoreError
from daskcluster.files import LOCK, nearest_folder, only_writer, sync
from daskcluster.store.layout import is_url


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    if is_url(path):
        fs, inner = _fresh(path)
        return bool(fs.exists(inner))
    return Path(path).exists()


def names(path: str) -> set[str]:
    """Names in a folder, without lock and half-written files; none where nothing is.

    Raises
    ------
    StoreError
        It is a file, or nothing that could be made.
    """
    if is_url(path):
        fs, inner = _fresh(path)
        found = fs.ls(inner, detail=False) if fs.exists(inner) else []
        return {name.rstrip("/").rsplit("/", 1)[-1] for name in found}
    if Path(path).is_dir():
        found = (p.name for p in Path(path).iterdir())
        return {name for name in found if name != LOCK and not name.endswith(".partial")}
    if Path(path).exists():
        raise StoreError(f"{path} is a file: a store is a folder, choose another place")
    parent = nearest_folder(Path(path))
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise StoreError(f"{path} cannot be made: {parent} is not a folder one may write to")
    return set()


def files(path: str) -> Iterator[str]:
    """All files below a folder, relative to it; none where nothing is."""
    fs, inner = _fresh(path)
    for name in fs.find(inner):
        yield name[len(inner.rstrip("/")) + 1 :]


def delete(path: str) -> None:
    """Delete a file, or a folder with all that is in it."""
    if is_url(path):
        fs, inner = _fresh(path)
        if fs.exists(inner):
            fs.rm(inner, recursive=True)
    elif Path(path).is_dir() and not Path(path).is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def delete_empty(path: Path, root: Path) -> None:
    """Remove the folders from ``path`` up to ``root``, which stays, as long as they are empty."""
    while path != root:
        try:
            path.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        path = path.parent


def delete_partial(path: str) -> None:
    """Delete what Zarr left of the local files that it was writing when it was killed."""
    if not is_url(path):
        for leftover in Path(path).rglob("*.partial"):
            leftover.unlink(missing_ok=True)


def sync_tree(root: Path) -> None:
    """Bring all files below a folder to disk, and their names."""
    for folder, _, found in os.walk(root):
        for name in found:
            sync(Path(folder) / name)
        sync(Path(folder))


@contextmanager
def written_by_one(path: str) -> Iterator[None]:
    """Shut other writers of this machine or file system out; object stores have no such lock."""
    if is_url(path):
        yield
        return
    with only_writer(Path(path)):
        yield


def _fresh(path: str) -> tuple[Any, str]:
    """The file system, asked as if for the first time, and what the path is called on it."""
    fs, inner = fsspec.core.url_to_fs(path)
    fs.invalidate_cache()
    return fs, str(inner)
