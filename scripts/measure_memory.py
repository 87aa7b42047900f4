"""Peak resident memory of workers that fit a store, against workers that only opened it.

A cluster of its own for each: the idle workers import the package and open the store; the others
fit it. The peak is the kernel's (VmHWM), so nothing between two samples is missed. Beside it the
account by addition: the bound that `daskcluster.plan` gives and a fit checks before it begins.
"""

import argparse
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from benchlib import arguments, data_files, emit, emit_run, scratch_folder
from sklearn.exceptions import ConvergenceWarning

from daskcluster import (
    KMeans,
    SoftKMeans,
    Workers,
    open_store,
    plan,
    predict_responsibilities,
)
from daskcluster.convert import convert_rows
from daskcluster.engine import local_cluster, parse_bytes
from daskcluster.fit.data import Dataset, store_dataset
from daskcluster.sources import open_source

EXAMPLE = (
    "python scripts/measure_memory.py --store mnist8m.zarr --k 10 --max-iter 10 --workers 2 "
    "--memory-limit 1GB --init random"
)
TARGET_BYTES = 256e6  # above an idle worker and the state of its rows
SOFT_TARGET_BYTES = 350e6  # above an idle worker, in all


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        store={"metavar": "PATH", "help": "default: one is made of scikit-learn's digits"},
        k={"type": int, "default": 10},
        workers={"type": int, "default": 2},
        threads={"type": int, "default": 1, "help": "of each worker"},
        max_iter={"type": int, "default": 5},
        memory_limit={"default": "auto", "help": "of each worker (default %(default)s)"},
        memory_budget={"default": "0", "help": "of decoded blocks (default %(default)s)"},
        init={"choices": ("k-means++", "random", "refined", "k-means||"), "default": "k-means++"},
        seed={"type": int, "default": 0},
        soft={"action": "store_true", "help": "a soft fit, then `predict --proba` of it"},
    )


def peak_bytes() -> int:
    """The most memory that this process has ever held."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def open_and_measure(path: str) -> int:
    """What a worker does that has not been given any work: open the store."""
    open_store(path).reader().identity()
    return peak_bytes()


def idle_peaks(path: str, options: argparse.Namespace) -> list[int]:
    """Peaks of the workers of a fresh cluster that opened the store."""
    with local_cluster(options.workers, options.threads) as client:
        return sorted(client.run(open_and_measure, path).values())


def estimator(options: argparse.Namespace) -> KMeans | SoftKMeans:
    """What is fitted."""
    kind = partial(SoftKMeans, beta=0.1) if options.soft else KMeans
    return kind(
        options.k,
        init=options.init,
        n_init=1,
        tol=0,
        max_iter=options.max_iter,
        random_state=options.seed,
        memory_budget=options.memory_budget,
    )


def fit_peaks(
    path: str, options: argparse.Namespace, scratch: Path
) -> tuple[list[int], KMeans | SoftKMeans]:
    """Peaks of the workers of a fresh cluster that fitted the store."""
    model = estimator(options)
    with local_cluster(options.workers, options.threads, options.memory_limit) as client:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(path)
        if options.soft:
            predict_responsibilities(model, path, scratch / "responsibilities.zarr")
        return sorted(client.run(peak_bytes).values()), model


def account(path: str, options: argparse.Namespace) -> dict[str, int]:
    """Bytes of one worker by addition: what `plan` says, and a fit checks."""
    limit = None if options.memory_limit == "auto" else parse_bytes(options.memory_limit)
    workers = Workers(options.workers, options.threads, limit)
    found = plan(estimator(options), path, workers=workers)
    return {
        "fit_bytes": found.memory["needed"],
        "state_bytes": found.memory["state"],
        "budget_bytes": found.memory["budget"],
        "bound_bytes": found.peak_memory,
    }


def _mb(n_bytes: float) -> float:
    return round(n_bytes / 1e6, 1)


def report(data: Dataset, options: argparse.Namespace, scratch: Path) -> None:
    """Measure both, print the lines."""
    path = data.name
    idle = idle_peaks(path, options)
    emit("idle", peak_mb=[_mb(p) for p in idle])
    fitted, model = fit_peaks(path, options, scratch)
    emit(
        "fit",
        peak_mb=[_mb(p) for p in fitted],
        n_iter=model.n_iter_,
        passes=round(model.passes_, 3),
        seconds=round(model.seconds_, 3),
    )
    parts = account(path, options)
    bound = parts["bound_bytes"]
    emit("account", **parts)
    over = max(fitted) - min(idle)
    target = TARGET_BYTES + parts["state_bytes"]
    target = (SOFT_TARGET_BYTES if options.soft else target) + parts["budget_bytes"]
    facts: dict[str, Any] = {
        "idle_mb": _mb(min(idle)),
        "fit_mb": _mb(max(fitted)),
        "over_idle_mb": _mb(over),
        "bound_mb": _mb(bound),
        "target_over_idle_mb": _mb(target),
    }
    emit("result", **facts)
    print(
        f"a worker peaks at {facts['fit_mb']:.0f} MB, {facts['over_idle_mb']:.0f} MB above an idle "
        f"one (target {facts['target_over_idle_mb']:.0f}); the bound by addition, an idle one "
        f"included, is {facts['bound_mb']:.0f} MB ({max(fitted) / bound:.2f} of it used)"
    )


def main() -> None:
    """Run on a folder that is deleted afterwards."""
    options = parse()
    with scratch_folder() as scratch:
        if options.store is None:
            images = open_source(data_files("digits", scratch, 20_000)[0])
            store = convert_rows(images, scratch / "rows.zarr")
        else:
            store = open_store(options.store)
        data = store_dataset(store)
        emit_run(
            __file__,
            options,
            n_rows=data.n_rows,
            n_features=data.n_features,
            dtype=data.dtype,
            bytes=data.nbytes,
            n_blocks=len(data.cut),
        )
        report(data, options, scratch)


if __name__ == "__main__":
    main()
