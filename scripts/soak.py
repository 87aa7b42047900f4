"""Kill workers, scheduler and driver at random moments of convert, fit and predict, and resume.

First the whole job runs undisturbed. Then it runs again and again, in fresh folders, through the
command line on a cluster of its own processes, each of which may get SIGKILL at any moment, until
enough have. Dead workers and schedulers are replaced; a driver that died or stopped is started
again with --resume, now and then by threads instead. After each such end, what lies on disk must be
refused as unfinished, or be the finished thing; at the end of a round all must equal the
undisturbed run, bit for bit.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from benchlib import arguments, data_files, emit, emit_run, scratch_folder

from daskcluster import InputError, evaluate, load_model, open_labels, open_store

EXAMPLE = "python scripts/soak.py --kills 100 --seed 0"
SETTINGS = {
    "DASK_DASKCLUSTER__CHECKPOINT_INTERVAL": "0.2s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
}
STEPS = ("convert", "fit", "predict")
VICTIMS = ("driver", "worker", "scheduler")
# A scheduler only now and then: all workers go with it.
WEIGHTS = {"driver": 5, "worker": 4, "scheduler": 1}
KILLS_PER_ATTEMPT = (0, 1, 1, 2)
SHARE_BY_THREADS = 0.3


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        kills={"type": int, "default": 100, "help": "in all (default %(default)s)"},
        max_seconds={"type": float, "default": 3600.0, "help": "give up after (default 3600)"},
        workers={"type": int, "default": 2},
        rows={"type": int, "default": 60_000, "help": "of the tiled digits (default 60000)"},
        k={"type": int, "default": 20},
        seed={"type": int, "default": 0, "help": "of moments and victims"},
        victims={"nargs": "+", "choices": VICTIMS, "default": VICTIMS},
        steps={"nargs": "+", "choices": STEPS, "default": STEPS, "help": "in which to kill"},
    )


class Cluster:
    """A scheduler and workers as processes, any of which may be killed and is then replaced."""

    def __init__(self, folder: Path, n_workers: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._folder, self._n_workers = folder, n_workers
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []
        self.mend()

    def mend(self) -> None:
        """Replace what has died."""
        if self._scheduler is None or self._scheduler.poll() is not None:
            self._scheduler = _start(
                "dask", "scheduler", "--host", "127.0.0.1", "--port", self._port,
                "--no-dashboard",
            )  # fmt: skip
        self._workers = [worker for worker in self._workers if worker.poll() is None]
        while len(self._workers) < self._n_workers:
            self._workers.append(
                _start("dask", "worker", self.address, "--no-nanny", "--nthreads", 1,
                       "--no-dashboard", "--local-directory", self._folder)
            )  # fmt: skip

    def kill(self, what: str, rng: random.Random) -> None:
        """SIGKILL the scheduler, or one of the workers."""
        assert self._scheduler is not None
        (self._scheduler if what == "scheduler" else rng.choice(self._workers)).kill()

    def close(self) -> None:
        for process in (self._scheduler, *self._workers):
            if process is not None:
                process.kill()
                process.wait()


def _start(*command: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)], env=os.environ | SETTINGS,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@contextmanager
def cluster(folder: Path, n_workers: int) -> Iterator[Cluster]:
    """A `Cluster` that ends with the block."""
    made = Cluster(folder, n_workers)
    try:
        yield made
    finally:
        made.close()


def steps(images: Path, labels: Path, out: Path, k: int) -> dict[str, list[Any]]:
    """The three commands, as they are typed again and again."""
    store, model = out / "rows.zarr", out / "model"
    return {
        "convert": ["convert", "idx", images, store, "--labels", labels, "--rows-per-chunk", 1],
        "fit": ["fit", store, model, "--k", k, "--tol", 0, "--seed", 1],
        "predict": ["predict", model, store, out / "labels.zarr"],
    }


def digests(out: Path) -> dict[str, Any]:
    """All results of a run, as text to compare: every field of the promise of the same bits."""
    store, model = open_store(out / "rows.zarr"), load_model(out / "model")
    rows = store.rows(0, store.info.n_rows)
    history = [{k: v for k, v in entry.items() if k != "passes"} for entry in model.history_]
    return {
        "rows": _digest(rows.tobytes()),
        "classes": _digest(store.labels().tobytes()),
        "moments": _digest(json.dumps(store.info.to_json()["moments"]).encode()),
        "centers": _digest(model.cluster_centers_.tobytes()),
        "inertia": model.inertia_,
        "sizes": model.cluster_sizes_.tolist(),
        "n_iter": model.n_iter_,
        "seed": model.seed_,
        "history": _digest(json.dumps(history).encode()),
        "labels": _digest(open_labels(out / "labels.zarr").tobytes()),
        "scores": _digest(json.dumps(evaluate(model, store)).encode()),
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class Soak:
    """Rounds of the job, with a kill at a random moment of it."""

    def __init__(self, options: argparse.Namespace, made: Cluster, images: Path, labels: Path):
        self._options, self._cluster = options, made
        self._files = (images, labels)
        self._rng = random.Random(options.seed)
        self._deadline = time.monotonic() + options.max_seconds
        self._typical: dict[str, float] = {}
        self.expected: dict[str, Any] = {}
        self.kills: Counter[str] = Counter()
        self.exits: Counter[int] = Counter()

    def undisturbed(self, out: Path) -> None:
        """What all must equal, and how long each step takes."""
        for name, command in steps(*self._files, out, self._options.k).items():
            began = time.monotonic()
            subprocess.run(_typed(command), check=True, stdout=subprocess.DEVNULL)
            self._typical[name] = time.monotonic() - began
        self.expected = digests(out)

    def round(self, out: Path) -> None:
        """The job, disturbed while kills are left."""
        for name, command in steps(*self._files, out, self._options.k).items():
            while self._attempt(name, command) != 0:
                self.check_half_done(out)
        found = digests(out)
        if found != self.expected:
            raise SystemExit(f"{out}: {found} where {self.expected} was expected")

    @property
    def over(self) -> bool:
        """Whether enough processes were killed; gives up when the time is over."""
        self.check_time()
        return sum(self.kills.values()) >= self._options.kills

    def check_time(self) -> None:
        """Raise when the time is over."""
        if time.monotonic() > self._deadline:
            raise SystemExit(f"{sum(self.kills.values())} kills within the time: give more of it")

    def _attempt(self, name: str, command: list[Any]) -> int:
        """One run of a command; a kill or two fall into it. Its exit code."""
        self._cluster.mend()
        typical = self._typical[name]
        here = self._rng.random() < SHARE_BY_THREADS and "driver" in self._options.victims
        more = [] if here else ["--scheduler", self._cluster.address]
        with subprocess.Popen(
            _typed([*command, "--resume", *more]), env=os.environ | SETTINGS,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as driver:  # fmt: skip
            for _ in range(self._rng.choice(KILLS_PER_ATTEMPT) * (name in self._options.steps)):
                if self.over or self._ended(driver, self._rng.uniform(0.2, 1.0) * typical):
                    break
                self._kill("driver" if here else self._victim(), driver, name)
            while not self._ended(driver, 1.0):
                self.check_time()
            assert driver.stderr is not None
            said = driver.stderr.read()
        self.exits[driver.returncode] += 1
        # With the scheduler dead at that moment, a driver does not even begin.
        absent = driver.returncode == 1 and "no scheduler answers" in said
        if driver.returncode not in (0, 75, -signal.SIGKILL) and not absent:
            raise SystemExit(f"{name} ended with {driver.returncode}: {said}")
        return driver.returncode

    def _victim(self) -> str:
        victims = self._options.victims
        return str(self._rng.choices(victims, [WEIGHTS[victim] for victim in victims])[0])

    def _ended(self, driver: "subprocess.Popen[str]", seconds: float) -> bool:
        """Wait so long, while what has died is replaced; whether the driver is through."""
        until = time.monotonic() + seconds
        while driver.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
            self._cluster.mend()
        return driver.poll() is not None

    def _kill(self, what: str, driver: "subprocess.Popen[str]", name: str) -> None:
        if what == "driver":
            for child in psutil.Process(driver.pid).children(recursive=True):
                child.kill()
            driver.kill()
        else:
            self._cluster.kill(what, self._rng)
        self.kills[what] += 1
        emit("kill", number=sum(self.kills.values()), what=what, during=name)

    def check_half_done(self, out: Path) -> None:
        """Nothing half-written opens as whole."""
        whole: dict[str, Callable[[], Any]] = {
            "rows": lambda: _digest(open_store(out / "rows.zarr").rows(0, 10**9).tobytes()),
            "inertia": lambda: load_model(out / "model").inertia_,
            "labels": lambda: _digest(open_labels(out / "labels.zarr").tobytes()),
        }
        for name, open_it in whole.items():
            try:
                found = open_it()
            except InputError:
                continue
            if found != self.expected[name]:
                raise SystemExit(f"{out}: half-written {name} opened as whole")


def _typed(command: list[Any]) -> list[str]:
    return [sys.executable, "-m", "daskcluster", *map(str, command)]


def main() -> None:
    """Run in a folder that is deleted afterwards."""
    options = parse()
    began = time.monotonic()
    with scratch_folder() as scratch, cluster(scratch, options.workers) as made:
        images, labels = data_files("digits", scratch, options.rows)
        emit_run(__file__, options, n_rows=options.rows, kills=options.kills)
        soak = Soak(options, made, images, labels)
        soak.undisturbed(scratch / "calm")
        emit("expected", **soak.expected)
        rounds = 0
        while not soak.over:
            soak.round(scratch / f"round-{rounds}")
            rounds += 1
        seconds = round(time.monotonic() - began, 1)
        facts = {"kills": dict(soak.kills), "rounds": rounds, "seconds": seconds}
        emit("result", **facts, exits={str(code): n for code, n in soak.exits.items()})
        print(f"{sum(soak.kills.values())} kills in {rounds} rounds: all results equal")


if __name__ == "__main__":
    main()
