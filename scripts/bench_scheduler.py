"""What a task costs the scheduler: a reduction that does nothing, on more and more workers.

The workers are threads of this process with one thread each, so that what is measured is Dask's
scheduler, its messages and the engine, not the processes of one machine waiting for each other. A
real cluster has a scheduler of its own and shares nothing with its workers.
"""

import argparse

import numpy as np
from benchjobs import Count
from benchlib import arguments, emit, emit_run, scratch_folder, spread, timed
from distributed import Client, LocalCluster

from daskcluster import convert_npy
from daskcluster.fit.data import store_dataset

EXAMPLE = "python scripts/bench_scheduler.py --workers 2 4 8 16 32 64"


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        workers={"type": int, "nargs": "+", "default": [2, 4, 8, 16, 32, 64]},
        repeats={"type": int, "default": 5},
        rows={"type": int, "default": 32 * 256, "help": "in blocks of 32"},
    )


def main() -> None:
    """A line for every number of workers."""
    options = parse()
    with scratch_folder() as scratch:
        np.save(scratch / "rows.npy", np.zeros((options.rows, 20_000), dtype=np.uint8))
        store = convert_npy(scratch / "rows.npy", scratch / "rows.zarr", rows_per_chunk=1)
        data = store_dataset(store)
        emit_run(__file__, options, n_rows=data.n_rows, n_blocks=len(data.cut))
        costs = []
        for n_workers in options.workers:
            with (
                LocalCluster(
                    n_workers=n_workers, threads_per_worker=1, processes=False, memory_limit=0,
                    dashboard_address=":0",
                ) as cluster,
                Client(cluster),
                data.session() as session,
            ):  # fmt: skip
                session.keep(data.nbytes)

                def count(session=session) -> None:
                    assert session.reduce(Count(), "count") == data.n_rows

                count()
                before = session.n_tasks
                seconds = [timed(count) for _ in range(options.repeats)]
                tasks = (session.n_tasks - before) // options.repeats
            each = [1e3 * s / tasks for s in seconds]
            costs.append(float(np.median(each)))
            emit("pass", workers=n_workers, tasks=tasks, ms_per_task=spread(each, 3))
        emit("result", ms_per_task=costs)
        print(f"{min(costs):.1f} to {max(costs):.1f} ms a task")


if __name__ == "__main__":
    main()
