"""k-means from a store on threads, against its peers on float32 rows in memory.

All start from the same rows of the data, drawn with the seed, and stop only when nothing moves, or
after --max-iter iterations. float32 rounding can send a peer another way, so that iterations
differ: totals and milliseconds an iteration are both printed. faiss and Spark make as many
iterations as ours. The floor is what the machine cannot avoid without bounds: reading
and decoding the store as often as the fit did, plus the products at the measured sgemm peak.
"""

import argparse
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import peers
import zarr
from benchlib import (
    arguments,
    data_options,
    emit,
    emit_run,
    interleaved,
    ratio,
    scratch_folder,
    spread,
    store_of,
    timed,
)
from dask.system import CPU_COUNT
from sklearn.exceptions import ConvergenceWarning

from daskcluster import KMeans
from daskcluster.fit.data import Dataset, store_dataset
from daskcluster.fit.kmeans import ALGORITHMS
from daskcluster.kernels import compiling
from daskcluster.store import Store

EXAMPLE = (
    "python scripts/bench_fit.py --images train-images-idx3-ubyte.gz --k 10 --repeats 5 "
    "--peers scikit-learn-elkan scikit-learn-intelex"
)
MAX_ITER = 10_000


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        store={"metavar": "PATH", "help": "a store; else one is made of --images or --data"},
        **data_options(),
        k={"type": int, "default": 10},
        repeats={"type": int, "default": 5},
        seed={"type": int, "default": 0, "help": "draws the rows both start from"},
        peers={"nargs": "*", "choices": peers.NAMES, "default": ["scikit-learn"]},
        numpy={"action": "store_true", "help": "ours without numba too, beside the peers"},
        max_iter={"type": int, "default": MAX_ITER},
        algorithm={"choices": ALGORITHMS, "default": "auto"},
        memory_budget={"default": None, "help": "of the fit from the store; default: its own"},
        codec={"default": "lz4", "help": "of the store that is made (default %(default)s)"},
        sgemm_size={"type": int, "default": 2048, "help": "side of the matrices for the peak"},
    )


def read_all(data: Dataset) -> np.ndarray:
    """All rows of a store in memory."""
    blocks = [data.reader.read(data.cut.block(i)).rows for i in range(len(data.cut))]
    return np.concatenate(blocks)


def start_rows(rows: np.ndarray, k: int, seed: int) -> list[int]:
    """Indices of ``k`` distinct rows: a repeated row would be two equal centres."""
    seen: dict[bytes, int] = {}
    for i in np.random.default_rng(seed).permutation(len(rows)):
        seen.setdefault(rows[i].tobytes(), int(i))
        if len(seen) == k:
            return list(seen.values())
    raise SystemExit(f"the data has only {len(seen)} distinct rows: choose --k up to that")


def read_once(data: Dataset) -> None:
    """Read and decode every block, with as many threads as the fit uses, and keep nothing."""

    def read(index: int) -> None:
        data.reader.read(data.cut.block(index))

    with ThreadPoolExecutor(CPU_COUNT) as pool:
        list(pool.map(read, range(len(data.cut))))


def read_by_zarr(store: Store) -> Callable[[], None]:
    """The same by Zarr alone, as anybody would."""
    info = store.info
    array = zarr.open_array(store.path, path=f"build-{info.build}/data", mode="r")

    def read_chunk(index: int) -> None:
        array[index * info.rows_per_chunk : (index + 1) * info.rows_per_chunk]

    def read() -> None:
        with ThreadPoolExecutor(CPU_COUNT) as pool:
            list(pool.map(read_chunk, range(info.n_chunks)))

    return read


def sgemm(size: int) -> Callable[[], None]:
    """One float32 product of square matrices, on all threads of the BLAS."""
    a, b = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
    out = np.empty_like(a)

    def multiply() -> None:
        np.matmul(a, b, out=out)

    return multiply


def race(store: Store, data: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """Run all fits and the floor in turn; seconds by name, and what the last round found."""
    rows = read_all(data)
    start = rows[start_rows(rows, options.k, options.seed)]
    floats = rows.astype(np.float32)
    del rows
    ran: dict[str, Any] = {}

    def ours() -> None:
        model = KMeans(
            options.k,
            init=start.astype(np.float64),
            n_init=1,
            tol=0,
            max_iter=options.max_iter,
            algorithm=options.algorithm,
            memory_budget=options.memory_budget,
        ).fit(store)
        ran["passes"] = model.passes_
        ran["daskcluster"] = peers.Ran(model.n_iter_, model.inertia_)

    def peer(name: str, fit: peers.Peer) -> Callable[[], None]:
        def run() -> None:
            counted = name in peers.COUNTED
            most = ran["daskcluster"].n_iter if counted else options.max_iter
            ran[name] = fit(floats, start.astype(np.float32), most)

        return run

    def by_numpy() -> None:
        with patch.object(compiling, "has_numba", lambda: False):
            ours()
        ran["numpy"] = ran["daskcluster"]

    multiply = sgemm(options.sgemm_size)
    calls = {"daskcluster": ours} | ({"numpy": by_numpy} if options.numpy else {})
    calls |= {name: peer(name, fit) for name, fit in peers.installed(options.peers).items()}
    calls |= {"read": lambda: read_once(data), "zarr": read_by_zarr(store), "sgemm": multiply}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        seconds = interleaved(calls, options.repeats)
    seconds["sgemm"] += [timed(multiply) for _ in range(5)]
    return {"seconds": seconds, "passes": ran.pop("passes"), "ran": ran}


def emit_fits(
    seconds: dict[str, list[float]], ran: dict[str, peers.Ran], passes: float
) -> dict[str, list[float]]:
    """A line for each fit; milliseconds an iteration by name."""
    per_iteration = {}
    for name, one in ran.items():
        each = [1e3 * s / one.n_iter for s in seconds[name]]
        per_iteration[name] = each
        emit(
            "fit",
            name=name,
            seconds=spread(seconds[name]),
            n_iter=one.n_iter,
            ms_per_iteration=spread(each, 3),
            inertia=one.inertia,
            **({"passes": passes} if name == "daskcluster" else {}),
        )
    return per_iteration


def emit_floor(
    seconds: dict[str, list[float]], n_iter: int, passes: float, data: Dataset,
    options: argparse.Namespace,
) -> float:  # fmt: skip
    """The lines of the physical floor; its seconds."""
    peak = 2 * options.sgemm_size**3 / min(seconds["sgemm"])
    flops = 2 * data.n_rows * data.n_features * options.k * n_iter
    read = min(seconds["read"])
    floor = passes * read + flops / peak
    emit(
        "floor",
        threads=CPU_COUNT,
        read_and_decode_seconds=spread(seconds["read"]),
        read_by_zarr_seconds=spread(seconds["zarr"]),
        read_mb_per_s=round(data.nbytes / read / 1e6, 1),
        passes=passes,
        sgemm_gflops=round(peak / 1e9, 1),
        gflop_of_products=round(flops / 1e9, 3),
        seconds_of_products=round(flops / peak, 6),
        seconds=round(floor, 6),
    )
    return floor


def run(options: argparse.Namespace, scratch: Path) -> None:
    """The whole measurement."""
    store = store_of(options, scratch, options.codec)
    data = store_dataset(store)
    emit_run(
        __file__,
        options,
        n_rows=data.n_rows,
        n_features=data.n_features,
        dtype=data.dtype,
        k=options.k,
        n_chunks=-(-data.n_rows // store.info.rows_per_chunk),
        codec=store.info.codec,
        threads=CPU_COUNT,
    )
    found = race(store, data, options)
    seconds, ran, passes = found["seconds"], found["ran"], found["passes"]
    each = emit_fits(seconds, ran, passes)
    ours = ran.pop("daskcluster")
    floor = emit_floor(seconds, ours.n_iter, passes, data, options)
    total = {name: ratio(seconds["daskcluster"], seconds[name]) for name in ran}
    reading = {
        reader: ratio(seconds["daskcluster"], [ours.n_iter * s for s in seconds[reader]])
        for reader in ("read", "zarr")
    }
    emit(
        "result",
        ratio_total=total,
        ratio_per_iteration={name: ratio(each["daskcluster"], each[name]) for name in ran},
        ratio_to_floor=ratio(seconds["daskcluster"], [floor]),
        ratio_to_reading=reading["read"],
        ratio_to_reading_by_zarr=reading["zarr"],
        passes_per_iteration=round(passes / ours.n_iter, 4),
    )
    times = ", ".join(f"{value:.2f}x {name}'s" for name, value in total.items())
    print(
        f"daskcluster takes {times or 'its'} time in all, "
        f"{ratio(seconds['daskcluster'], [floor]):.2f}x the floor of reading and all products; "
        f"an iteration {reading['read']:.2f}x reading all, {reading['zarr']:.2f}x reading by Zarr"
    )


def main() -> None:
    """Run on a folder that is deleted afterwards."""
    options = parse()
    with scratch_folder() as scratch:
        run(options, scratch)


if __name__ == "__main__":
    main()
