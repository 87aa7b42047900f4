"""How much of the latency of an object store reading ahead hides: near and far fits, in turn."""

import argparse
import logging
import os
import statistics

import numpy as np
import s3fs
from benchlib import arguments, emit, emit_run, interleaved, scratch_folder, spread
from far_away import FarAway, object_store

from daskcluster import KMeans, Store, convert_npy

EXAMPLE = "python scripts/bench_s3.py --latency 0.05 --rows 1280 --columns 16384"
ACCESS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        rows={"type": int, "default": 1280},
        columns={"type": int, "default": 16_384},
        rows_per_chunk={"type": int, "default": 32},
        latency={"type": float, "default": 0.05, "help": "seconds added to a request"},
        repeats={"type": int, "default": 3},
        seed={"type": int, "default": 0},
    )


def make(options: argparse.Namespace) -> Store:
    """A store of random rows in a new bucket."""
    rng = np.random.default_rng(options.seed)
    s3fs.S3FileSystem().mkdir("rows")
    with scratch_folder() as scratch:
        shape = (options.rows, options.columns)
        np.save(scratch / "rows.npy", rng.integers(0, 4, shape, dtype=np.uint8))
        return convert_npy(
            scratch / "rows.npy", "s3://rows/rows.zarr", rows_per_chunk=options.rows_per_chunk
        )


def fit(store: Store, port: int, seed: int) -> None:
    """Four restarts of one iteration, every pass read anew."""
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    s3fs.S3FileSystem.clear_instance_cache()
    model = KMeans(5, init="random", n_init=4, random_state=seed, max_iter=1, tol=0,
                   memory_budget=0)  # fmt: skip
    model.fit(store.path)


def measure(options: argparse.Namespace, port: int) -> None:
    """Run both in turn, print the lines."""
    os.environ.update(ACCESS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    store = make(options)
    emit_run(__file__, options, n_rows=options.rows, n_features=options.columns)
    with FarAway(port, options.latency) as proxy:
        calls = {
            "near": lambda: fit(store, port, options.seed),
            "far": lambda: fit(store, proxy.port, options.seed),
        }
        seconds = interleaved(calls, options.repeats, warmup=1)
        requests = proxy.requests / (options.repeats + 1)
    for name, values in seconds.items():
        emit("fit", name=name, seconds=spread(values))
    added = requests * options.latency
    more = statistics.median(seconds["far"]) - statistics.median(seconds["near"])
    emit("result", requests=requests, seconds_added=added, hidden=round(1 - more / added, 4))
    print(
        f"{requests:g} requests, {added:.1f} s added to them; {100 * (1 - more / added):.0f} % "
        "of it hidden (target 75 %)"
    )


def main() -> None:
    """Run against moto's server."""
    options = parse()
    # s3fs leaves its sessions open until they are collected.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with object_store() as port:
        measure(options, port)


if __name__ == "__main__":
    main()
