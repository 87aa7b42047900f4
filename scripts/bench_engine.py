"""What an iteration costs besides its arithmetic: blocks of a few rows, where overhead is left.

(a) On worker processes: `Session.reduce` against as many no-op `Client.submit`s, gathered.
(b) On threads: `Session.reduce` against a bare `dask.threaded.get` of as many trivial tasks.

Each with three reductions: `count` only counts rows (the engine alone); `assign` is the step of
k-means with centres drawn anew each time, so that most rows change cluster; `settled` is the same
step when nothing changes any more. The rows are a plain Zarr array in chunks of a few rows (a
store's chunks are whole grains), kept decoded after the first pass as they are by default.
"""

import argparse
import cProfile
import pstats
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import dask.threaded
import numpy as np
import zarr
from benchjobs import Count, no_op
from benchlib import arguments, emit, emit_run, interleaved, ratio, scratch_folder, spread
from distributed import Client

from daskcluster.engine import Session, local_cluster
from daskcluster.fit.data import Dataset, zarr_dataset
from daskcluster.kernels.hard import Assign
from daskcluster.sizing import TASKS_PER_THREAD, n_tasks
from daskcluster.store import open_rows
from daskcluster.survey import scale_of

EXAMPLE = "python scripts/bench_engine.py --chunks 16 --workers 2 --repeats 30"
TARGETS = {"processes": 1.3, "threads": 3.0}


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        chunks={"type": int, "default": 16},
        rows_per_chunk={"type": int, "default": 8},
        features={"type": int, "default": 4},
        k={"type": int, "default": 3},
        workers={"type": int, "default": 2},
        threads_per_worker={"type": int, "default": 1},
        repeats={"type": int, "default": 30},
        batch={"type": int, "default": 10, "help": "calls in a row that make one repeat"},
        seed={"type": int, "default": 0},
        profile={"action": "store_true", "help": "print the driver's profile to stderr"},
    )


def tiny_rows(options: argparse.Namespace, folder: Path) -> Dataset:
    """Bytes drawn with the seed, in chunks of a few rows."""
    shape = (options.chunks * options.rows_per_chunk, options.features)
    rows = np.random.default_rng(options.seed).integers(0, 256, shape, dtype=np.uint8)
    array = zarr.create_array(
        folder / "tiny.zarr", data=rows, chunks=(options.rows_per_chunk, options.features)
    )
    return zarr_dataset(open_rows(array))


def iterations(
    session: Session, data: Dataset, options: argparse.Namespace, *, moving: bool
) -> Callable[[], Any]:
    """A call that reduces the next iteration, as Lloyd's loop does, with centres that move or not.

    Each has a state kind of its own: two loops of one session would overwrite their states.
    """
    scale = scale_of(data.known_moments(session))
    rng, clock = np.random.default_rng(options.seed), count(1)
    centers, previous = _draw(rng, options), None
    kind = "moving" if moving else "settled"

    def iterate() -> Any:
        nonlocal centers, previous
        grid = scale.moments.sum_grid
        job = Assign(centers, previous, next(clock), scale.frame, grid, state_kind=kind)
        previous = centers
        centers = _draw(rng, options) if moving else centers
        return session.reduce(job, "iteration")

    return iterate


def _draw(rng: np.random.Generator, options: argparse.Namespace) -> np.ndarray:
    return 255 * rng.random((options.k, options.features))


def submits(client: Client, tasks: int) -> Callable[[], None]:
    """A call that submits so many no-ops and gathers them."""
    clock = count()

    def run() -> None:
        futures = [
            client.submit(no_op, i, key=f"no-op-{next(clock)}", pure=False) for i in range(tasks)
        ]
        client.gather(futures)

    return run


def bare_graph(tasks: int, n_threads: int) -> Callable[[], None]:
    """A call that runs so many no-ops through Dask's threaded scheduler."""
    graph = {("no-op", i): (no_op, i) for i in range(tasks)}

    def run() -> None:
        dask.threaded.get(graph, list(graph), num_workers=n_threads)

    return run


def show_profile(title: str, call: Callable[[], Any], repeats: int) -> None:
    """Print the costliest functions of this process to stderr."""
    profile = cProfile.Profile()
    with profile:
        for _ in range(repeats):
            call()
    print(f"# {title}: {repeats} calls", file=sys.stderr)
    pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(40)


def race(
    where: str,
    session: Session,
    base: Callable[[], None],
    options: argparse.Namespace,
    data: Dataset,
) -> dict[str, float]:
    """Time the engine and its base in turn; a line each; ratios of medians by reduction."""
    session.keep(2**20)  # the blocks are decoded once, as those of a fit are
    jobs = {
        "count": lambda: session.reduce(Count(), "count"),
        "settled": iterations(session, data, options, moving=False),
        "assign": iterations(session, data, options, moving=True),
    }
    seconds = interleaved({"base": base, **jobs}, options.repeats, 3, options.batch)
    tasks = tasks_of(session, jobs["assign"])
    for name, times in seconds.items():
        emit("measure", where=where, name=name, tasks=tasks, ms=_ms(times))
    medians = {name: ratio(seconds[name], seconds["base"]) for name in jobs}
    fastest = {name: ratio([min(seconds[name])], [min(seconds["base"])]) for name in jobs}
    emit(
        "ratio",
        where=where,
        tasks=tasks,
        target=TARGETS[where],
        of_medians=medians,
        of_minima=fastest,
    )
    if options.profile:
        show_profile(f"assign on {where}", jobs["assign"], options.repeats)
    return medians


def _ms(seconds: list[float]) -> dict[str, Any]:
    return spread([1e3 * s for s in seconds], 3)


def tasks_of(session: Session, call: Callable[[], Any]) -> int:
    """Tasks of one reduction."""
    before = session.n_tasks
    call()
    return session.n_tasks - before


def on_processes(data: Dataset, options: argparse.Namespace) -> dict[str, float]:
    """Part (a)."""
    with (
        local_cluster(options.workers, options.threads_per_worker) as client,
        data.session() as session,
    ):
        per_thread = 1 if options.threads_per_worker == 1 else TASKS_PER_THREAD
        tasks = n_tasks(len(data.cut), session.n_threads, per_thread)
        return race("processes", session, submits(client, tasks), options, data)


def on_threads(data: Dataset, options: argparse.Namespace) -> dict[str, float]:
    """Part (b)."""
    with data.session() as session:
        tasks = n_tasks(len(data.cut), session.n_threads)
        base = bare_graph(tasks, session.n_threads)
        return race("threads", session, base, options, data)


def main() -> None:
    """Run on a folder that is deleted afterwards."""
    options = parse()
    with scratch_folder() as scratch:
        data = tiny_rows(options, scratch)
        emit_run(
            __file__,
            options,
            n_rows=data.n_rows,
            n_features=data.n_features,
            n_blocks=len(data.cut),
            k=options.k,
        )
        threads = on_threads(data, options)
        processes = on_processes(data, options)
    emit("result", processes=processes, threads=threads, targets=TARGETS)
    print(
        f"an iteration takes {processes['assign']:.2f}x the no-op submits on {options.workers} "
        f"processes (target {TARGETS['processes']}), {threads['assign']:.2f}x a bare graph on "
        f"threads (target {TARGETS['threads']}); the engine alone {processes['count']:.2f}x and "
        f"{threads['count']:.2f}x; once nothing changes {processes['settled']:.2f}x and "
        f"{threads['settled']:.2f}x"
    )


if __name__ == "__main__":
    main()
