"""What the scripts share: the machine, interleaved timing, JSON lines and data to run on."""

import argparse
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import sklearn
import threadpoolctl
from sklearn.datasets import load_digits

from daskcluster import Store, open_store
from daskcluster.convert import convert_rows
from daskcluster.demo import write_idx
from daskcluster.engine.tasks import versions
from daskcluster.sources import Source, open_source

TOY_ROWS = 20_000
FEATURES = 50  # of the blobs
FOLDERS = {"mnist": "MNIST_DATA_PATH", "fashion-mnist": "FASHION_MNIST_DATA_PATH"}
IMAGES = ("digits", *FOLDERS)
DATA = (*IMAGES, "blobs")


def arguments(
    description: str | None,
    example: str,
    positional: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Mapping[str, Any],
) -> argparse.Namespace:
    """Parse the command line; the values are keyword arguments of `add_argument` by name."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, option in (positional or {}).items():
        parser.add_argument(name, **option)
    for name, option in options.items():
        parser.add_argument("--" + name.replace("_", "-"), **option)
    return parser.parse_args()


def data_options() -> dict[str, dict[str, Any]]:
    """The options that choose the rows: a file, or a data set by name."""
    places = ", ".join(f"{name} in ${variable}" for name, variable in FOLDERS.items())
    return {
        "images": {"type": Path, "metavar": "FILE", "help": "IDX or NPY file, plain or .gz"},
        "data": {
            "choices": DATA,
            "default": "digits",
            "help": f"used without --images: scikit-learn's digits, tiled, or {places} "
            "(folders with the four IDX files, plain or .gz), or Gaussian blobs, "
            f"float32 of {FEATURES} features",
        },
        "rows": {
            "type": int,
            "default": TOY_ROWS,
            "help": "rows of the tiled digits and of the blobs (default %(default)s)",
        },
    }


def data_files(name: str, scratch: Path, n_rows: int | None = None) -> tuple[Path, Path]:
    """Image and label file of a data set; the digits are written to ``scratch``.

    Parameters
    ----------
    name : {'digits', 'mnist', 'fashion-mnist'}
    scratch : Path
        An existing folder.
    n_rows : int, optional
        Rows of the digits, repeated in their order; by default each once.
    """
    if name in FOLDERS:
        folder = os.environ.get(FOLDERS[name])
        if not folder:
            sys.exit(f"set {FOLDERS[name]} to the folder with the IDX files of {name}")
        kinds = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
        return _plain_or_gz(Path(folder), kinds[0]), _plain_or_gz(Path(folder), kinds[1])
    digits = load_digits()
    pick = np.arange(n_rows or len(digits.target)) % len(digits.target)
    images, labels = scratch / "digits-images.idx", scratch / "digits-labels.idx"
    write_idx(images, digits.images.astype(np.uint8)[pick])
    write_idx(labels, digits.target.astype(np.uint8)[pick])
    return images, labels


def _plain_or_gz(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    sys.exit(f"{folder} holds neither {name} nor {name}.gz")


def source_of(options: argparse.Namespace, scratch: Path) -> Source:
    """The images that `data_options` chose."""
    if options.images is not None:
        return open_source(options.images.absolute())
    if options.data == "blobs":
        return open_source(blobs(scratch / "blobs.npy", options.rows))
    return open_source(data_files(options.data, scratch, options.rows)[0])


def blobs(path: Path, n_rows: int) -> Path:
    """Rows around 30 centres, near enough to each other that blobs overlap."""
    rng = np.random.default_rng(0)
    middles = rng.normal(scale=1.5, size=(30, FEATURES))
    rows = middles[rng.integers(0, len(middles), n_rows)] + rng.normal(size=(n_rows, FEATURES))
    np.save(path, rows.astype(np.float32))
    return path


def store_of(options: argparse.Namespace, scratch: Path, codec: str = "lz4") -> Store:
    """The store that was named, else one of the images that `data_options` chose."""
    if options.store is not None:
        return open_store(options.store)
    return convert_rows(source_of(options, scratch), scratch / "rows.zarr", codec=codec)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is deleted afterwards; under TMPDIR."""
    with tempfile.TemporaryDirectory(prefix="daskcluster-bench-") as folder:
        yield Path(folder)


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        cpu = found[1]
    return {
        "cpu": cpu,
        "cores": len(psutil.Process().cpu_affinity()) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": psutil.virtual_memory().total,
        "platform": platform.platform(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def all_versions() -> dict[str, str]:
    """Versions of the packages in the race, BLAS included."""
    blas = {
        f"{pool['internal_api']} of {Path(pool['filepath']).parent.name}": (
            f"{pool['version']} {pool.get('architecture', '')}".strip()
        )
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    }
    return {**versions(), "scikit-learn": sklearn.__version__, **blas}


def emit(event: str, **facts: Any) -> None:
    """Print one JSON line."""
    print(json.dumps({"event": event, **facts}, default=str), flush=True)


def emit_run(script: str, options: argparse.Namespace, **sizes: Any) -> None:
    """Print the first line: what runs, on what, and how large it is."""
    emit(
        "run",
        script=Path(script).name,
        arguments={k: v if v is None else str(v) for k, v in vars(options).items()},
        machine=machine(),
        versions=all_versions(),
        sizes=sizes,
    )


def interleaved(
    calls: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 1, batch: int = 1
) -> dict[str, list[float]]:
    """Seconds of each call, ``repeats`` times in turn (A B A B ...), after untimed rounds.

    With ``batch``, a turn is so many calls in a row and its figure their mean: for calls that
    leave work behind, such as futures to release, which would be charged to the next in turn.
    """
    for _ in range(warmup):
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(timed(call, batch))
    return seconds


def timed(call: Callable[[], Any], batch: int = 1) -> float:
    """Seconds that a call takes, as the mean of so many in a row."""
    began = time.perf_counter()
    for _ in range(batch):
        call()
    return (time.perf_counter() - began) / batch


def spread(values: list[float], digits: int = 6) -> dict[str, Any]:
    """Repeats, minimum, median and maximum, for a JSON line."""
    middle = statistics.median(values)
    three = {"min": min(values), "median": middle, "max": max(values)}
    return {"repeats": len(values)} | {name: round(v, digits) for name, v in three.items()}


def ratio(a: list[float], b: list[float]) -> float:
    """Median of ``a`` over median of ``b``."""
    return round(statistics.median(a) / statistics.median(b), 4)
