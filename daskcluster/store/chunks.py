"""Chunks of our own stores on this file system, decoded by the thread that asks.

Zarr passes every chunk through one event loop, which two threads fill; a chunk of ours is a file of
known codecs, and decodes in parallel straight into its place. All else is read by Zarr.
"""

import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import blosc, zstd
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec

from daskcluster.errors import StoreError
from daskcluster.store.layout import MissingChunk

_TURNS = threading.BoundedSemaphore(os.cpu_count() or 1)
_CHECKSUM_BYTES = 4
_BLOSC_HEADER = 16


def _copy(data: memoryview, out: memoryview) -> None:
    out[:] = data


def _blosc(data: memoryview, out: memoryview) -> None:
    # It would fill as much of the place as there is, and reads a header that is not there.
    if data.nbytes < _BLOSC_HEADER or blosc._cbuffer_sizes(data)[0] != out.nbytes:
        raise ValueError("it holds another number of bytes")
    blosc.decompress(data, out)


def _zstd(data: memoryview, out: memoryview) -> None:
    out[:] = zstd.decompress(data)


def _holders(arrays: Iterable[Any]) -> list[int]:
    """How many hold each, those that only ask included."""
    return [sys.getrefcount(array) for array in arrays]


# What asking itself adds depends on the interpreter; without its lock, counts say nothing.
_COUNTS = getattr(sys, "_is_gil_enabled", lambda: True)()
_IDLE = _holders(deque([np.empty(0)]))[0] if _COUNTS else -1


class Buffers:
    """Arrays of bytes, used again once nobody holds them: fresh memory costs page faults.

    A view of an array holds it too, so that no row which is still in use is written over.
    """

    MOST = 32  # that are looked through

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrays: deque[npt.NDArray[np.uint8]] = deque(maxlen=self.MOST)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
        """An uninitialised array."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        return self._bytes(size).view(dtype).reshape(shape)

    def _bytes(self, size: int) -> npt.NDArray[np.uint8]:
        with self._lock:
            for array, holders in zip(self._arrays, _holders(self._arrays), strict=True):
                if array.nbytes == size and holders <= _IDLE:
                    return array
            self._arrays.append(np.empty(size, np.uint8))
            return self._arrays[-1]


_Decoder = Callable[[memoryview, memoryview], None]
_DECODERS: dict[type, _Decoder] = {BloscCodec: _blosc, ZstdCodec: _zstd}
# Bytes that one byte of a file can become: lz4 at most 255, zstd some 30,000 where all is alike.
_MOST_INFLATION: dict[_Decoder, int] = {_copy: 1, _blosc: 1 << 10, _zstd: 1 << 16}
_BELIEVED_BYTES = 48 << 20  # what a block of a fit may have, whatever the files are


@dataclass(frozen=True)
class LocalChunks:
    """Reads runs of rows of an array whose chunks are runs of rows, in files."""

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_rows: int
    key: Callable[[tuple[int, ...]], str]
    """From the indices of a chunk to its name."""
    decode: "_Decoder"
    """Fills a place with what a compressor made; raises an error for what it did not make."""
    buffers: Buffers = field(default_factory=Buffers)
    """For rows."""
    files: Buffers = field(default_factory=Buffers)
    """For what is in the files."""

    @classmethod
    def of(cls, array: Any, folder: Path) -> Self | None:
        """For an array of Zarr in a folder; None where only Zarr can read it."""
        *compressors, last = array.compressors or (None,)
        kinds = [type(codec) for codec in compressors]
        plain = isinstance(last, Crc32cCodec) and not array.filters and array.shards is None
        if not plain or kinds not in ([], [BloscCodec], [ZstdCodec]):
            return None
        serializer = array.serializer
        if not isinstance(serializer, BytesCodec):
            return None
        order = getattr(serializer.endian, "value", serializer.endian)
        if array.dtype.itemsize > 1 and order != sys.byteorder:
            return None
        decode = _DECODERS[kinds[0]] if kinds else _copy
        key = array.metadata.encode_chunk_key
        dtype = array.dtype.newbyteorder("=")
        return cls(folder, array.shape, dtype, array.chunks[0], key, decode)

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows ``start`` to ``stop``, as a slice has them."""
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        self._check_sizes(start, stop)
        out = self.buffers.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        for chunk in range(start // self.chunk_rows, -(-stop // self.chunk_rows)):
            low = chunk * self.chunk_rows
            high = low + self.chunk_rows
            if start <= low and high <= stop:
                self._decode(chunk, out[low - start : high - start])
                continue
            whole = np.empty((self.chunk_rows, *self.shape[1:]), dtype=self.dtype)
            self._decode(chunk, whole)
            first, last = max(start, low), min(stop, high)
            out[first - start : last - start] = whole[first - low : last - low]
        return out

    def _check_sizes(self, start: int, stop: int) -> None:
        """Before memory is taken for rows, see that the files are of a size to hold them."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        if max(stop - start, self.chunk_rows) * row <= _BELIEVED_BYTES:
            return
        most = _MOST_INFLATION[self.decode]
        for chunk in range(start // self.chunk_rows, -(-stop // self.chunk_rows)):
            path = self._path(chunk)
            with self._named(path):
                if self.chunk_rows * row > path.stat().st_size * most:
                    raise ValueError(f"{self.chunk_rows} rows are more than it can hold")

    def _path(self, chunk: int) -> Path:
        return self.folder / self.key((chunk, *[0] * (len(self.shape) - 1)))

    @contextmanager
    def _named(self, path: Path) -> Iterator[None]:
        """Errors say which chunk it is."""
        try:
            yield
        except FileNotFoundError as error:
            raise MissingChunk(
                f"{path}: chunk is missing; restore it, or convert the source again"
            ) from error
        # What a decoder raises for bytes that are not its own is up to it.
        except Exception as error:
            raise StoreError(
                f"{path}: chunk is damaged ({error}); restore it, or convert again"
            ) from error

    def _decode(self, chunk: int, out: npt.NDArray[Any]) -> None:
        path = self._path(chunk)
        # Of many that are read ahead only so many hold their bytes at once.
        with _TURNS, self._named(path):
            data = self._read(path, out.nbytes + _BLOSC_HEADER + _CHECKSUM_BYTES)
            if len(data) < _CHECKSUM_BYTES:
                raise ValueError("it is cut short")
            inner, checksum = np.split(data, [-_CHECKSUM_BYTES])
            if google_crc32c.value(inner) != int.from_bytes(checksum.tobytes(), "little"):
                raise ValueError("its checksum is another")
            self.decode(memoryview(inner), memoryview(out.reshape(-1).view(np.uint8)))

    def _read(self, path: Path, most: int) -> npt.NDArray[np.uint8]:
        """The bytes of a file, ``most`` in general."""
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            data = self.files.empty((max(size, most),))[:size]
            done = 0
            # The system reads 2 GiB at once at most.
            while done < size and (more := file.readinto(data[done:])):
                done += more
        return data[:done]
