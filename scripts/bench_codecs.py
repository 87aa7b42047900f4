"""Write and read speed and compression of each codec offered: the measurement behind the default.

Chunks are written to and read from a store on disk with one and two calling threads (Zarr decodes
in threads of its own besides). Writing leaves out the fsync that sealing does; reading finds the
files in the page cache, so that it is the decoder and the checksum that are measured, not the
disk. Speeds are of decoded bytes.
"""

import argparse
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from benchlib import (
    arguments,
    data_options,
    emit,
    emit_run,
    interleaved,
    scratch_folder,
    source_of,
    spread,
)

from daskcluster.sizing import Block, Cut, chunk_rows
from daskcluster.sources import Source
from daskcluster.store import CODECS, ArraySpec, Build, StoreReader, building

EXAMPLE = "python scripts/bench_codecs.py --images train-images-idx3-ubyte.gz --repeats 5"
THREADS = (1, 2)


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        **data_options(),
        rows_per_chunk={"type": int, "help": "rounded up to whole grains; default: the package's"},
        codecs={"nargs": "+", "choices": CODECS, "default": CODECS, "metavar": "CODEC"},
        repeats={"type": int, "default": 5},
    )


def read_source(source: Source) -> np.ndarray:
    """All rows of a file in memory."""
    return np.concatenate(list(source.blocks(65_536)))


def on_threads(n_threads: int, call: Callable[[Block], Any], cut: Cut) -> None:
    """Call for every block, on so many threads."""
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(lambda i: call(cut.block(i)) and None, range(len(cut))))


class Trial:
    """One codec: a build in a folder of its own, written and read again and again."""

    def __init__(self, rows: np.ndarray, cut: Cut, codec: str, folder: Path) -> None:
        self.rows, self.cut, self.codec = rows, cut, codec
        self.path = folder / f"{codec}.zarr"
        self.build: Build | None = None

    def write(self, n_threads: int) -> None:
        """Write all rows to a fresh build."""
        shutil.rmtree(self.path, ignore_errors=True)
        n_rows, n_features = self.rows.shape
        with building(
            self.path, n_rows=n_rows, rows_per_chunk=self.cut.rows_per_block, codec=self.codec
        ) as build:
            build.create_array(ArraySpec("data", (n_features,), self.rows.dtype.name))

            def write(block: Block) -> None:
                build.write("data", block.start, self.rows[block.start : block.stop])

            on_threads(n_threads, write, self.cut)
        self.build = build

    def read(self, n_threads: int) -> None:
        """Read, check and decode all rows of the last build."""
        assert self.build is not None
        reader = StoreReader(self.build.path, self.build.id)
        on_threads(n_threads, reader.read, self.cut)

    def check(self) -> None:
        """Fail unless what is on disk is what was written."""
        assert self.build is not None
        reader = StoreReader(self.build.path, self.build.id)
        for i in range(len(self.cut)):
            block = self.cut.block(i)
            expected = self.rows[block.start : block.stop]
            np.testing.assert_array_equal(reader.read(block).rows, expected)

    @property
    def bytes_on_disk(self) -> int:
        return sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file())


def race(trials: list[Trial], repeats: int) -> dict[str, list[float]]:
    """Seconds by "codec action threads", all in turn."""
    calls: dict[str, Callable[[], None]] = {}
    for n_threads in THREADS:
        for trial in trials:
            for action in ("write", "read"):
                calls[f"{trial.codec} {action} {n_threads}"] = _call(trial, action, n_threads)
    return interleaved(calls, repeats)


def _call(trial: Trial, action: str, n_threads: int) -> Callable[[], None]:
    return lambda: getattr(trial, action)(n_threads)


def summary(trial: Trial, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """The figures of one codec."""
    n_bytes = trial.rows.nbytes
    facts: dict[str, Any] = {
        "codec": trial.codec,
        "compression": round(n_bytes / trial.bytes_on_disk, 3),
        "bytes_on_disk": trial.bytes_on_disk,
    }
    for action in ("write", "read"):
        for n_threads in THREADS:
            times = seconds[f"{trial.codec} {action} {n_threads}"]
            speeds = [n_bytes / s / 1e6 for s in times]
            facts[f"{action}_mb_per_s_{n_threads}_threads"] = spread(speeds, 1)
    return facts


def describe(facts: dict[str, Any]) -> str:
    """A codec in a few words."""
    speeds = [
        facts[f"{action}_mb_per_s_{n}_threads"]["median"]
        for action in ("write", "read")
        for n in THREADS
    ]
    return "{} {:.2f}x, write {:.0f}/{:.0f}, read {:.0f}/{:.0f} MB/s".format(
        facts["codec"], facts["compression"], *speeds
    )


def main() -> None:
    """Run on a folder that is deleted afterwards."""
    options = parse()
    with scratch_folder() as scratch:
        rows = read_source(source_of(options, scratch))
        n_rows, n_features = rows.shape
        per_chunk = chunk_rows(n_rows, n_features, rows.itemsize, options.rows_per_chunk)
        cut = Cut(n_rows, per_chunk)
        emit_run(
            __file__,
            options,
            n_rows=n_rows,
            n_features=n_features,
            dtype=rows.dtype.name,
            bytes=rows.nbytes,
            rows_per_chunk=cut.rows_per_block,
            n_chunks=len(cut),
        )
        trials = [Trial(rows, cut, codec, scratch) for codec in options.codecs]
        seconds = race(trials, options.repeats)
        for trial in trials:
            trial.check()
        found = [summary(trial, seconds) for trial in trials]
    for facts in found:
        emit("codec", **facts)
    print(f"{'; '.join(map(describe, found))} (1/2 threads, medians)")


if __name__ == "__main__":
    main()
