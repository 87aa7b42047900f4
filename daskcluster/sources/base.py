"""What every source of rows offers, and what can be asked of any of them."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from daskcluster.errors import InputError
from daskcluster.sources.files import Array, DType, readable


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
