"""What every source of rows offers, and what can be asked of any of them."""

import hashlib
import math
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from daskcluster.errors import InputError

_DIGEST_BYTES = 1 << 20

Array = npt.NDArray[Any]
DType = np.dtype[Any]

# Room for the longest IDX header (1024 bytes) and for the longest NPY header NumPy will
# parse (10 000 characters): a header's own word about its length is never trusted.
HEAD_BYTES = 16_384


@runtime_checkable
class Source(Protocol):
    """A file of samples, read as rows of features.

    Attributes
    ----------
    path : str
        The file, as it was given to `open_source`.
    shape : tuple of int
        ``(n_rows, *sample_shape)``; every dimension is at least 1.
    dtype : numpy.dtype
        The type of the blocks, in native byte order.
    seekable : bool
        Whether `read` works; if not, only `blocks` does.
    """

    @property
    def path(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def seekable(self) -> bool: ...
    @property
    def n_rows(self) -> int:
        """Number of samples."""
        ...

    @property
    def n_features(self) -> int:
        """Numbers per sample: the product of `sample_shape`, 1 for ``()``."""
        ...

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample; ``()`` for a one-dimensional file."""
        ...

    def read(self, start: int, stop: int) -> Array:
        """Read rows ``start`` to ``stop`` of a seekable source.

        Stateless and thread-safe: every call opens the file for itself.

        Returns
        -------
        ndarray, shape (stop - start, n_features), `dtype`
            C-contiguous.

        Raises
        ------
        InputError
            If the range is not within the file, the file has changed since it was opened,
            a value is unusable, or the source is not seekable.
        """
        ...

    def blocks(self, rows: int) -> Iterator[Array]:
        """Read the whole file forward, block by block.

        The source holds one block at most. A ``for`` loop still holds the last one while the
        next is read: whoever cannot afford two deletes the first.

        Parameters
        ----------
        rows : int
            Rows per block; the last block may be shorter.

        Yields
        ------
        ndarray, shape (<= rows, n_features), `dtype`
            C-contiguous. The last one is handed out only when nothing is missing from the
            file and nothing is left over.

        Raises
        ------
        InputError
            If ``rows`` is below 1, or the file is damaged or has changed.
        """
        ...

    def header(self) -> dict[str, Any]:
        """Facts of the file for a JSON record: format, type, shape, compression."""
        ...


@dataclass(frozen=True)
class RowFile:
    """A file with a known shape, whatever its format."""

    path: str
    shape: tuple[int, ...]
    dtype: DType

    @property
    def n_rows(self) -> int:
        """Number of samples."""
        return self.shape[0]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample; ``()`` for a one-dimensional file."""
        return self.shape[1:]

    @property
    def n_features(self) -> int:
        """Numbers per sample: the product of `sample_shape`, 1 for ``()``."""
        return math.prod(self.shape[1:])


@dataclass(frozen=True)
class SeekableFile(RowFile):
    """A file whose values lie in C order after ``offset`` bytes of header.

    Parameters
    ----------
    disk : numpy.dtype
        The type on disk, with its byte order.
    offset : int
        Where the values begin.
    """

    disk: DType
    offset: int
    seekable: ClassVar[bool] = True

    @property
    def n_bytes(self) -> int:
        """Size of the file its header declares."""
        return self.offset + math.prod(self.shape) * self.disk.itemsize

    def read(self, start: int, stop: int) -> Array:
        """Read rows ``start`` to ``stop``; see `Source.read`."""
        if not 0 <= start <= stop <= self.n_rows:
            raise InputError(
                f"{self.path}: rows {start} to {stop} asked for, but the file has rows 0 to "
                f"{self.n_rows}; ask for a range within them"
            )
        with readable(self.path) as file:
            self._check_unchanged(file)
            return self._as_stored(self._raw(file, start, stop), start)

    def blocks(self, rows: int) -> Iterator[Array]:
        """Read the whole file forward; see `Source.blocks`."""
        return (self.read(start, stop) for start, stop in row_ranges(self.n_rows, rows))

    def _check_unchanged(self, file: FileIO) -> None:
        size = os.fstat(file.fileno()).st_size
        if size != self.n_bytes:
            raise InputError(
                f"{self.path}: {size} bytes, but {self.n_bytes} when it was opened: the file "
                "changed while it was being read; start again when nothing writes to it"
            )

    def _raw(self, file: FileIO, start: int, stop: int) -> Array:
        """Rows in native byte order, still of the type on disk."""
        width = self.n_features
        file.seek(self.offset + start * width * self.disk.itemsize)
        values = np.fromfile(file, dtype=self.disk, count=(stop - start) * width)
        if values.size != (stop - start) * width:
            raise InputError(
                f"{self.path}: ended within rows {start} to {stop} though its size was right: "
                "the file changed while it was being read; start again"
            )
        return to_native(values).reshape(stop - start, width)

    def _as_stored(self, rows: Array, first_row: int) -> Array:
        """Rows of `dtype`, refused if a value cannot be kept."""
        return rows.astype(self.dtype, copy=False)


def to_native(values: Array) -> Array:
    """Turn an array to native byte order in place, so that no second block is held."""
    if values.dtype.isnative:
        return values
    return values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))


def row_ranges(n_rows: int, rows: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of ``rows`` rows that cover ``n_rows``.

    Raises
    ------
    InputError
        If ``rows`` is below 1.
    """
    if rows < 1:
        raise InputError(f"{rows} rows per block; a block needs at least 1")
    return ((start, min(start + rows, n_rows)) for start in range(0, n_rows, rows))


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


def scan_classes(source: Source, rows: int = 1_000_000, limit: int = 65_536) -> Array:
    """Distinct values of a source of labels.

    Parameters
    ----------
    source : Source
        One integer per row.
    rows : int
        Rows read at a time.
    limit : int
        The most classes a label file may have.

    Returns
    -------
    ndarray, shape (n_classes,), ``source.dtype``
        Sorted.

    Raises
    ------
    InputError
        If the rows are not single integers, or have more than ``limit`` distinct values.
    """
    _check_labels(source)
    classes: Array = np.empty(0, dtype=source.dtype)
    for block in source.blocks(rows):
        classes = np.union1d(classes, block)
        if classes.size > limit:
            raise InputError(
                f"{source.path}: more than {limit} distinct classes; is this a label file?"
            )
    return classes


def _check_labels(source: Source) -> None:
    if source.n_features != 1:
        raise InputError(
            f"{source.path}: shape {source.shape} is not one label per row; give a "
            "1-dimensional file of labels"
        )
    if source.dtype.kind not in "iu":
        raise InputError(f"{source.path}: labels of type {source.dtype}; they must be integers")


def check_finite(block: Array, first_row: int, path: str) -> None:
    """Refuse a block that holds NaN or infinity; integers always pass.

    Parameters
    ----------
    block : ndarray, shape (rows, n_features)
        Any integer or floating type.
    first_row : int
        Row of the file at which the block begins.
    path : str
        The file, for the message.

    Raises
    ------
    InputError
        With the file, the row in the file, the feature and the value.
    """
    if block.dtype.kind != "f":
        return
    finite = np.isfinite(block)
    if finite.all():
        return
    row, feature = np.unravel_index(int(finite.argmin()), block.shape)
    raise InputError(
        f"{path}: row {first_row + int(row)}, feature {int(feature)} is {block[row, feature]}; "
        "every value must be finite: remove or replace such rows"
    )
