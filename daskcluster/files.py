"""Files of this system: by one writer, and whole after a crash, the old one or the new one."""

import os
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EAGAIN
from pathlib import Path
from typing import IO

from daskcluster.errors import InputError

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"
LEFTOVER = ".writing-"
"""How files begin that were being written; of a killed writer they stay."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` in one rename, once all of ``content`` is on disk."""
    temporary = path.with_name(f"{LEFTOVER}{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sweep(folder: Path) -> None:
    """Delete what a killed `write_atomically` left in ``folder``."""
    for leftover in folder.glob(f"{LEFTOVER}*"):
        leftover.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def nearest_folder(path: Path) -> Path:
    """``path``, or the closest of its parents that is there."""
    absolute = path.absolute()
    return next(p for p in (absolute, *absolute.parents) if p.exists())


@contextmanager
def folder_for(path: Path) -> Iterator[Path]:
    """The folder, made if need be; empty ones that were made here go again at the end."""
    absolute = path.absolute()
    missing = [p for p in (absolute, *absolute.parents) if not p.exists()]
    absolute.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        with suppress(OSError):  # the first that is not empty stays, and its parents do
            for made in missing:
                made.rmdir()


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process that holds it.

    Raises
    ------
    InputError
        Another process, or another thread of this one, holds it.
    """
    with folder_for(folder), _locked(folder / LOCK, folder) as file:
        with suppress(OSError):  # on a full disk the holder stays nameless
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)


@contextmanager
def _locked(path: Path, folder: Path) -> Iterator[IO[bytes]]:
    while True:
        with path.open("ab+", buffering=0) as file:
            _lock(file, folder)
            # Its last holder may have deleted it between opening and locking.
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                file.truncate(0)
                yield file
                return


def _lock(file: IO[bytes], folder: Path) -> None:
    if sys.platform == "win32":  # nobody is shut out there
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (EAGAIN, EACCES):
            return  # a file system without locks cannot keep others out
        file.seek(0)
        holder = file.read(200).decode(errors="replace") or "another process"
        raise InputError(
            f"{folder} is being written by {holder}: wait for it, or choose another place"
        ) from error
