"""Rows as pictures within a page: PNG files as data URIs."""

import base64
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_PIXELS = 64
"""A side of a picture; longer ones are made smaller."""
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}


def data_uri(values: npt.NDArray[Any], shape: tuple[int, ...], low: float, high: float) -> str:
    """A row as a picture, black at ``low`` and white at ``high``.

    Parameters
    ----------
    values : ndarray of shape (n_features,)
    shape : tuple of int
        (height, width), or (height, width, channels) with 1, 3 or 4 channels.
    """
    image = values.reshape(*shape[:2], -1).astype(np.float64)
    scaled = (smaller(image) - low) * (255.0 / (high - low or 1.0))
    pixels = np.rint(np.clip(np.nan_to_num(scaled), 0, 255)).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def smaller(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means of square patches, so many that no side is longer than a page has room for."""
    size = -(-max(image.shape[:2]) // MOST_PIXELS)
    for axis in (0, 1):
        starts = np.arange(0, image.shape[axis], size)
        lengths = np.diff([*starts, image.shape[axis]])
        sums = np.add.reduceat(image, starts, axis=axis)
        image = sums / np.expand_dims(lengths, (1, 2) if axis == 0 else (0, 2))
    return image


# Twelve lines in place of a library of images, which nothing else here needs.
def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Pixels of shape (height, width, channels) as a PNG file; 1, 3 or 4 channels."""
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    # Every line begins with its filter: none.
    lines = np.zeros((height, 1 + width * channels), dtype=np.uint8)
    lines[:, 1:] = pixels.reshape(height, -1)
    content = zlib.compress(lines.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(*part) for part in ((b"IHDR", head), (b"IDAT", content), (b"IEND", b""))
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
