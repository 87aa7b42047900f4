"""A large store from an IDX file: its images deformed again and again, in bounded memory.

Row i is image i mod n, deformed in the way of turn i div n, for a file of n images: row i is the
same whatever the number of rows, and the first n rows are the file. Turn 0 leaves the images as
they are; the next nine shift them by one pixel in eight directions and by two to the right; every
turn after that has a rotation, a shift and an elastic field of its own, drawn with the turn as the
seed (as in Loosli, Canu and Bottou, *Training invariant support vector machines using selective
sampling*, whose 8,100,000 rows are 135 turns of MNIST). What comes in is 0. Labels repeat with
their images.
"""

import argparse
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from benchlib import FOLDERS, IMAGES, arguments, data_files, emit, emit_run, scratch_folder, timed
from scipy import ndimage, sparse

from daskcluster import open_store
from daskcluster.convert import convert_rows
from daskcluster.sources import Source, open_source, sha256
from daskcluster.store import CODECS

EXAMPLE = (
    "python scripts/make_store.py mnist600k.zarr --rows 600000 "
    "--images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz"
)
# Rows down and columns to the right.
SHIFTS = (
    (0, 0), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 2),
)  # fmt: skip
MOST_DEGREES, MOST_PIXELS, MOST_STRETCH = 15.0, 2.0, 1.5
SMOOTHNESS = 4.0  # pixels


@dataclass(frozen=True)
class Deformed:
    """The samples of a file again and again, each time deformed; a `Source` as long as asked for.

    Samples that are not images (labels) only repeat.
    """

    source: Source
    n_rows: int

    @property
    def path(self) -> str:
        return self.source.path

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.n_rows, *self.source.sample_shape)

    @property
    def n_features(self) -> int:
        return self.source.n_features

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.source.sample_shape

    @property
    def dtype(self) -> Any:
        return self.source.dtype

    @property
    def seekable(self) -> bool:
        return self.source.seekable

    def header(self) -> dict[str, Any]:
        return {**self.source.header(), "deformed": True}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` of a seekable file."""
        out = np.empty((stop - start, self.n_features), dtype=self.dtype)
        at, n = start, self.source.n_rows
        while at < stop:
            turn, first = divmod(at, n)
            last = min(first + stop - at, n)
            rows = self.source.read(first, last)
            out[at - start : at - start + len(rows)] = self._deform(rows, turn)
            at += len(rows)
        return out

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        """All rows forward, in blocks of ``rows``; a gzip file is read once for each turn."""
        start = filled = 0
        out = np.empty((min(rows, self.n_rows), self.n_features), dtype=self.dtype)
        for piece in self._pieces(rows):
            taken = 0
            while taken < len(piece) and start < self.n_rows:
                count = min(len(out) - filled, len(piece) - taken)
                out[filled : filled + count] = piece[taken : taken + count]
                filled, taken = filled + count, taken + count
                if filled == len(out):
                    yield out
                    start, filled = start + len(out), 0
                    out = np.empty((min(rows, self.n_rows - start), self.n_features), self.dtype)

    def _pieces(self, rows: int) -> Iterator[np.ndarray]:
        for turn in range(-(-self.n_rows // self.source.n_rows)):
            for piece in self.source.blocks(rows):
                yield self._deform(piece, turn)

    def _deform(self, rows: np.ndarray, turn: int) -> np.ndarray:
        if len(self.sample_shape) != 2 or turn == 0:
            return rows
        if turn < len(SHIFTS):
            images = rows.reshape(-1, *self.sample_shape)
            return shifted(images, *SHIFTS[turn]).reshape(rows.shape)
        pixels = rows.astype(np.float32) @ sampling(turn, *self.sample_shape)
        return np.rint(pixels).astype(rows.dtype)


@lru_cache(maxsize=4)
def sampling(turn: int, height: int, width: int) -> sparse.csc_array:
    """The matrix (pixels, pixels) that takes images, as rows, to those of a turn."""
    y, x = places(turn, height, width)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    below, right = y - top, x - left
    size = height * width
    matrix = sparse.csc_array((size, size), dtype=np.float32)
    for dy, dx, weight in (
        (0, 0, (1 - below) * (1 - right)), (0, 1, (1 - below) * right),
        (1, 0, below * (1 - right)), (1, 1, below * right),
    ):  # fmt: skip
        inside = (top + dy >= 0) & (top + dy < height) & (left + dx >= 0) & (left + dx < width)
        source = ((top + dy) * width + left + dx)[inside]
        target = np.flatnonzero(inside)
        entries = (weight[inside].astype(np.float32), (source, target))
        matrix = matrix + sparse.csc_array(entries, shape=(size, size))
    return matrix


def places(turn: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of a turn's images comes from, rows and columns, (height * width,) each."""
    rng = np.random.default_rng(turn)
    angle = np.deg2rad(rng.uniform(-MOST_DEGREES, MOST_DEGREES))
    shift = rng.uniform(-MOST_PIXELS, MOST_PIXELS, 2)
    field = ndimage.gaussian_filter(
        rng.uniform(-1, 1, (2, height, width)), (0, SMOOTHNESS, SMOOTHNESS), mode="constant"
    )
    field *= MOST_STRETCH / np.abs(field).max()
    y, x = np.indices((height, width)) - np.array([height - 1, width - 1])[:, None, None] / 2
    y, x = (
        np.cos(angle) * y - np.sin(angle) * x + (height - 1) / 2 + shift[0] + field[0],
        np.sin(angle) * y + np.cos(angle) * x + (width - 1) / 2 + shift[1] + field[1],
    )
    return y.ravel(), x.ravel()


def shifted(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """Images (n, height, width) moved by whole pixels; what comes in is 0."""
    _, height, width = images.shape
    out = np.zeros_like(images)
    to_y, from_y = _overlap(height, down)
    to_x, from_x = _overlap(width, right)
    out[:, to_y, to_x] = images[:, from_y, from_x]
    return out


def _overlap(size: int, by: int) -> tuple[slice, slice]:
    """Where pixels of an axis go, and where they come from."""
    kept = max(size - abs(by), 0)
    to, origin = max(by, 0), max(-by, 0)
    return slice(to, to + kept), slice(origin, origin + kept)


def parse() -> argparse.Namespace:
    """The command line."""
    variables = ", ".join(f"{name} in ${variable}" for name, variable in FOLDERS.items())
    return arguments(
        __doc__,
        EXAMPLE,
        {"store": {"type": Path, "help": "where to write"}},
        images={"type": Path, "metavar": "FILE", "help": "IDX file, plain or .gz"},
        labels={"type": Path, "metavar": "FILE", "help": "IDX file of its labels"},
        data={
            "choices": IMAGES,
            "default": "digits",
            "help": f"used without --images: scikit-learn's digits, or {variables}",
        },
        rows={"type": int, "help": "of the store (default: ten times the images)"},
        rows_per_chunk={"type": int, "help": "rounded up to whole grains"},
        codec={"choices": CODECS, "default": "lz4"},
        overwrite={"action": "store_true"},
    )


def make(options: argparse.Namespace, images: Source, labels: Source | None) -> None:
    """Write the store."""
    n_rows = options.rows or len(SHIFTS) * images.n_rows
    files = [file for file in (images, labels) if file is not None]
    convert_rows(
        Deformed(images, n_rows),
        options.store,
        provenance=lambda: tuple(map(_facts, files)),
        labels=None if labels is None else Deformed(labels, n_rows),
        rows_per_chunk=options.rows_per_chunk,
        codec=options.codec,
        overwrite=options.overwrite,
    )


def _facts(file: Source) -> dict[str, Any]:
    path = Path(file.path)
    header = file.header() | {"deformed": True}
    return {
        "name": path.name,
        "bytes": path.stat().st_size,
        "header": header,
        "sha256": sha256(path),
    }


def main() -> None:
    """Make the store and say what it is."""
    options = parse()
    with scratch_folder() as scratch:
        chosen = (options.images, options.labels)
        if options.images is None:
            chosen = data_files(options.data, scratch)
        images, labels = (None if p is None else open_source(p.absolute()) for p in chosen)
        assert images is not None
        emit_run(__file__, options, images=images.n_rows, shape=images.shape)
        seconds = timed(lambda: make(options, images, labels))
    info = open_store(options.store).info
    on_disk = sum(f.stat().st_size for f in options.store.rglob("*") if f.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    emit(
        "result",
        store=options.store,
        n_rows=info.n_rows,
        n_features=info.n_features,
        dtype=info.dtype,
        rows_per_chunk=info.rows_per_chunk,
        build=info.build,
        bytes=info.nbytes,
        bytes_on_disk=on_disk,
        seconds=round(seconds, 3),
        peak_rss_bytes=peak,
    )
    print(
        f"{options.store}: {info.n_rows:,} rows, {info.nbytes / 1e6:,.0f} MB "
        f"({info.nbytes / on_disk:.2f}x compressed), {info.nbytes / seconds / 1e6:,.0f} MB/s, "
        f"peak memory {peak / 1e6:,.0f} MB"
    )


if __name__ == "__main__":
    main()
