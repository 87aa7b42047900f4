"""The engine on worker processes: owners, lost workers, retries, refusals."""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster, get_worker
from readers import IndexReader

from daskcluster import KMeans, convert_npy, fit_model
from daskcluster.engine import Session, Stop, cluster, members, stoppable
from daskcluster.engine.cluster import ClusterBackend
from daskcluster.errors import ClusterLost, EngineError, InputError, Interrupted
from daskcluster.sizing import Cut


@dataclass(frozen=True)
class Owner:
    """Which worker had each block, and how often it had seen it before."""

    padding: object = None
    state_kind: str | None = "visits"

    def step(self, batch, state):
        visits = 0 if state is None else state
        return {batch.start: (get_worker().address, visits)}, visits + 1

    def merge(self, a, b):
        assert not set(a) & set(b)
        return a | b


@dataclass(frozen=True)
class DieOnce:
    """Kills its worker at one block, the first time."""

    flag: Path
    state_kind: str | None = None

    def step(self, batch, state):
        if batch.start == 30 and not self.flag.exists():
            self.flag.touch()
            os._exit(1)
        return int(batch.rows.sum()), None

    def merge(self, a, b):
        return a + b


@dataclass(frozen=True)
class DieAlways:
    state_kind = None

    def step(self, batch, state):
        os._exit(1)

    def merge(self, a, b):
        raise AssertionError


@dataclass(frozen=True)
class Fail:
    state_kind = None

    def step(self, batch, state):
        raise InputError(f"rows from {batch.start} are bad")

    def merge(self, a, b):
        raise AssertionError


def _what_is_left():
    from daskcluster.engine.memory import MEMORY  # noqa: PLC0415 - that of the worker

    return {run for run, *_ in MEMORY._states} | set(MEMORY._runs)


def session(n_rows=100, rows=10, reader=None):
    return Session(reader or IndexReader(), Cut(n_rows, rows), n_rows * 8)


@pytest.mark.parametrize("padding", [None, np.zeros(20_000)], ids=["argument", "future"])
def test_blocks_keep_their_owners(client, padding):
    with session() as run:
        first = run.reduce(Owner(padding), "own")
        second = run.reduce(Owner(padding), "own")
    assert {visits for _, visits in first.values()} == {0}
    assert {visits for _, visits in second.values()} == {1}
    assert {b: w for b, (w, _) in first.items()} == {b: w for b, (w, _) in second.items()}
    assert len({worker for worker, _ in first.values()}) == 2


def _prefixes(dask_scheduler):
    return set(dask_scheduler.task_prefixes)


def test_the_dashboard_names_tasks_by_their_pass(client):
    with session() as run:
        run.reduce(Owner(), "k-means++ 12 of 3 models")
        run.reduce(Owner(), "own rows")
    assert {"kmeans++", "own_rows"} <= client.run_on_scheduler(_prefixes)


def test_named_blocks_go_to_their_owners(client):
    with session() as run:
        first = run.reduce(Owner(), "own")
        some = run.reduce(Owner(), "own", [1, 8])
    assert {b: w for b, (w, _) in some.items()} == {b: first[b][0] for b in (10, 80)}


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 4, 40])
def test_tasks_grow_with_threads_and_not_with_chunks(client, n_blocks):
    with session(n_blocks * 10) as run:
        run.reduce(Owner(), "own")
        assert run.n_tasks == min(n_blocks, 2)


@pytest.mark.parametrize("n_blocks", [1, 3, 4, 40])
def test_threads_of_a_worker_share_its_tasks(n_blocks):
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as one,
        Client(one),
        session(n_blocks * 10) as run,
    ):
        run.reduce(Owner(), "own")
        assert run.n_tasks == min(n_blocks, 2 * 2)


def test_a_run_leaves_nothing_on_the_workers(client):
    before = client.run(_what_is_left)  # by tests of attempts that nobody ends
    with session() as run:
        run.reduce(Owner(), "own")
        during = client.run(_what_is_left)
    after = client.run(_what_is_left)
    assert all(during[worker] > before[worker] for worker in before)
    assert all(after[worker] <= before[worker] for worker in before)


def test_a_killed_worker_costs_time_only(own_cluster, tmp_path):
    with session() as run:
        assert run.reduce(DieOnce(tmp_path / "died"), "sum") == 100 * 99 // 2
    assert (tmp_path / "died").exists()


def test_a_step_that_kills_every_worker_ends_with_an_error(own_cluster, monkeypatch):
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.1)
    with pytest.raises(EngineError, match="lost with their worker"), session() as run:
        run.reduce(DieAlways(), "die")


@dataclass(frozen=True)
class Large(DieOnce):
    """Says that its partials are large."""

    partial_nbytes = 2**40


@dataclass(frozen=True)
class Slow(Large):
    """The second half waits, so that the first is collected before."""

    def step(self, batch, state):
        if batch.start >= 50 and not self.flag.exists():
            time.sleep(2)
            self.flag.touch()
        return int(batch.rows.sum()), None


def test_large_partials_are_merged_on_the_workers(client, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "FAN_IN", 2)
    monkeypatch.setattr(ClusterBackend, "tasks_per_thread", 2)
    merged = []
    submit = client.submit

    def spy(function, *args, **options):
        merged.append(function is cluster.merge_outcomes)
        return submit(function, *args, **options)

    monkeypatch.setattr(client, "submit", spy)
    (tmp_path / "died").touch()
    with session() as run:
        assert run.reduce(Large(tmp_path / "died"), "sum") == 100 * 99 // 2
        assert run.n_tasks == 4
    assert sum(merged) == 2


def test_a_worker_killed_before_a_tree_costs_time_only(own_cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "FAN_IN", 2)
    monkeypatch.setattr(ClusterBackend, "tasks_per_thread", 2)
    with session() as run:
        assert run.reduce(Large(tmp_path / "died"), "sum") == 100 * 99 // 2
    assert (tmp_path / "died").exists()


def test_a_worker_killed_during_a_tree_costs_time_only(own_cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "FAN_IN", 2)
    monkeypatch.setattr(ClusterBackend, "tasks_per_thread", 2)
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.1)
    (tmp_path / "died").touch()
    merge = ClusterBackend._merge

    def merge_after_a_death(self, step, futures):
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(next(iter(own_cluster.run(os.getpid).values())), 9)
        return merge(self, step, futures)

    monkeypatch.setattr(ClusterBackend, "_merge", merge_after_a_death)
    with session() as run:
        assert run.reduce(Large(tmp_path / "died"), "sum") == 100 * 99 // 2


def test_a_result_lost_while_others_are_waited_for(own_cluster, monkeypatch, tmp_path):
    """A tree has collected a result when its owner dies, and other tasks still run."""
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.1)
    finished, killed = ClusterBackend._finished, []

    def finished_then_a_death(self, step, pending):
        some, todo = finished(self, step, pending)
        if some and pending and not killed:
            killed.append(next(iter(some.values())).owner)
            os.kill(own_cluster.run(os.getpid, workers=killed)[killed[0]], 9)
        return some, todo

    monkeypatch.setattr(ClusterBackend, "_finished", finished_then_a_death)
    with session() as run:
        assert run.reduce(Slow(tmp_path / "slept"), "sum") == 100 * 99 // 2
    assert killed


def test_a_merge_that_is_lost_again_and_again_is_an_error(client, monkeypatch, tmp_path):
    monkeypatch.setattr(ClusterBackend, "_merge", lambda self, step, futures: None)
    (tmp_path / "died").touch()
    with session() as run, pytest.raises(EngineError, match="5 times while they were merged"):
        run.reduce(Large(tmp_path / "died"), "sum")


@dataclass(frozen=True)
class Wide(DieOnce):
    """So large that it is sent once, as a future."""

    padding: object = None


def test_a_broadcast_outlives_all_workers_it_was_sent_to(monkeypatch, tmp_path):
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.1)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as one,
        Client(one),
        session() as run,
    ):
        job = Wide(tmp_path / "died", padding=np.zeros(200_000))
        assert run.reduce(job, "sum") == 100 * 99 // 2
    assert (tmp_path / "died").exists()


def test_a_broadcast_that_a_reconnect_cancelled_is_sent_again(client, monkeypatch, tmp_path):
    ship, shipped = ClusterBackend._ship, []

    def ship_and_lose(self, step):
        ship(self, step)
        shipped.append(step.job)
        if len(shipped) == 1:
            step.job.cancel(force=True)
        return step

    monkeypatch.setattr(ClusterBackend, "_ship", ship_and_lose)
    (tmp_path / "died").touch()
    with session() as run:
        job = Wide(tmp_path / "died", padding=np.zeros(200_000))
        assert run.reduce(job, "sum") == 100 * 99 // 2
    assert len(shipped) == 2


def test_a_result_lost_before_it_arrives_is_computed_again(own_cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.1)
    (tmp_path / "died").touch()
    gather = ClusterBackend._gather

    def gather_after_a_death(self, step, futures, holders):
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(next(iter(own_cluster.run(os.getpid).values())), 9)
            time.sleep(0.5)
        return gather(self, step, futures, holders)

    monkeypatch.setattr(ClusterBackend, "_gather", gather_after_a_death)
    with session() as run:
        assert run.reduce(DieOnce(tmp_path / "died"), "sum") == 100 * 99 // 2


def test_an_error_of_a_step_is_not_tried_again(client):
    with pytest.raises(InputError, match="rows from"), session() as run:
        run.reduce(Fail(), "fail")


@pytest.fixture
def no_workers(monkeypatch):
    """A cluster without workers, looked at often."""
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.05)
    with LocalCluster(n_workers=0, dashboard_address=":0") as made, Client(made) as client:
        yield client


def test_at_the_start_workers_are_waited_for_with_a_message(no_workers, caplog):
    threading.Timer(0.5, no_workers.cluster.scale, [1]).start()
    with session() as run:
        assert len(run.reduce(Owner(), "own")) == 10
    assert f"no worker yet at {no_workers.scheduler.address}: waiting" in caplog.text


def test_waiting_for_workers_can_be_stopped(no_workers):
    with pytest.raises(Interrupted, match="time budget"), stoppable(Stop(0.3)), session():
        pass


def test_a_fit_that_waits_to_go_on_keeps_its_checkpoint(no_workers, tmp_path, rng):
    X = rng.integers(0, 255, (500, 4), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daskcluster.engine.session.active_client", lambda: None)
        store = convert_npy(tmp_path / "rows.npy", tmp_path / "s")
        with stoppable(Stop(1e-9)), pytest.raises(Interrupted):
            fit_model(KMeans(3, random_state=0), store, tmp_path / "n")
    with stoppable(Stop(0.3)), pytest.raises(Interrupted) as waiting:
        fit_model(KMeans(3, random_state=0), store, tmp_path / "n", resume=True)
    assert waiting.value.kept


def test_later_no_worker_is_an_error_after_a_while(own_cluster, monkeypatch):
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.05)
    with session() as run, dask.config.set({"daskcluster.no-worker-timeout": "1s"}):
        run.reduce(Owner(), "own")
        own_cluster.cluster.scale(0)
        while own_cluster.scheduler_info(n_workers=-1)["workers"]:
            time.sleep(0.05)
        with pytest.raises(ClusterLost, match="no worker for 1 s"):
            run.reduce(Owner(), "own")


def test_a_late_worker_gets_blocks(own_cluster, monkeypatch):
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.05)
    with session() as run:
        before = run.reduce(Owner(), "own")
        own_cluster.cluster.scale(3)
        own_cluster.wait_for_workers(3)
        # One that is too busy to answer when it is first asked is asked again at the next pass.
        for _ in range(10):
            time.sleep(members.LOOK_SECONDS)
            after = run.reduce(Owner(), "own")
            if len({w for w, _ in after.values()}) == 3:
                break
    assert len({w for w, _ in before.values()}) == 2
    assert len({w for w, _ in after.values()}) == 3


def test_an_asynchronous_client_is_refused(client):
    class Asynchronous:
        asynchronous = True

    with pytest.raises(InputError, match="asynchronous"):
        ClusterBackend(Asynchronous(), Stop())


def test_another_build_on_a_worker_is_refused(client):
    @dataclass(frozen=True)
    class PerProcess(IndexReader):
        def identity(self):
            return str(os.getpid())

    with pytest.raises(EngineError, match="sees another build"), session(reader=PerProcess()):
        pass


def test_arrays_in_memory_stay_in_this_process(client, rng):
    X = rng.normal(size=(200, 3))
    kmeans = KMeans(3, random_state=0).fit(X)
    assert isinstance(kmeans.labels_, np.ndarray)
    assert kmeans.passes_ == 0


def test_a_worker_killed_during_a_fit_changes_no_bit(own_cluster, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.2)
    X = rng.integers(0, 255, (300_000, 16), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", X)
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "rows.zarr", rows_per_chunk=1)
    options = {"n_clusters": 12, "random_state": 3, "tol": 0, "max_iter": 40}
    process = next(iter(own_cluster.run(os.getpid).values()))

    def kill():
        time.sleep(1.0)
        os.kill(process, 9)

    killer = threading.Thread(target=kill)
    killer.start()
    harmed = KMeans(**options).fit(store)
    killer.join()
    calm = KMeans(**options).fit(X)
    assert harmed.cluster_centers_.tobytes() == calm.cluster_centers_.tobytes()
    assert harmed.inertia_ == calm.inertia_
    assert harmed.n_iter_ == calm.n_iter_


def test_workers_that_leave_between_two_passes_are_waited_for(own_cluster, monkeypatch):
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.05)
    with session() as run:
        run.reduce(Owner(), "own")
        own_cluster.cluster.scale(0)
        while own_cluster.scheduler_info(n_workers=-1)["workers"]:
            time.sleep(0.05)
        threading.Timer(0.5, own_cluster.cluster.scale, [1]).start()
        assert len(run.reduce(Owner(), "own")) == 10


def test_what_a_worker_lacks_is_what_the_error_says(client):
    @dataclass(frozen=True)
    class Lacking(IndexReader):
        home: int = 0

        def identity(self):
            if os.getpid() == self.home:
                return "one"
            raise ModuleNotFoundError("No module named 'zarr'")

    lacking = Lacking(home=os.getpid())
    with pytest.raises(EngineError, match="No module named 'zarr'"), session(reader=lacking):
        pass


def test_a_late_worker_with_other_data_is_left_out(own_cluster, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(members, "LOOK_SECONDS", 0.05)

    @dataclass(frozen=True)
    class Late(IndexReader):
        place: Path = tmp_path

        def identity(self):
            return "other" if (self.place / str(os.getpid())).exists() else "one"

    with session(reader=Late()) as run:
        known = set(own_cluster.run(os.getpid).values())
        own_cluster.cluster.scale(3)
        own_cluster.wait_for_workers(3)
        (late,) = set(own_cluster.run(os.getpid).values()) - known
        (tmp_path / str(late)).touch()
        found = run.reduce(Owner(), "own")
    assert len({worker for worker, _ in found.values()}) == 2
    assert "worker left out" in caplog.text
