"""A pass of soft k-means, against an unpruned hard pass and against the form of the notebook.

All start from the same centres, on data that is decoded already: soft fits in float32 and float64,
a hard fit that compares every row with every centre, and one step of the notebook's: SciPy's cdist
and NumPy, in float64, on all rows at once. A pass is the median time between two iterations. Beside
them their floor: the multiplications of the two products at the speed of a large product here.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl
from benchlib import (
    arguments,
    data_options,
    emit,
    emit_run,
    ratio,
    scratch_folder,
    spread,
    store_of,
)
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from daskcluster import KMeans, SoftKMeans, Store
from daskcluster.engine import Silent
from daskcluster.fit.data import store_dataset
from daskcluster.seeding import take_rows

EXAMPLE = "python scripts/bench_soft.py --data mnist --k 10"


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        store={"metavar": "PATH", "help": "a store; else one is made of --images or --data"},
        **data_options(),
        k={"type": int, "default": 10},
        beta={"type": float, "default": 0.1},
        metric={"choices": ("euclidean", "sqeuclidean"), "default": "euclidean"},
        passes={"type": int, "default": 12, "help": "of each fit (default %(default)s)"},
        repeats={"type": int, "default": 3},
        seed={"type": int, "default": 0, "help": "draws the rows all start from"},
    )


class Watch(Silent):
    """Notes when iterations end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        self.times.append(time.perf_counter())

    def median_pass(self) -> float:
        """Without the first, in which rows are decoded."""
        return statistics.median(b - a for a, b in zip(self.times, self.times[1:], strict=False))


def a_fit(estimator: Any, store: Store) -> Callable[[], float]:
    """A call that fits and returns the seconds of a pass."""

    def run() -> float:
        watch = Watch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(store, progress=watch)
        return watch.median_pass()

    return run


def notebook_step(rows: np.ndarray, centers: np.ndarray, options: argparse.Namespace) -> float:
    """Seconds of one step as the notebook had it."""
    began = time.perf_counter()
    distances = cdist(rows, centers, options.metric)
    distances -= distances.min(axis=1, keepdims=True)
    shares = np.exp(-options.beta * distances)
    shares /= shares.sum(axis=1, keepdims=True)
    (shares.T @ rows) / shares.sum(axis=0)[:, np.newaxis]
    return time.perf_counter() - began


def floor_seconds(n_rows: int, n_features: int, k: int) -> float:
    """Two products of a pass in float32, at the speed of a large one on all cores."""
    size = 2048
    square = np.ones((size, size), dtype=np.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        square @ square
        seconds.append(time.perf_counter() - began)
    return 2 * n_rows * n_features * k / size**3 * min(seconds)


def measure(store: Store, options: argparse.Namespace) -> None:
    """Run all in turn, print the lines."""
    n, d = store.info.n_rows, store.info.n_features
    picked = np.sort(np.random.default_rng(options.seed).choice(n, options.k, replace=False))
    with store_dataset(store).session() as session:
        start = take_rows(session, picked.tolist())
    rows = store.rows(0, n).astype(np.float64)
    shared = {"init": start, "max_iter": options.passes, "tol": 0}
    soft = {"beta": options.beta, "metric": options.metric} | shared
    calls = {
        "soft, float32": a_fit(SoftKMeans(options.k, precision="float32", **soft), store),
        "soft, float64": a_fit(SoftKMeans(options.k, precision="float64", **soft), store),
        "hard, unpruned": a_fit(KMeans(options.k, algorithm="lloyd", **shared), store),
        "notebook": lambda: notebook_step(rows, start, options),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(options.repeats + 1):
        for name, call in calls.items():
            found = call()
            if turn:  # the first round is a warm-up
                seconds[name].append(found)
    for name, each in seconds.items():
        emit("pass", name=name, seconds=spread(each))
    floor = floor_seconds(n, d, options.k)
    own = seconds["soft, float32"]
    ratios = {name: ratio(own, each) for name, each in seconds.items() if each is not own}
    emit("result", ratios=ratios, floor_seconds=round(floor, 6), threads=_threads())
    print(
        f"a soft float32 pass takes {ratios['hard, unpruned']:.2f}x an unpruned hard pass (target "
        f"2.5), is {1 / ratios['notebook']:.1f} times as fast as the notebook's form (target 10), "
        f"and takes {statistics.median(own) / floor:.2f}x its products at full speed"
    )


def _threads() -> int:
    pools = threadpoolctl.threadpool_info()
    return max(pool["num_threads"] for pool in pools if pool["user_api"] == "blas")


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
