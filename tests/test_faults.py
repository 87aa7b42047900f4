"""What a cluster does to a run, and what a run does not mind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, get_worker
from readers import IndexReader

from daskcluster import ClusterLost, Interrupted, KMeans, SoftKMeans, convert_npy, fit_model
from daskcluster.engine import Session, Silent, Stop, connected, members, stoppable
from daskcluster.errors import EngineError
from daskcluster.sizing import Cut

FIT = {"n_clusters": 12, "random_state": 3, "tol": 0}


@dataclass(frozen=True)
class SlowOwners:
    """Which worker had each block; the first blocks of each worker take a while."""

    folder: Path
    padding: object = None
    partial_nbytes: int = 0
    state_kind = None

    def step(self, batch, state):
        address = get_worker().address
        (self.folder / str(os.getpid())).touch()
        time.sleep(0.1)
        return {batch.start: address}, None

    def merge(self, a, b):
        return a | b


def session(n_blocks=40):
    return Session(IndexReader(), Cut(n_blocks * 10, 10), n_blocks * 80)


@pytest.fixture
def impatient(monkeypatch):
    """Looks often, and calls silence what is a little late."""
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.1)
    with dask.config.set({"daskcluster.silent-timeout": "5s"}):
        yield


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 255, (8000, 16), dtype=np.uint8)


@pytest.fixture
def store(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    return convert_npy(tmp_path / "rows.npy", tmp_path / "rows.zarr", rows_per_chunk=1)


@pytest.fixture(scope="module")
def calm(rows):
    return bits(KMeans(**FIT).fit(rows))


def bits(model):
    return (model.cluster_centers_.tobytes(), model.inertia_, model.n_iter_, model.seed_)


@contextmanager
def stopped_once_it_works(process, folder):
    """SIGSTOP a process when it has begun a step; SIGCONT at the end."""

    def stop():
        deadline = time.monotonic() + 60
        while not (folder / str(process)).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process, signal.SIGSTOP)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        os.kill(process, signal.SIGCONT)


@pytest.mark.parametrize("how", ["argument", "broadcast", "tree"])
def test_a_silent_worker_loses_its_blocks(own_cluster, impatient, tmp_path, how, caplog):
    padding = None if how == "argument" else np.zeros(200_000)
    job = SlowOwners(tmp_path, padding, 2**40 if how == "tree" else 0)
    silent, process = next(iter(own_cluster.run(os.getpid).items()))
    with session() as run:
        with stopped_once_it_works(process, tmp_path):
            found = run.reduce(job, "slow")
            assert sorted(found) == list(range(0, 400, 10))
        assert f"worker {silent} is silent" in caplog.text
        # Back again, it gets blocks again, once it is heard of.
        deadline = time.monotonic() + 30
        while silent not in set(run.reduce(job, "slow").values()):
            assert time.monotonic() < deadline


def test_a_worker_that_is_silent_when_it_is_asked_to_open(own_cluster, impatient):
    process = next(iter(own_cluster.run(os.getpid).values()))
    os.kill(process, signal.SIGSTOP)
    try:
        with session() as run:
            assert len(run.reduce(Sum(), "sum")) == 40
    finally:
        os.kill(process, signal.SIGCONT)


@dataclass(frozen=True)
class Sum:
    state_kind = None

    def step(self, batch, state):
        return [int(batch.rows.sum())], None

    def merge(self, a, b):
        return a + b


def test_a_killed_worker_changes_no_bit_of_a_soft_fit(own_cluster, impatient, rows, store):
    soft = {"n_clusters": 8, "beta": 0.05, "random_state": 3, "tol": 0, "max_iter": 12}
    expected = SoftKMeans(**soft).fit(rows)
    process = next(iter(own_cluster.run(os.getpid).values()))
    seen = []

    class KillOnce(Silent):
        def event(self, kind, facts):
            seen.append(facts["iteration"])
            if len(seen) == 4:
                os.kill(process, signal.SIGKILL)

    found = SoftKMeans(**soft).fit(store, progress=KillOnce())
    assert len(seen) == 12
    assert found.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
    assert found.objective_ == expected.objective_


def _pause(dask_worker):
    from distributed.core import Status  # noqa: PLC0415 - on the worker

    dask_worker.memory_manager.memory_pause_fraction = False  # nor let it run again
    dask_worker.status = Status.paused


def test_a_paused_worker_loses_its_blocks(own_cluster, impatient, tmp_path):
    paused = next(iter(own_cluster.run(os.getpid)))

    def pause():
        while not any(tmp_path.iterdir()):
            time.sleep(0.01)
        own_cluster.run(_pause, workers=[paused])

    thread = threading.Thread(target=pause)
    with session() as run:
        thread.start()
        found = run.reduce(SlowOwners(tmp_path), "slow")
        thread.join()
    assert sorted(found) == list(range(0, 400, 10))
    assert list(found.values()).count(paused) < 20


@dataclass(frozen=True)
class Count:
    """Counts how often each block's state was used, slowly where a flag says so."""

    flag: Path
    state_kind: str = "count"

    def step(self, batch, state):
        if self.flag.exists():
            time.sleep(1)
        return {batch.start: (state or 0) + 1}, (state or 0) + 1

    def merge(self, a, b):
        return a | b


def test_two_attempts_at_the_same_time_share_no_state(client, tmp_path):
    """A cancelled task that still runs, and the one that takes its place."""
    from daskcluster.engine.memory import MEMORY  # noqa: PLC0415
    from daskcluster.engine.tasks import Work, close_here, run_partition  # noqa: PLC0415
    from daskcluster.sizing import Partition  # noqa: PLC0415

    work, flag = Work("twice", IndexReader(), 0), tmp_path / "slow"
    part = Partition(Cut(10, 10), 0, 1)
    run_partition(work, Count(flag), part)
    flag.touch()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(run_partition(work, Count(flag), part)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One had the state, the other none and began afresh; which of both stays does not matter.
    assert sorted(outcome.partial[0] for outcome in found) == [1, 2]
    assert MEMORY.pop_state(("twice", "count", 0)) in (1, 2)
    close_here("twice")


def test_a_cancelled_attempt_ends_at_its_next_block(client, tmp_path):
    from daskcluster.engine.tasks import Work, close_here, run_partition  # noqa: PLC0415
    from daskcluster.sizing import Partition  # noqa: PLC0415

    flag = tmp_path / "slow"
    flag.touch()
    work, found = Work("late", IndexReader(), 0), []
    part = Partition(Cut(400, 10), 0, 40)
    thread = threading.Thread(target=lambda: found.append(run_partition(work, Count(flag), part)))
    thread.start()
    time.sleep(0.3)
    close_here("late")
    thread.join(5)
    assert not thread.is_alive()
    assert found[0].done[0].high < 5
    with pytest.raises(RuntimeError, match="has ended"):
        run_partition(work, Count(flag), part)


def test_several_fits_at_once_on_one_cluster(client, store, rows, calm):
    """Each in a thread of its own, on the same workers, of the same store and of another k."""
    found = {}

    def fit(k):
        found[k] = bits(KMeans(**FIT | {"n_clusters": k}).fit(store))

    threads = [threading.Thread(target=fit, args=(k,)) for k in (12, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[12] == calm
    assert found[5] == bits(KMeans(**FIT | {"n_clusters": 5}).fit(rows))


def test_several_drivers_at_once_on_one_cluster(client, store, calm, tmp_path):
    fit = ["fit", store.path, "--k", "12", "--tol", "0", "--seed", "3", "--scheduler"]
    command = [sys.executable, "-m", "daskcluster", *fit, client.scheduler.address]
    drivers = [subprocess.Popen([*command, tmp_path / f"m{i}"]) for i in range(2)]
    assert [driver.wait(120) for driver in drivers] == [0, 0]
    from daskcluster import load_model  # noqa: PLC0415

    assert {bits(load_model(tmp_path / f"m{i}")) for i in range(2)} == {calm}


def test_a_store_written_again_between_two_fits_on_the_same_workers(client, store, rows, tmp_path):
    first = KMeans(**FIT).fit(store.path)
    np.save(tmp_path / "rows.npy", 255 - rows)
    convert_npy(tmp_path / "rows.npy", store.path, rows_per_chunk=1, overwrite=True)
    second = KMeans(**FIT).fit(store.path)
    assert bits(second) == bits(KMeans(**FIT).fit(255 - rows)) != bits(first)


# A scheduler and workers that are processes of their own, to be killed.


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def ended(*processes):
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def scheduler(port):
    command = ["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    return _dask(*command)


def worker(address, folder):
    command = ["worker", address, "--no-dashboard", "--no-nanny", "--nthreads", 1]
    return _dask(*command, "--local-directory", folder)


def _dask(*arguments):
    command = [sys.executable, "-m", "dask", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_scheduler_that_is_killed(store, calm, tmp_path, comes_back, monkeypatch):
    """Its work goes on on the next one at the address, or waits in the checkpoint."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    limits = {"distributed.comm.timeouts.connect": "30s" if comes_back else "8s"}
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "5s")
    killed = threading.Event()

    class KillAt:
        def rows(self, title, done, total): ...

        def event(self, kind, facts):
            if facts["iteration"] == 3 and not killed.is_set():
                killed.set()
                first.kill()
                if comes_back:
                    threading.Timer(1, start_again).start()

        def close(self): ...

    again = []

    def start_again():
        again.extend([scheduler(port), worker(address, tmp_path)])

    first, second = scheduler(port), worker(address, tmp_path)
    with dask.config.set(limits), ended(first, second), connected(address):
        try:
            if comes_back:
                fitted = fit_model(KMeans(**FIT), store, tmp_path / "m", progress=KillAt())
                assert bits(fitted) == calm
            else:
                with pytest.raises(ClusterLost, match=r"scheduler .*is gone") as caught:
                    fit_model(KMeans(**FIT), store, tmp_path / "m", progress=KillAt())
                assert caught.value.kept
        finally:
            for process in again:
                process.kill()
                process.wait()
    if not comes_back:
        assert bits(fit_model(KMeans(**FIT), store, tmp_path / "m", resume=True)) == calm


def test_waiting_for_nobody_is_told_and_can_be_stopped(monkeypatch, caplog):
    stop, never = Stop(), threading.Event()
    monkeypatch.setattr("daskcluster.engine.connect._PATIENCE", 0.0)
    monkeypatch.setattr("daskcluster.engine.connect.Client", lambda *_, **__: never.wait(60))
    threading.Timer(0.3, stop.request, ["SIGTERM"]).start()
    with stoppable(stop), pytest.raises(Interrupted), connected("tcp://127.0.0.1:1"):
        pass
    never.set()
    assert caplog.messages == [
        "no scheduler answers at tcp://127.0.0.1:1 yet: waiting, for 30s at most"
    ]


def test_nobody_at_the_address():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(EngineError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1 "),
        connected("tcp://127.0.0.1:1"),
    ):
        pass
    with pytest.raises(ValueError, match="No clients"):
        Client.current()


def test_a_scheduler_file_that_comes_late(store, calm, tmp_path):
    file, port = tmp_path / "scheduler.json", free_port()
    started = []

    def start():
        started.append(
            _dask("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard",
                  "--scheduler-file", file)
        )  # fmt: skip
        started.append(
            _dask("worker", "--scheduler-file", file, "--no-dashboard", "--no-nanny",
                  "--local-directory", tmp_path)
        )  # fmt: skip

    threading.Timer(0.5, start).start()
    try:
        with connected(scheduler_file=str(file)):
            assert bits(KMeans(**FIT).fit(store)) == calm
    finally:
        for process in started:
            process.kill()
            process.wait()
