"""What checkpoints cost: a fit with and without them, in turn, and the time spent on writing."""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

from benchlib import (
    arguments,
    data_files,
    emit,
    emit_run,
    interleaved,
    ratio,
    scratch_folder,
    spread,
)
from sklearn.exceptions import ConvergenceWarning

from daskcluster import KMeans, Store, fit_model, open_store
from daskcluster.convert import convert_rows
from daskcluster.fit.checkpoint import FILE, Checkpoint
from daskcluster.sources import open_source

EXAMPLE = "python scripts/bench_checkpoint.py --store mnist600k.zarr --k 100 --max-iter 40"


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        store={"metavar": "PATH", "help": "default: one is made of scikit-learn's digits"},
        k={"type": int, "default": 10},
        max_iter={"type": int, "default": 40},
        repeats={"type": int, "default": 3},
        seed={"type": int, "default": 0},
    )


class Writes:
    """Times what a checkpoint spends on writing."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.nbytes = 0
        write = Checkpoint._write

        def timed(checkpoint: Checkpoint, about: dict[str, Any]) -> None:
            began = time.perf_counter()
            write(checkpoint, about)
            self.seconds.append(time.perf_counter() - began)
            self.nbytes = (checkpoint._path.parent / FILE).stat().st_size

        Checkpoint._write = timed  # type: ignore[method-assign]


def measure(store: Store, options: argparse.Namespace, scratch: Path) -> None:
    """Run both in turn, print the lines."""
    writes = Writes()

    def model() -> KMeans:
        return KMeans(
            options.k, init="random", n_init=1, tol=0, max_iter=options.max_iter,
            random_state=options.seed,
        )  # fmt: skip

    calls = {
        "without": lambda: model().fit(store),
        "with": lambda: fit_model(model(), store, scratch / "model", overwrite=True),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        seconds = interleaved(calls, options.repeats, warmup=0)
    for name, values in seconds.items():
        emit("fit", name=name, seconds=spread(values))
    share = sum(writes.seconds) / sum(seconds["with"])
    found = ratio(seconds["with"], seconds["without"])
    facts = {"ratio": found, "share_of_writing": round(share, 6), "bytes": writes.nbytes}
    emit("result", **facts, writes=len(writes.seconds) / options.repeats)
    print(
        f"with checkpoints {found:.3f}x the time; {100 * share:.2f} % of it spent writing them "
        "(target 1 % of a run over 60 s)"
    )


def main() -> None:
    """Run in a folder that is deleted afterwards."""
    options = parse()
    with scratch_folder() as scratch:
        if options.store is None:
            images = open_source(data_files("digits", scratch, 20_000)[0])
            store = convert_rows(images, scratch / "rows.zarr")
        else:
            store = open_store(options.store)
        emit_run(__file__, options, n_rows=store.info.n_rows, n_features=store.info.n_features)
        measure(store, options, scratch)


if __name__ == "__main__":
    main()
