"""k-means to convergence from a store on threads, against scikit-learn on float32 in memory.

Both start from the same rows of the data, drawn with the seed, and stop only when nothing moves
(tol=0). float32 rounding can send scikit-learn another way, so that iterations differ: totals and
milliseconds an iteration are both printed. The floor is what the machine cannot avoid: reading
and decoding the store as often as the fit did, plus the products at the measured sgemm peak.
"""

import argparse
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
    ratio,
    scratch_folder,
    source_of,
    spread,
    timed,
)
from dask.system import CPU_COUNT
from sklearn.cluster import KMeans as SklearnKMeans

from daskcluster import KMeans, open_store
from daskcluster.convert import convert_rows
from daskcluster.fit.data import Dataset, store_dataset
from daskcluster.store import Store

EXAMPLE = (
    "python scripts/bench_fit.py --images train-images-idx3-ubyte.gz --k 10 --repeats 5 --seed 0"
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


def sgemm(size: int) -> Callable[[], None]:
    """One float32 product of square matrices, on all threads of the BLAS."""
    a, b = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
    out = np.empty_like(a)

    def multiply() -> None:
        np.matmul(a, b, out=out)

    return multiply


def race(store: Store, data: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """Run both fits and the floor in turn; seconds by name, and the models of the last round."""
    rows = read_all(data)
    start = rows[start_rows(rows, options.k, options.seed)]
    floats = rows.astype(np.float32)
    del rows
    models: dict[str, Any] = {}

    def ours() -> None:
        model = KMeans(
            options.k,
            init=start.astype(np.float64),
            n_init=1,
            tol=0,
            max_iter=MAX_ITER,
            memory_budget=options.memory_budget,
        )
        models["daskcluster"] = model.fit(store)

    def theirs() -> None:
        model = SklearnKMeans(
            options.k,
            init=start.astype(np.float32),
            n_init=1,
            tol=0,
            max_iter=MAX_ITER,
            algorithm="lloyd",
        )
        models["scikit-learn"] = model.fit(floats)

    multiply = sgemm(options.sgemm_size)
    calls = {
        "daskcluster": ours,
        "scikit-learn": theirs,
        "read": lambda: read_once(data),
        "sgemm": multiply,
    }
    seconds = interleaved(calls, options.repeats)
    seconds["sgemm"] += [timed(multiply) for _ in range(5)]
    return {"seconds": seconds, "models": models}


def emit_fits(seconds: dict[str, list[float]], models: dict[str, Any]) -> dict[str, list[float]]:
    """A line for each fit; milliseconds an iteration by name."""
    per_iteration = {}
    for name, model in models.items():
        each = [1e3 * s / model.n_iter_ for s in seconds[name]]
        per_iteration[name] = each
        emit(
            "fit",
            name=name,
            seconds=spread(seconds[name]),
            n_iter=int(model.n_iter_),
            ms_per_iteration=spread(each, 3),
            inertia=float(model.inertia_),
            **({"passes": model.passes_} if name == "daskcluster" else {}),
        )
    return per_iteration


def emit_floor(
    seconds: dict[str, list[float]], model: KMeans, data: Dataset, options: argparse.Namespace
) -> float:
    """The lines of the physical floor; its seconds."""
    peak = 2 * options.sgemm_size**3 / min(seconds["sgemm"])
    flops = 2 * data.n_rows * data.n_features * options.k * model.n_iter_
    read = min(seconds["read"])
    floor = model.passes_ * read + flops / peak
    emit(
        "floor",
        threads=CPU_COUNT,
        read_and_decode_seconds=spread(seconds["read"]),
        read_mb_per_s=round(data.nbytes / read / 1e6, 1),
        passes=model.passes_,
        sgemm_gflops=round(peak / 1e9, 1),
        gflop_of_products=round(flops / 1e9, 3),
        seconds_of_products=round(flops / peak, 6),
        seconds=round(floor, 6),
    )
    return floor


def run(options: argparse.Namespace, scratch: Path) -> None:
    """The whole measurement."""
    if options.store is not None:
        store = open_store(options.store)
    else:
        source = source_of(options, scratch)
        store = convert_rows(source, scratch / "rows.zarr", codec=options.codec)
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
    seconds, models = found["seconds"], found["models"]
    each = emit_fits(seconds, models)
    floor = emit_floor(seconds, models["daskcluster"], data, options)
    total = ratio(seconds["daskcluster"], seconds["scikit-learn"])
    per_iteration = ratio(each["daskcluster"], each["scikit-learn"])
    over_floor = ratio(seconds["daskcluster"], [floor])
    emit(
        "result",
        ratio_total=total,
        ratio_per_iteration=per_iteration,
        ratio_to_floor=over_floor,
        target_total=1.1,
    )
    print(
        f"daskcluster takes {total:.2f}x scikit-learn's time in all (target 1.10), "
        f"{per_iteration:.2f}x an iteration, {over_floor:.1f}x the floor"
    )


def main() -> None:
    """Run on a folder that is deleted afterwards."""
    options = parse()
    with scratch_folder() as scratch:
        run(options, scratch)


if __name__ == "__main__":
    main()
