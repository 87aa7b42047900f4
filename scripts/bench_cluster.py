"""k-means on worker processes from a store, against dask-ml on the same workers and store.

Both start from the same rows of the data and make --max-iter iterations. Ours runs with budget 0,
which reads the store in every pass, and with its own budget. dask-ml reads a Dask array of the same
chunks, as float32; without it (``pip install '.[bench]'``) ours is measured alone.
"""

import argparse
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import dask.array as da
import numpy as np
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
)
from distributed import Client, LocalCluster
from sklearn.exceptions import ConvergenceWarning

from daskcluster import KMeans, Store
from daskcluster.fit.data import store_dataset

EXAMPLE = "python scripts/bench_cluster.py --store mnist480k.zarr --k 10 --max-iter 10"


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        store={"metavar": "PATH", "help": "a store; else one is made of --images or --data"},
        **data_options(),
        k={"type": int, "default": 10},
        max_iter={"type": int, "default": 10},
        workers={"type": int, "default": 2, "help": "of one thread each"},
        repeats={"type": int, "default": 3},
        seed={"type": int, "default": 0, "help": "draws the rows both start from"},
    )


def ours(store: Store, start: np.ndarray, options: argparse.Namespace, budget: Any) -> None:
    """A fit on the active client."""
    KMeans(
        options.k, init=start.astype(np.float64), n_init=1, tol=0, max_iter=options.max_iter,
        memory_budget=budget,
    ).fit(store)  # fmt: skip


def dask_ml(store: Store, start: np.ndarray, options: argparse.Namespace) -> None:
    """The same of dask-ml."""
    from dask_ml.cluster import KMeans as DaskMLKMeans  # noqa: PLC0415 - only where installed

    rows = da.from_zarr(f"{store.path}/build-{store.info.build}/data").astype(np.float32)
    DaskMLKMeans(options.k, init=start.astype(np.float32), max_iter=options.max_iter, tol=0.0).fit(
        rows
    )


def measure(store: Store, options: argparse.Namespace) -> None:
    """Run all in turn on one cluster, print the lines."""
    data = store_dataset(store)
    first = data.reader.read(data.cut.block(0)).rows
    pick = np.random.default_rng(options.seed).choice(len(first), options.k, replace=False)
    start = first[np.sort(pick)]
    calls: dict[str, Callable[[], None]] = {
        "budget 0": lambda: ours(store, start, options, 0),
        "its own budget": lambda: ours(store, start, options, None),
    }
    if find_spec("dask_ml"):
        calls["dask-ml"] = lambda: dask_ml(store, start, options)
    with (
        LocalCluster(
            n_workers=options.workers, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)
        seconds = interleaved(calls, options.repeats)
    for name, each in seconds.items():
        emit("fit", name=name, seconds=spread(each))
    times = {
        name: ratio(seconds["dask-ml"], seconds[name]) if "dask-ml" in seconds else None
        for name in list(seconds)[:2]
    }
    emit("result", times_as_fast_as_dask_ml=times)
    print(
        "daskcluster is as many times as fast as dask-ml: "
        + ", ".join(f"{name} {value or 'not measured'}" for name, value in times.items())
        + " (targets 10 and 20)"
    )


def main() -> None:
    """Run on a folder that is deleted afterwards."""
    options = parse()
    with scratch_folder() as scratch:
        store = store_of(options, scratch)
        info = store.info
        emit_run(__file__, options, n_rows=info.n_rows, n_features=info.n_features, k=options.k)
        measure(store, options)


if __name__ == "__main__":
    main()
