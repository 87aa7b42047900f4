"""All that the notebook did, in one command, beside what the notebook got.

Hard k-means with k = 5, 10 and 20 and soft k-means with beta = 0.1, 1 and 10 on MNIST and
Fashion-MNIST, hard and soft k-means on 20 Newsgroups, each scored by purity and Gini. The data is
found by MNIST_DATA_PATH and FASHION_MNIST_DATA_PATH (folders of the four IDX files, plain or
gzipped) and TWENTY_NEWSGROUPS_PATH (20news-bydate.tar.gz, a folder that holds it, or an unpacked
folder), from the environment or from a file .env here, as the notebook read them; what is not named
is left out. The notebook's own starts for k = 5 and 10 are in tests/data.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchlib import FOLDERS, arguments, data_files, emit, emit_run, scratch_folder

from daskcluster import (
    KMeans,
    SoftKMeans,
    Store,
    convert_idx,
    convert_text,
    evaluate,
)

EXAMPLE = "MNIST_DATA_PATH=mnist python scripts/notebook.py"
STARTS = Path(__file__).parent.parent / "tests" / "data" / "notebook_starts.npz"
NEWSGROUPS = "TWENTY_NEWSGROUPS_PATH"
NEWSGROUPS_TRAIN = "20news-bydate-train"

# Inertia, purity and Gini as the notebooks printed them; their runs of k = 20 never ended.
NOTEBOOK: dict[tuple[str, int], tuple[float | None, float | None, float | None]] = {
    ("mnist", 5): (169452578273.97925, None, None),
    ("mnist", 10): (153760292292.6878, 0.6369833, 0.4954066),
    ("fashion-mnist", 10): (None, 0.5241167, 0.5900830),
    ("20newsgroups", 20): (None, 0.2121, 0.8806),
}


class Line(NamedTuple):
    """One row of the table."""

    data: str
    k: int
    beta: float | None
    n_iter: int
    objective: float
    purity: float
    gini: float
    seconds: float


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        max_iter={"type": int, "default": 1000, "help": "of hard fits (default %(default)s)"},
        soft_iter={"type": int, "default": 100, "help": "of soft fits (default %(default)s)"},
        max_features={"type": int, "default": 1000, "help": "of 20 Newsgroups"},
        seed={"type": int, "default": 0, "help": "of the starts that are drawn"},
    )


def read_env(path: Path) -> None:
    """Take variables that are not set from lines NAME=VALUE."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        name, found, value = line.partition("=")
        if found and not line.lstrip().startswith("#"):
            os.environ.setdefault(name.strip(), value.strip().strip("'\""))


def stores(scratch: Path, options: argparse.Namespace) -> Iterator[tuple[str, Store]]:
    """The data sets that are named, converted."""
    for name, variable in FOLDERS.items():
        if os.environ.get(variable):
            images, labels = data_files(name, scratch)
            yield name, convert_idx(images, scratch / f"{name}.zarr", labels=labels)
    if os.environ.get(NEWSGROUPS):
        source, subfolder = newsgroups(Path(os.environ[NEWSGROUPS]))
        yield (
            "20newsgroups",
            convert_text(
                source, scratch / "20newsgroups.zarr", subfolder=subfolder, encoding="latin-1",
                max_features=options.max_features,
            ),
        )  # fmt: skip


def newsgroups(place: Path) -> tuple[Path, str | None]:
    """Where the documents are, and the folder within."""
    if place.is_dir() and (place / "20news-bydate.tar.gz").exists():
        place = place / "20news-bydate.tar.gz"
    if place.is_file() or (place / NEWSGROUPS_TRAIN).is_dir():
        return place, NEWSGROUPS_TRAIN
    return place, None


def fits(name: str, store: Store, options: argparse.Namespace) -> Iterator[tuple[int, Any]]:
    """The estimators of the notebook for a data set."""
    own = np.load(STARTS)
    shared: dict[str, Any] = {"random_state": options.seed}
    for k in (20,) if name == "20newsgroups" else (5, 10, 20):
        init = own.get(f"{name}_k{k}_init")
        if init is None or init.shape[1] != store.info.n_features:
            init = "k-means++"
        yield k, KMeans(k, init=init, tol=0, max_iter=options.max_iter, **shared)
    k = 20 if name == "20newsgroups" else 10
    for beta in (0.1, 1.0, 10.0):
        yield k, SoftKMeans(k, beta=beta, tol=1e-5, max_iter=options.soft_iter, **shared)


def measure(name: str, store: Store, options: argparse.Namespace) -> Iterator[Line]:
    """Fit and score, a line each."""
    for k, estimator in fits(name, store, options):
        began = time.perf_counter()
        model = estimator.fit(store)
        scores = evaluate(model, store)
        yield Line(
            name, k, getattr(model, "beta", None), model.n_iter_,
            getattr(model, "objective_", model.inertia_), scores["purity"], scores["gini"],
            time.perf_counter() - began,
        )  # fmt: skip


def shown(line: Line) -> str:
    """A row of the table, with what the notebook got behind it."""
    before = NOTEBOOK.get((line.data, line.k), (None,) * 3) if line.beta is None else (None,) * 3
    told = ["-" if value is None else f"{value:.10g}" for value in before]
    beta = "hard" if line.beta is None else f"{line.beta:g}"
    return (
        f"{line.data:14}{line.k:4}{beta:>6}{line.n_iter:6}{line.objective:22.10g}"
        f"{line.purity:12.7f}{line.gini:12.7f}{line.seconds:8.1f}   {' '.join(told)}"
    )


def main() -> None:
    """Run on a folder that is deleted afterwards."""
    options = parse()
    read_env(Path(".env"))
    if not any(os.environ.get(name) for name in (*FOLDERS.values(), NEWSGROUPS)):
        sys.exit(f"set one of {', '.join(FOLDERS.values())} and {NEWSGROUPS}")
    head = f"{'data':14}{'k':>4}{'beta':>6}{'iter':>6}{'objective':>22}{'purity':>12}{'Gini':>12}"
    table = [f"{head}{'s':>8}   notebook: inertia purity Gini"]
    with scratch_folder() as scratch:
        emit_run(__file__, options)
        for name, store in stores(scratch, options):
            for line in measure(name, store, options):
                emit("fit", **line._asdict())
                table.append(shown(line))
    print("\n".join(table))


if __name__ == "__main__":
    main()
