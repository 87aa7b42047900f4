"""Buffers that a thread uses again for every tile.

Dask's worker processes hand freed memory straight back to the system, so fresh tiles would be paid
for in page faults: five times the cost of the products at k = 10.
"""

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

_LOCAL = threading.local()
_LINE = 64  # bytes of a cache line, and of the widest vector registers


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """An uninitialised array of this thread; the next call of the same name overwrites it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffers: dict[str, npt.NDArray[np.uint8]] = _LOCAL.__dict__
    if name not in buffers or buffers[name].nbytes < size:
        buffers[name] = aligned((size,), np.uint8)
    view: npt.NDArray[Any] = buffers[name][:size].view(dtype)
    return view.reshape(shape)


def aligned(shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """An uninitialised array that begins with a cache line: vectors of 64 bytes lie in one."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    whole = np.empty(size + _LINE, dtype=np.uint8)
    skip = -whole.ctypes.data % _LINE
    view: npt.NDArray[Any] = whole[skip : skip + size].view(dtype)
    return view.reshape(shape)


def is_aligned(array: npt.NDArray[Any]) -> bool:
    """Whether rows of an array lie one after the other, from the begin of a cache line on."""
    return array.flags.c_contiguous and array.ctypes.data % _LINE == 0
