"""IDX files, the format of MNIST and its kin, plain and gzip-compressed."""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from daskcluster.errors import InputError
from daskcluster.sources.base import RowFile, SeekableFile, row_ranges, to_native
from daskcluster.sources.files import Array, DType, check_shape, check_size, unreadable

IDX_MAGIC = b"\x00\x00"
GZIP_MAGIC = b"\x1f\x8b"

TYPES: dict[int, DType] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

# Deflate's shortest code for its longest match: 2 bits for 258 bytes.
MOST_INFLATION = 1032

# What is asked of the gzip module at a time: it copies, so asking for a whole block would
# hold the block twice.
PIECE = 1 << 18

LONGEST_HEADER = 4 + 4 * 255


@dataclass(frozen=True)
class IdxSource(SeekableFile):
    """A plain IDX file; see `Source`."""

    def header(self) -> dict[str, Any]:
        """Facts of the file for a JSON record: format, type, shape, compression."""
        return _facts(self, None)


@dataclass(frozen=True)
class GzipIdxSource(RowFile):
    """A gzip-compressed IDX file, of one member or several; see `Source`.

    Whether the stream holds what its header declares is known only at its end, so `blocks`
    hands out the last block after it has seen that end and its checksum.
    """

    seekable: ClassVar[bool] = False

    def read(self, start: int, stop: int) -> Array:
        """Always refused: a gzip stream has no random access.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            f"{self.path}: a gzip stream cannot be read from row {start}; read it forward "
            "with blocks(), or unpack it with gunzip first"
        )

    def blocks(self, rows: int) -> Iterator[Array]:
        """Read the whole file forward; see `Source.blocks`."""
        return self._stream(row_ranges(self.n_rows, rows))

    def header(self) -> dict[str, Any]:
        """Facts of the file for a JSON record: format, type, shape, compression."""
        return _facts(self, "gzip")

    def _stream(self, ranges: Iterator[tuple[int, int]]) -> Iterator[Array]:
        with _gzip_faults(self.path), gzip.open(self.path) as stream:
            self._check_header(stream)
            for start, stop in ranges:
                yield self._block(stream, start, stop)

    def _check_header(self, stream: gzip.GzipFile) -> None:
        head = stream.read(4 + 4 * len(self.shape))
        disk, shape = parse_header(self.path, head)
        if (disk.newbyteorder("="), shape) != (self.dtype, self.shape):
            raise InputError(
                f"{self.path}: another header than when it was opened: the file changed; "
                "start again when nothing writes to it"
            )

    def _block(self, stream: gzip.GzipFile, start: int, stop: int) -> Array:
        block = np.empty((stop - start, self.n_features), dtype=self.dtype.newbyteorder(">"))
        got = _fill(stream, memoryview(block.reshape(-1).view(np.uint8)))
        if got < block.nbytes:
            raise InputError(
                f"{self.path}: the data ended early, {block.nbytes - got} bytes before the end "
                f"of row {stop - 1} of {self.n_rows} declared; download or compress it again"
            )
        if stop == self.n_rows and stream.read(1):
            raise InputError(
                f"{self.path}: trailing bytes after the {self.n_rows} rows its header "
                "declares; download or compress it again"
            )
        return to_native(block)


def _fill(stream: gzip.GzipFile, target: memoryview) -> int:
    """Fill the target piece by piece; the number of bytes there were."""
    got = 0
    while got < len(target):
        piece = stream.read(min(PIECE, len(target) - got))
        if not piece:
            break
        target[got : got + len(piece)] = piece
        got += len(piece)
    return got


@contextmanager
def _gzip_faults(path: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise InputError(
            f"{path}: damaged or cut-short gzip ({fault}); download or compress it again"
        ) from fault
    except OSError as fault:
        raise unreadable(path, fault) from fault


def _facts(source: RowFile, compression: str | None) -> dict[str, Any]:
    return {
        "format": "idx",
        "type": source.dtype.name,
        "shape": list(source.shape),
        "compression": compression,
    }


def open_idx(path: str, head: bytes, size: int) -> IdxSource:
    """Open a plain IDX file.

    Parameters
    ----------
    path : str
        The file.
    head : bytes
        Its first bytes, the whole header if it has one.
    size : int
        Its size in bytes.

    Raises
    ------
    InputError
        If the header is unusable or declares another size.
    """
    disk, shape = parse_header(path, head)
    source = IdxSource(path, shape, disk.newbyteorder("="), disk, 4 + 4 * len(shape))
    check_size(path, source.n_bytes, size)
    return source


def open_gzip_idx(path: str, size: int) -> GzipIdxSource:
    """Open a gzip-compressed IDX file.

    Parameters
    ----------
    path : str
        The file.
    size : int
        Its compressed size in bytes.

    Raises
    ------
    InputError
        If it is damaged at its beginning, holds no IDX, has an unusable header, or declares
        more than a gzip of this size can hold.
    """
    with _gzip_faults(path), gzip.open(path) as stream:
        head = stream.read(LONGEST_HEADER)
    if not head.startswith(IDX_MAGIC):
        raise not_idx(path, head, "a gzip within which there is no IDX: its content ")
    disk, shape = parse_header(path, head)
    declared = math.prod(shape) * disk.itemsize
    if declared > size * MOST_INFLATION:
        raise InputError(
            f"{path}: truncated: the header declares {declared} bytes of data, more than a gzip "
            f"of {size} bytes can hold (deflate's limit is {MOST_INFLATION}:1); download it again"
        )
    return GzipIdxSource(path, shape, disk.newbyteorder("="))


def parse_header(path: str, head: bytes) -> tuple[DType, tuple[int, ...]]:
    """Read an IDX header.

    Parameters
    ----------
    path : str
        The file, for messages.
    head : bytes
        The file's first bytes, beginning with `IDX_MAGIC`.

    Returns
    -------
    disk : numpy.dtype
        The type on disk, big-endian.
    shape : tuple of int
        1 to 255 dimensions, all at least 1.

    Raises
    ------
    InputError
        If the header is cut short, its type unknown, or a dimension missing or zero.
    """
    ndim = head[3] if len(head) > 3 else 0
    if len(head) < 4 + 4 * ndim or len(head) < 4:
        raise InputError(
            f"{path}: IDX header truncated: {len(head)} bytes where it needs {4 + 4 * ndim}; "
            "download or write it again"
        )
    disk = _type(path, head[2])
    shape = struct.unpack_from(f">{ndim}I", head, 4)
    check_shape(path, shape)
    return disk, shape


def _type(path: str, code: int) -> DType:
    if code not in TYPES:
        known = ", ".join(f"0x{known:02x} {kind.name}" for known, kind in TYPES.items())
        raise InputError(
            f"{path}: unknown IDX type code 0x{code:02x}; the six known ones are {known}; "
            "is this an IDX file?"
        )
    return TYPES[code]


def not_idx(path: str, head: bytes, what: str = "") -> InputError:
    """The error for bytes that begin like none of the known formats."""
    # Servers often put a byte-order mark or blank lines before the page.
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return InputError(
            f"{path}: {what}looks like a web page: the download probably failed; download it "
            "again, or open it in a text editor to see what the server said"
        )
    begins = f"begins with the bytes {head[:4].hex(' ')}" if head else "is empty"
    return InputError(
        f"{path}: {what}{begins}; not IDX (00 00 type ndim), gzip of IDX (1f 8b) or NPY "
        "(93 4e 55 4d); give a file of one of these formats"
    )
