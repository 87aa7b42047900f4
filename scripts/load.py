"""Much at once, and much of everything: each part finishes, or is refused with what would fit.

eight     eight fits at once, by threads of one process and by clients of their own, on one cluster
many      small fits one after the other in one process, whose memory must stay flat
chunks    a store of very many chunks
clusters  a model of very many clusters
features  data of very many features, and clusters times features beyond the memory

Each part runs in a process of its own and prints its seconds and the process's peak.
"""

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
from benchlib import arguments, data_files, emit, emit_run, scratch_folder
from distributed import Client
from measure_memory import peak_bytes
from sklearn.exceptions import ConvergenceWarning

from daskcluster import BudgetError, KMeans, Store, load_model, open_store
from daskcluster.convert import convert_rows
from daskcluster.engine import Silent, local_cluster
from daskcluster.sources import open_source

EXAMPLE = "python scripts/load.py --part many --fits 1000 --seed 0"


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        part={"nargs": "+", "choices": PARTS, "default": list(PARTS)},
        seed={"type": int, "default": 0},
        at_once={"type": int, "default": 8, "help": "fits at once (default %(default)s)"},
        rows={"type": int, "default": 60_000, "help": "of each of the eight, and of clusters"},
        fits={"type": int, "default": 1000, "help": "one after the other"},
        chunks={"type": int, "default": 100_000},
        clusters={"type": int, "default": 10_000},
        features={"type": int, "default": 100_000},
        max_iter={"type": int, "default": 3, "help": "of what is large"},
        child={"action": "store_true", "help": argparse.SUPPRESS},
    )


@dataclass(frozen=True)
class Made:
    """Rows that are made as they are asked for: row i holds a few values that depend on i."""

    shape: tuple[int, int]
    path: str = "made"
    dtype: ClassVar[Any] = np.dtype("uint8")
    seekable: ClassVar[bool] = True

    @property
    def n_rows(self) -> int:
        return self.shape[0]

    @property
    def n_features(self) -> int:
        return self.shape[1]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.shape[1:]

    def header(self) -> dict[str, Any]:
        return {"format": "made", "shape": list(self.shape)}

    def read(self, start: int, stop: int) -> np.ndarray:
        rows = np.arange(start, stop)[:, np.newaxis]
        few = (rows * 7 + np.arange(16)) % 11 + 60 * (rows % 3)
        return np.repeat(few.astype(np.uint8), -(-self.n_features // 16), axis=1)[
            :, : self.n_features
        ].copy()

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        for start in range(0, self.n_rows, rows):
            yield self.read(start, min(start + rows, self.n_rows))


def model(options: argparse.Namespace, k: int, seed: int = 0, **more: Any) -> KMeans:
    """A fit that is not let go on for long."""
    given = {"n_init": 1, "max_iter": options.max_iter, "tol": 0} | more
    return KMeans(k, random_state=options.seed + seed, **given)


def digits(scratch: Path, n_rows: int) -> Store:
    """The digits again and again."""
    return convert_rows(open_source(data_files("digits", scratch, n_rows)[0]), scratch / "digits")


def eight(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Fits of other seeds, all at once; each must be what it is alone."""
    n = options.at_once
    store = digits(scratch, options.rows)
    alone = [fingerprint(store.path, options, seed) for seed in range(n)]
    with local_cluster(2) as client:
        address = client.scheduler.address
        began = time.perf_counter()
        with ThreadPoolExecutor(n) as pool:
            by_threads = list(pool.map(lambda s: fingerprint(store.path, options, s), range(n)))
        threads = time.perf_counter() - began
        jobs = [(address, store.path, options, seed) for seed in range(n)]
        began = time.perf_counter()
        with get_context("spawn").Pool(n) as pool:
            by_clients = pool.starmap(fingerprint_of_client, jobs)
        clients = time.perf_counter() - began
        workers = [
            found["metrics"]["memory"] for found in client.scheduler_info()["workers"].values()
        ]
    if not alone == by_threads == by_clients:
        raise SystemExit("fits at once differ from the same fits alone")
    return {
        "fits": 2 * n, "threads_seconds": round(threads, 1),
        "clients_seconds": round(clients, 1), "worker_mb": [_mb(n) for n in workers],
    }  # fmt: skip


def fingerprint(path: str, options: argparse.Namespace, seed: int) -> tuple[bytes, float, int]:
    """What a fit finds, to compare."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = model(options, 5, seed, init="random", max_iter=10).fit(path)
    return found.cluster_centers_.tobytes(), found.inertia_, found.n_iter_


def fingerprint_of_client(address: str, *job: Any) -> tuple[bytes, float, int]:
    """The same, in a process with a client of its own."""
    with Client(address):
        return fingerprint(*job)


def many(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Small fits: of stores and arrays in turn, each saved and loaded again."""
    store = digits(scratch, 1797)
    rows = store.rows(0, 500)
    process, sizes = psutil.Process(), []
    for i in range(options.fits):
        found = model(options, 3, i, max_iter=20).fit(store if i % 2 else rows)
        found.save(scratch / "model", overwrite=True)
        load_model(scratch / "model").predict(rows[:10])
        if (i + 1) % max(options.fits // 10, 1) == 0:
            sizes.append(_mb(process.memory_info().rss))
            emit("memory", fits=i + 1, rss_mb=sizes[-1], fds=process.num_fds(),
                 threads=process.num_threads())  # fmt: skip
    return {"fits": options.fits, "first_mb": sizes[0], "last_mb": sizes[-1]}


def chunks(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """A store of the smallest chunks there are, 32 rows of 16,384 features."""
    began = time.perf_counter()
    made = Made((32 * options.chunks, 16_384))
    store = convert_rows(made, scratch / "many", rows_per_chunk=32, progress=Silent())
    converted = time.perf_counter() - began
    began = time.perf_counter()
    opened = open_store(store.path)
    opening = time.perf_counter() - began
    began = time.perf_counter()
    found = model(options, 3, init="random", memory_budget=0, algorithm="hamerly").fit(opened)
    return {
        "chunks": opened.info.n_chunks, "bytes": opened.info.nbytes,
        "convert_seconds": round(converted, 1), "open_seconds": round(opening, 3),
        "fit_seconds": round(time.perf_counter() - began, 1), "passes": found.passes_,
        "inertia": found.inertia_,
    }  # fmt: skip


def clusters(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """A fit of very many clusters of the digits, noise added; saved, loaded, asked for labels."""
    noise = np.random.default_rng(options.seed)
    base = digits(scratch, options.rows).rows(0, options.rows)
    rows = np.repeat(base, 4, axis=1) + noise.integers(0, 9, (len(base), 256), dtype=np.uint8)
    np.save(scratch / "rows.npy", rows)
    store = convert_rows(open_source(scratch / "rows.npy"), scratch / "noisy")
    began = time.perf_counter()
    found = model(options, options.clusters, init="random").fit(store)
    seconds = time.perf_counter() - began
    found.save(scratch / "model")
    labels = load_model(scratch / "model").predict(rows[:100])
    if len(labels) != 100 or (found.cluster_sizes_ < 0).any():
        raise SystemExit("labels of other rows")
    return {
        "k": options.clusters, "n_iter": found.n_iter_, "fit_seconds": round(seconds, 1),
        "inertia": found.inertia_,
    }  # fmt: skip


def features(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """A fit of very many features; and one whose centres no worker could hold, refused."""
    store = convert_rows(Made((2000, options.features)), scratch / "wide", progress=Silent())
    began = time.perf_counter()
    found = model(options, 10, init="random").fit(store)
    seconds = time.perf_counter() - began
    # Of 100,000 features these centres alone are more than the worker has.
    with local_cluster(1, 1, 10**9):
        try:
            model(options, 1500, init="random").fit(store.path)
            refused = None
        except BudgetError as error:
            refused = str(error)
    return {
        "features": options.features, "fit_seconds": round(seconds, 1), "n_iter": found.n_iter_,
        "inertia": found.inertia_, "refused": refused,
    }  # fmt: skip


PARTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    part.__name__: part for part in (eight, many, chunks, clusters, features)
}


def _mb(n_bytes: float) -> float:
    return round(n_bytes / 1e6, 1)


def run(options: argparse.Namespace, part: str) -> None:
    """A part in this process."""
    began = time.perf_counter()
    with scratch_folder() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        facts = PARTS[part](options, scratch)
    seconds = round(time.perf_counter() - began, 1)
    emit("result", part=part, seconds=seconds, peak_mb=_mb(peak_bytes()), **facts)


def main() -> None:
    """Run each part in a process of its own."""
    options = parse()
    if options.child:
        run(options, options.part[0])
        return
    sizes = {name: getattr(options, name) for name in ("rows", "fits", "chunks", "clusters")}
    emit_run(__file__, options, **sizes, features=options.features)
    given = [word for word in sys.argv[1:] if word not in ("--part", *PARTS)]
    for part in options.part:
        command = [sys.executable, __file__, "--child", "--part", part, *given]
        subprocess.run(command, check=True)
    print(f"{len(options.part)} parts of seed {options.seed}: all finished, or refused as said")


if __name__ == "__main__":
    main()
