"""Bytes of IDX files made by hand, without the code under test."""

import gzip
import struct
from pathlib import Path

import numpy as np

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_header(code, dims):
    """The header alone, of any type code and any dimensions."""
    return struct.pack(f">BBBB{len(dims)}I", 0, 0, code, len(dims), *dims)


def idx_bytes(array):
    """An array of one of the six types as an IDX file."""
    code = CODES[array.dtype.str[1:]]
    return idx_header(code, array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def gzip_bytes(data, members=1):
    """The data as a gzip of so many members."""
    step = max(1, -(-len(data) // members))
    parts = [data[at : at + step] for at in range(0, max(len(data), 1), step)]
    return b"".join(gzip.compress(part, compresslevel=1, mtime=0) for part in parts)


def write_idx(path, array, *, compress=False, members=1):
    """Write an array as an IDX file, plain or gzip-compressed; its path."""
    data = idx_bytes(np.asarray(array))
    Path(path).write_bytes(gzip_bytes(data, members) if compress else data)
    return path
