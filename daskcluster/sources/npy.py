"""NPY files, as written by `numpy.save`; nothing is ever unpickled."""

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from daskcluster.errors import InputError
from daskcluster.sources.base import SeekableFile
from daskcluster.sources.files import HEAD_BYTES, Array, DType, check_shape, check_size

NPY_MAGIC = npy_format.MAGIC_PREFIX

# Kind and bytes on disk, and the type they are read as.
READ_AS = {
    "b1": "u1",
    "u1": "u1",
    "i1": "i1",
    "u2": "u2",
    "i2": "i2",
    "u4": "u4",
    "i4": "i4",
    "u8": "i8",
    "i8": "i8",
    "f2": "f4",
    "f4": "f4",
    "f8": "f8",
}

# Beyond it float64, in which distances are computed, skips integers.
LARGEST_EXACT = 2**53

MOST_DIMENSIONS = 64  # NumPy's own limit


@dataclass(frozen=True)
class NpySource(SeekableFile):
    """An NPY file; see `Source`.

    Bools are read as uint8, float16 as float32 and uint64 as int64, all others as they are.

    Parameters
    ----------
    fortran_order : bool
        Whether the values lie in Fortran order: a feature after another, not a row.
    """

    fortran_order: bool

    def header(self) -> dict[str, Any]:
        """Facts of the file for a JSON record: format, type, shape, order, compression."""
        return {
            "format": "npy",
            "type": self.disk.name,
            "shape": list(self.shape),
            "fortran_order": self.fortran_order,
            "compression": None,
        }

    def _raw(self, file: io.FileIO, start: int, stop: int) -> Array:
        if not self.fortran_order:
            return super()._raw(file, start, stop)
        # The checked file and no other: the path may meanwhile name a new one.
        whole = np.memmap(file, self.disk, "r", self.offset, self.shape, "F")
        rows = np.empty((stop - start, *self.sample_shape), self.disk.newbyteorder("="))
        rows[...] = whole[start:stop]
        return rows.reshape(stop - start, self.n_features)

    def _as_stored(self, rows: Array, first_row: int) -> Array:
        # Before the cast: a large uint64 would come out of it as a small negative number.
        if self.disk.itemsize == 8 and self.disk.kind in "iu" and rows.size:
            _check_exact(rows, first_row, self.path)
        return super()._as_stored(rows, first_row)


def _check_exact(rows: Array, first_row: int, path: str) -> None:
    # Two reductions first: they need no memory, and almost always suffice.
    if int(rows.max()) <= LARGEST_EXACT and int(rows.min()) >= -LARGEST_EXACT:
        return
    outside = (rows > LARGEST_EXACT) | (rows < -LARGEST_EXACT)
    row, feature = np.unravel_index(int(outside.argmax()), rows.shape)
    raise InputError(
        f"{path}: row {first_row + int(row)}, feature {int(feature)} is {rows[row, feature]}, "
        "which cannot be held exactly as float64 (beyond 2**53); rescale or renumber the values"
    )


def open_npy(path: str, head: bytes, size: int) -> NpySource:
    """Open an NPY file.

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
        If the header is damaged, its type not one of plain numbers, its shape without rows
        or features, or the file of another size than it declares.
    """
    shape, fortran_order, disk, offset = _parse_header(path, head)
    dtype = _read_as(path, disk)
    _check_addressable(path, shape)
    check_shape(path, shape)
    source = NpySource(path, shape, dtype, disk, offset, fortran_order)
    check_size(path, source.n_bytes, size)
    return source


def parse_npy(what: str, content: bytes) -> Array:
    """The numbers in the bytes of an NPY file, of its own shape and type in native byte order.

    Unlike `numpy.load` it allocates nothing on the header's word alone.

    Raises
    ------
    InputError
        If it is damaged, holds anything but numbers, or is of another size than it declares.
    """
    if not content.startswith(NPY_MAGIC):
        raise InputError(f"{what}: not an NPY file; write it with numpy.save")
    shape, fortran_order, disk, offset = _parse_header(what, content[:HEAD_BYTES])
    if disk.kind not in "biuf":
        raise InputError(f"{what}: values of type {disk}, not numbers; convert with astype")
    _check_addressable(what, shape)
    check_size(what, offset + math.prod(shape) * disk.itemsize, len(content))
    order: Any = "F" if fortran_order else "C"
    found: Array = np.ndarray(shape, disk, content, offset, order=order)
    return np.array(found, dtype=disk.newbyteorder("="), order="C")


def _parse_header(path: str, head: bytes) -> tuple[tuple[int, ...], bool, DType, int]:
    file = io.BytesIO(head)
    try:
        version = npy_format.read_magic(file)
        # Version 3 differs from 2 only in the field names of structured types.
        old = version == (1, 0)
        parse = npy_format.read_array_header_1_0 if old else npy_format.read_array_header_2_0
        shape, fortran_order, disk = parse(file)
    # The header is Python source: damaged, it raises whatever the parser can think of.
    except Exception as fault:
        raise InputError(
            f"{path}: damaged NPY header ({fault}); write it again with numpy.save"
        ) from fault
    return tuple(int(extent) for extent in shape), bool(fortran_order), disk, file.tell()


def _read_as(path: str, disk: DType) -> DType:
    name = READ_AS.get(f"{disk.kind}{disk.itemsize}")
    if name is None:
        raise InputError(
            f"{path}: values of type {disk}; only bool, integers of 1 to 8 bytes and float16, "
            "float32 or float64 can be clustered: convert with astype and save again"
        )
    return np.dtype(name)


def _check_addressable(path: str, shape: tuple[int, ...]) -> None:
    # Python's integers have no such limit, and the longest ones cannot even be printed.
    if len(shape) > MOST_DIMENSIONS or any(abs(extent) >= 2**63 for extent in shape):
        raise InputError(
            f"{path}: damaged NPY header: more than the {MOST_DIMENSIONS} dimensions, each below "
            "2**63, that NumPy can hold; write it again with numpy.save"
        )
