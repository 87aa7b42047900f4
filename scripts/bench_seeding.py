"""Passes until a fit is as good as it gets, from each kind of start, with a budget of 0.

For each seed and start: passes, seeding included, until the inertia is within 0.1 % of the fit's
own final one; passes to tol=1e-4; and the final inertia, beside the mean of scikit-learn's KMeans
(n_init=1, k-means++, tol=1e-4) from as many seeds.
"""

import argparse
import statistics
import warnings
from typing import Any

from benchlib import arguments, data_options, emit, emit_run, scratch_folder, store_of
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.exceptions import ConvergenceWarning

from daskcluster import KMeans, Store

EXAMPLE = "python scripts/bench_seeding.py --data mnist --k 10 --seeds 10"
NEAR = 1.001


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        store={"metavar": "PATH", "help": "a store; else one is made of --images or --data"},
        **data_options(),
        k={"type": int, "default": 10},
        seeds={"type": int, "default": 10},
        inits={"nargs": "+", "default": ["refined", "k-means||"], "help": "starts to compare"},
        peer={"choices": ("yes", "no"), "default": "yes", "help": "fit scikit-learn's too"},
    )


def one_fit(store: Store, init: str, k: int, seed: int) -> dict[str, Any]:
    """What one fit took, and what it came to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(k, init=init, random_state=seed, memory_budget=0).fit(store)
    near = [e["passes"] for e in model.history_ if e["inertia"] <= NEAR * model.inertia_]
    return {
        "init": init,
        "seed": seed,
        "near": near[0] if near else model.passes_,
        "passes": model.passes_,
        "inertia": model.inertia_,
        "seconds": model.seconds_,
    }


def peer_inertia(store: Store, k: int, seeds: int) -> float:
    """The mean of scikit-learn's."""
    rows = store.rows(0, store.info.n_rows)
    fits = (SklearnKMeans(k, n_init=1, random_state=seed).fit(rows) for seed in range(seeds))
    return statistics.mean(fit.inertia_ for fit in fits)


def summary(fits: list[dict[str, Any]], peer: float | None) -> dict[str, Any]:
    """Of the fits from one kind of start."""
    inertia = statistics.mean(fit["inertia"] for fit in fits)
    return {
        "near_median": statistics.median(fit["near"] for fit in fits),
        "near_worst": max(fit["near"] for fit in fits),
        "passes_mean": statistics.mean(fit["passes"] for fit in fits),
        "inertia_mean": inertia,
        "of_scikit_learns": None if peer is None else inertia / peer,
    }


def measure(store: Store, options: argparse.Namespace) -> None:
    """Fit from every start and seed, print the table."""
    info = store.info
    emit_run(__file__, options, n_rows=info.n_rows, n_features=info.n_features)
    peer = peer_inertia(store, options.k, options.seeds) if options.peer == "yes" else None
    table: dict[str, dict[str, Any]] = {}
    for init in options.inits:
        fits = [one_fit(store, init, options.k, seed) for seed in range(options.seeds)]
        for fit in fits:
            emit("fit", **fit)
        table[init] = summary(fits, peer)
    first = table[options.inits[0]]
    for init, row in table.items():
        row["passes_of_first"] = first["passes_mean"] / row["passes_mean"]
        emit("start", init=init, **row)
    emit("result", scikit_learn=peer, starts=table)
    print("; ".join(_told(init, row) for init, row in table.items()))


def _told(init: str, row: dict[str, Any]) -> str:
    peer = row["of_scikit_learns"]
    beside = "" if peer is None else f", inertia {peer:.4f} of scikit-learn's"
    return (
        f"{init}: near after {row['near_median']:.1f} passes (worst {row['near_worst']:.1f}), "
        f"{row['passes_mean']:.1f} to tol{beside}"
    )


def main() -> None:
    """Run it."""
    options = parse()
    with scratch_folder() as folder:
        measure(store_of(options, folder), options)


if __name__ == "__main__":
    main()
