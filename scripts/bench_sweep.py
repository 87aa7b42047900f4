"""A sweep of many models against the slowest of them fitted alone, with a budget of 0.

Times are of fits and seeding; the passes that score the models are told beside them. The floor of
a sweep is what each model costs beside decoding, added up, and decoding as often as the one that
takes most passes does.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

from benchlib import arguments, data_options, emit, emit_run, scratch_folder, spread, store_of
from sklearn.exceptions import ConvergenceWarning

from daskcluster import KMeans, Store, sweep

EXAMPLE = "python scripts/bench_sweep.py --data mnist --k 5 10 20 --restarts 4"


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        store={"metavar": "PATH", "help": "a store; else one is made of --images or --data"},
        **data_options(),
        k={"type": int, "nargs": "+", "default": [5, 10, 20]},
        restarts={"type": int, "default": 4},
        init={"default": "auto"},
        repeats={"type": int, "default": 3},
    )


def alone(store: Store, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every model of the sweep, one after the other."""
    found = []
    for k in options.k:
        for seed in range(options.restarts):
            model = KMeans(k, init=options.init, random_state=seed, n_init=1, memory_budget=0)
            model.fit(store)
            found.append({
                "k": k, "seed": seed, "seconds": model.seconds_, "passes": model.passes_,
                "inertia": model.inertia_,
            })  # fmt: skip
    return found


def at_once(store: Store, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The sweep."""
    began = time.perf_counter()
    found = sweep(
        KMeans(init=options.init, random_state=0, memory_budget=0), store, folder / "sweep",
        n_clusters=options.k, restarts=options.restarts, overwrite=True,
    )  # fmt: skip
    whole = time.perf_counter() - began
    return found.facts | {
        "with_scores": whole, "inertias": [line["inertia"] for line in found.table],
    }  # fmt: skip


def measure(store: Store, options: argparse.Namespace, folder: Path) -> None:
    """In turns, and what they come to."""
    info = store.info
    emit_run(__file__, options, n_rows=info.n_rows, n_features=info.n_features)
    slowest, seconds, whole = [], [], []
    for _ in range(options.repeats):
        single, together = alone(store, options), at_once(store, options, folder)
        assert [one["inertia"] for one in single] == together["inertias"]
        slowest.append(max(one["seconds"] for one in single))
        seconds.append(together["seconds"])
        whole.append(together["with_scores"])
    for one in single:
        emit("fit", **one)
    most = max(one["passes"] for one in single)
    for name, values in (("slowest", slowest), ("sweep", seconds), ("with scores", whole)):
        emit("time", name=name, seconds=spread(values))
    times = spread(seconds)["median"] / spread(slowest)["median"]
    bytes_ratio = together["passes"] / most
    emit("result", times=times, passes=together["passes"], bytes_of_most=bytes_ratio)
    print(
        f"{len(single)} models take {times:.2f}x the time of the slowest alone (target 3), and "
        f"decode {bytes_ratio:.3f}x the bytes of the one with most passes (target 1.1)"
    )


def main() -> None:
    """Run it."""
    options = parse()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with scratch_folder() as folder:
        measure(store_of(options, folder), options, folder)


if __name__ == "__main__":
    main()
