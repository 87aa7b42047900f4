"""Opening files, and what is checked of them before anything is read."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.errors import InputError

_DIGEST_BYTES = 1 << 20

Array = npt.NDArray[Any]
DType = np.dtype[Any]

# Room for the longest IDX header (1024 bytes) and for the longest NPY header NumPy will
# parse (10 000 characters): a header's own word about its length is never trusted.
HEAD_BYTES = 16_384


@contextmanager
def readable(path: str) -> Iterator[FileIO]:
    """Open a file for reading; what the operating system refuses becomes an `InputError`."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            yield file
    except OSError as fault:
        raise unreadable(path, fault) from fault


def unreadable(path: str, fault: OSError) -> InputError:
    """The error for a file the operating system does not give."""
    reason = fault.strerror or str(fault)
    return InputError(f"{path}: cannot be read ({reason}); check the path and its permissions")


def read_head(path: str) -> tuple[bytes, int]:
    """First bytes of a file, and its size.

    Returns
    -------
    head : bytes
        At most `HEAD_BYTES`, at least one.
    size : int
        Size of the file in bytes.

    Raises
    ------
    InputError
        If there is no such file, or it is empty or no regular file.
    """
    _check_regular(path)
    with readable(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD_BYTES)
    if not head:
        raise InputError(f"{path}: empty file (0 bytes); download or write it again")
    return head, size


def _check_regular(path: str) -> None:
    """Refuse before opening: opening a pipe would wait for ever."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as fault:
        raise unreadable(path, fault) from fault
    except ValueError as fault:
        raise InputError(f"{path!r}: not a path ({fault}); check it") from fault
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: a folder, not a file; name one file within it")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: a pipe or device; write it to a regular file first")


def check_shape(path: str, shape: tuple[int, ...]) -> None:
    """Refuse a shape without rows or without features.

    Raises
    ------
    InputError
        If the shape is ``()`` or one of its dimensions is below 1.
    """
    if not shape:
        raise InputError(f"{path}: zero dimensions, a single number; rows need at least one")
    if shape[0] == 0:
        raise InputError(f"{path}: zero rows (shape {shape}); give a file with samples in it")
    for axis, extent in enumerate(shape):
        if extent < 1:
            raise InputError(
                f"{path}: dimension {axis} is {extent} (shape {shape}), so its rows hold no "
                "values; give a file whose dimensions are all at least 1"
            )


def check_size(path: str, declared: int, size: int) -> None:
    """Refuse a file that is not exactly as long as its header declares.

    Raises
    ------
    InputError
        If the file is truncated or has bytes left over.
    """
    if size < declared:
        raise InputError(
            f"{path}: truncated: the header declares {declared} bytes, the file has {size}; "
            "download or write it again"
        )
    if size > declared:
        raise InputError(
            f"{path}: {size - declared} trailing bytes: the header declares {declared} bytes, "
            f"the file has {size}; download or write it again"
        )


def sha256(path: str | os.PathLike[str], stop: threading.Event | None = None) -> str:
    """SHA-256 of a file's bytes, without holding the file.

    Parameters
    ----------
    path : str or os.PathLike
        Any regular file.
    stop : threading.Event, optional
        Once set, what was read so far is enough: nobody wants the digest any more.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    name = os.fspath(path)
    _check_regular(name)
    with readable(name) as file:
        digest = hashlib.sha256()
        while (piece := file.read(_DIGEST_BYTES)) and not (stop and stop.is_set()):
            digest.update(piece)
        return digest.hexdigest()
