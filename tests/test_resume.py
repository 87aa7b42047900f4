"""Fits that end early, by whatever means, go on to the same bits."""

import os
import signal
import subprocess
import sys
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

from daskcluster import (
    EngineError,
    InputError,
    Interrupted,
    KMeans,
    ModelError,
    convert_npy,
    fit_model,
    load_model,
)
from daskcluster.cli import main
from daskcluster.engine import Silent, Stop, connected, stoppable
from daskcluster.files import only_writer
from daskcluster.fit import checkpoint
from daskcluster.fit.checkpoint import read_checkpoint
from daskcluster.store import Build

OPTIONS = {"n_clusters": 7, "tol": 0, "random_state": 5}


def some_centers(X, n_clusters, random_state):
    return random_state.uniform(0, 255, (n_clusters, 12))


STARTS = {
    "callable, restarts": {"init": some_centers, "n_init": 3, "max_iter": 6},
    "k-means++": {},
    "random, restarts": {"init": "random", "n_init": 3},
    "max_iter": {"max_iter": 6},
}


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(1).integers(0, 255, (3000, 12), dtype=np.uint8)


@pytest.fixture(scope="module")
def store(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    np.save(folder / "rows.npy", rows)
    return convert_npy(folder / "rows.npy", folder / "rows.zarr", rows_per_chunk=1)


@pytest.fixture(autouse=True)
def _after_every_iteration(monkeypatch):
    monkeypatch.setenv("DASK_DASKCLUSTER__CHECKPOINT_INTERVAL", "0s")
    with dask.config.set({"daskcluster.checkpoint-interval": "0s"}):
        yield


def bits(model):
    """Every field of promise 2, but passes."""
    history = [{k: v for k, v in entry.items() if k != "passes"} for entry in model.history_]
    return (
        model.cluster_centers_.tobytes(), model.inertia_, model.cluster_sizes_.tobytes(),
        model.n_iter_, model.converged_, model.seed_, history,
    )  # fmt: skip


class Killed(BaseException):
    """Nothing that anybody catches; as near to SIGKILL as a process gets that goes on."""


def killed_after(patch, n_writes):
    """Let the checkpoint's writer die once it has written so often."""
    written = []
    write = checkpoint.write_atomically

    def dying(path, content):
        if len(written) >= n_writes:
            raise Killed
        write(path, content)
        written.append(path)

    patch.setattr(checkpoint, "write_atomically", dying)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("n_writes", [1, 5, 12])
def test_a_fit_killed_anywhere_goes_on(store, rows, tmp_path, start, n_writes):
    options = OPTIONS | STARTS[start]
    whole = KMeans(**options).fit(rows)
    with pytest.MonkeyPatch.context() as patch:
        killed_after(patch, n_writes)
        with pytest.raises(Killed):
            fit_model(KMeans(**options), store, tmp_path / "m")
    before = read_checkpoint(tmp_path / "m")["state"]
    resumed = fit_model(KMeans(**options), store, tmp_path / "m", resume=True)
    assert bits(resumed) == bits(whole)
    assert bits(load_model(tmp_path / "m")) == bits(whole)
    assert read_checkpoint(tmp_path / "m") is None
    # It did go on: what had been decoded before counts, and was not decoded again.
    assert resumed.passes_ >= before["spent"]["bytes"] / rows.nbytes
    assert resumed.seconds_ > before["spent"]["seconds"]


def test_a_fit_of_a_dask_array_goes_on(rows, tmp_path):
    X = da.from_array(rows, chunks=(700, 12))
    with pytest.MonkeyPatch.context() as patch:
        killed_after(patch, 3)
        with pytest.raises(Killed):
            fit_model(KMeans(**OPTIONS), X, tmp_path / "m")
    resumed = fit_model(KMeans(**OPTIONS), X, tmp_path / "m", resume=True)
    assert bits(resumed) == bits(KMeans(**OPTIONS).fit(rows))
    with pytest.raises(ModelError, match="content"):
        fit_model(KMeans(**OPTIONS), X + 1, tmp_path / "m", resume=True)


def test_what_a_killed_writer_left_is_nobodys(store, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / ".writing-0123").write_bytes(b"half")
    fit_model(KMeans(**OPTIONS), store, tmp_path / "m")
    assert not list((tmp_path / "m").glob(".writing-*"))


def test_a_scheduler_file_that_never_comes_can_be_stopped(tmp_path):
    stop = Stop()
    threading.Timer(0.5, stop.request, ["SIGTERM"]).start()
    with (
        stoppable(stop),
        pytest.raises(Interrupted),
        connected(scheduler_file=str(tmp_path / "none.json")),
    ):
        pass


@given(st.lists(st.integers(1, 5), max_size=8))
@settings(max_examples=15, deadline=None)
def test_a_fit_killed_again_and_again(rows, tmp_path_factory, kills):
    path = tmp_path_factory.mktemp("again") / "m"
    whole = KMeans(**OPTIONS).fit(rows)
    for n_writes in kills:
        with pytest.MonkeyPatch.context() as patch:
            killed_after(patch, n_writes)
            try:
                fit_model(KMeans(**OPTIONS), rows, path, resume=True)
            except Killed:
                continue
    assert bits(fit_model(KMeans(**OPTIONS), rows, path, resume=True)) == bits(whole)


class StopAt(Silent):
    """Asks for the end after some iterations."""

    def __init__(self, stop, iteration):
        self.stop, self.iteration = stop, iteration

    def event(self, kind, facts):
        if facts["iteration"] == self.iteration:
            self.stop.request("enough")


def stopped(X, path, iteration=3, **options):
    with stoppable(Stop()) as stop, pytest.raises(Interrupted, match="enough") as caught:
        fit_model(KMeans(**OPTIONS), X, path, progress=StopAt(stop, iteration), **options)
    assert caught.value.kept


@pytest.mark.parametrize("n_workers", [1, 3])
def test_on_another_number_of_workers(store, rows, tmp_path, n_workers):
    stopped(store, tmp_path / "m")
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        resumed = fit_model(KMeans(**OPTIONS), store, tmp_path / "m", resume=True)
    assert bits(resumed) == bits(KMeans(**OPTIONS).fit(rows))


def test_a_fit_on_a_cluster_that_is_stopped_goes_on_by_threads(
    store, rows, tmp_path, client, monkeypatch
):
    stopped(store, tmp_path / "m")
    monkeypatch.setattr("daskcluster.engine.session.active_client", lambda: None)
    resumed = fit_model(KMeans(**OPTIONS), store, tmp_path / "m", resume=True)
    assert bits(resumed) == bits(KMeans(**OPTIONS).fit(rows))


def test_a_checkpoint_at_the_first_moment_keeps_the_seed(store, tmp_path):
    with stoppable(Stop(1e-9)), pytest.raises(Interrupted, match="time budget") as caught:
        fit_model(KMeans(3), store, tmp_path / "m")
    assert caught.value.kept
    seed = read_checkpoint(tmp_path / "m")["about"]["options"]["seed"]
    assert fit_model(KMeans(3), store, tmp_path / "m", resume=True).seed_ == seed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_clusters": 8}, "n_clusters was 7 and is 8"),
        ({"tol": 1e-3}, "tol was 0.0 and is 0.001"),
        ({"max_iter": 3}, "max_iter was 300 and is 3"),
        ({"random_state": 6}, "seed was 5 and is 6"),
        ({"init": "random", "n_init": 1}, r"init was 'k-means\+\+' and is 'random'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("finished", [False, True])
def test_other_options_are_refused(store, tmp_path, change, message, finished):
    if finished:
        fit_model(KMeans(**OPTIONS), store, tmp_path / "m")
    else:
        stopped(store, tmp_path / "m")
    before = sorted((p.name, p.read_bytes()) for p in (tmp_path / "m").iterdir())
    with pytest.raises(ModelError, match=message):
        fit_model(KMeans(**OPTIONS | change), store, tmp_path / "m", resume=True)
    assert sorted((p.name, p.read_bytes()) for p in (tmp_path / "m").iterdir()) == before


def test_other_data_is_refused(store, rows, tmp_path):
    stopped(store, tmp_path / "m")
    np.save(tmp_path / "rows.npy", rows)
    other = convert_npy(tmp_path / "rows.npy", tmp_path / "other.zarr")
    with pytest.raises(ModelError, match=f"build was '{store.info.build}' and is '"):
        fit_model(KMeans(**OPTIONS), other, tmp_path / "m", resume=True)
    stopped(rows, tmp_path / "m2")
    with pytest.raises(ModelError, match="content was"):
        fit_model(KMeans(**OPTIONS), rows[::-1] // 2, tmp_path / "m2", resume=True)


def test_what_resume_and_overwrite_mean(store, tmp_path, capsys):
    path = tmp_path / "m"
    stopped(store, path)
    with pytest.raises(ModelError, match=r"did not end: go on with --resume, .* --overwrite"):
        fit_model(KMeans(**OPTIONS), store, path)
    with pytest.raises(ModelError, match="did not end"):
        load_model(path)
    with pytest.raises(SystemExit) as caught:
        main(["info", str(path)])
    assert caught.value.code == 2
    assert "holds a fit that did not end" in capsys.readouterr().err
    begun = fit_model(KMeans(**OPTIONS), store, path, overwrite=True)
    assert read_checkpoint(path) is None
    # A fit that is finished is not done again; one with --overwrite is.
    before = (path / "model.json").read_bytes()
    again = fit_model(KMeans(**OPTIONS), store, path, resume=True)
    assert (bits(again), again.seconds_) == (bits(begun), begun.seconds_)
    assert (path / "model.json").read_bytes() == before
    with pytest.raises(ModelError, match="exists"):
        fit_model(KMeans(**OPTIONS), store, path)
    fit_model(KMeans(**OPTIONS), store, path, resume=True, overwrite=True)
    assert (path / "model.json").read_bytes() != before


def test_a_model_stays_until_the_next_is_whole(store, tmp_path):
    path = tmp_path / "m"
    old = fit_model(KMeans(3, random_state=0), store, path)
    stopped(store, path, iteration=2, overwrite=True)
    assert bits(load_model(path)) == bits(old)
    resumed = fit_model(KMeans(**OPTIONS), store, path, resume=True)
    assert bits(load_model(path)) == bits(resumed)


def test_a_second_driver_is_refused(store, tmp_path):
    path = tmp_path / "m"
    with only_writer(path), pytest.raises(InputError, match=f"written by process {os.getpid()}"):
        fit_model(KMeans(**OPTIONS), store, path)
    assert not path.exists()
    (path / "..").resolve().joinpath("m").mkdir()
    (path / ".lock").write_text("process 1 on a machine that is gone")
    fit_model(KMeans(**OPTIONS), store, path)
    assert not (path / ".lock").exists()


@pytest.mark.parametrize("damage", [b"", b"PK", "cut", "flipped"])
def test_a_damaged_checkpoint_is_refused(store, tmp_path, damage):
    stopped(store, tmp_path / "m")
    file = tmp_path / "m" / checkpoint.FILE
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[:-100]
    elif damage == "flipped":
        content[len(content) // 3] ^= 1
    else:
        content = damage
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint.*--overwrite"):
        fit_model(KMeans(**OPTIONS), store, tmp_path / "m", resume=True)
    fit_model(KMeans(**OPTIONS), store, tmp_path / "m", overwrite=True)


def test_bad_data_leaves_no_checkpoint(tmp_path):
    X = np.array([[0.0], [1.0], [np.inf]])
    with pytest.raises(ValueError, match="infinity"):
        fit_model(KMeans(2), X, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_an_error_on_the_way_keeps_the_checkpoint(store, rows, tmp_path, monkeypatch):
    class Fails(Silent):
        def event(self, kind, facts):
            if facts["iteration"] == 4:
                raise EngineError("workers were lost")

    with pytest.raises(EngineError):
        fit_model(KMeans(**OPTIONS), store, tmp_path / "m", progress=Fails())
    assert len(read_checkpoint(tmp_path / "m")["state"]["run 0"]["lloyd"]["history"]) == 3
    resumed = fit_model(KMeans(**OPTIONS), store, tmp_path / "m", resume=True)
    assert bits(resumed) == bits(KMeans(**OPTIONS).fit(rows))


def test_checkpoints_are_written_every_few_seconds_at_most(store, tmp_path, monkeypatch):
    written = []
    write = checkpoint.write_atomically
    monkeypatch.setattr(checkpoint, "write_atomically", lambda *a: (written.append(a), write(*a)))
    with dask.config.set({"daskcluster.checkpoint-interval": "1h"}):
        model = fit_model(KMeans(**OPTIONS), store, tmp_path / "m")
    assert model.n_iter_ > 5
    assert len(written) == 1


# From here on processes of their own: signals, and SIGKILL.


def command(store, path, *more):
    fit = ["fit", store.path, path, "--k", 7, "--tol", 0, "--seed", 5, "--progress", "json", *more]
    return [sys.executable, "-m", "daskcluster", *map(str, fit)]


def interrupted(store, path, number, iteration, *more):
    """Exit code and stderr of a fit that is sent a signal at an iteration."""
    slow = {"DASK_DASKCLUSTER__CHECKPOINT_INTERVAL": "0s"}
    with subprocess.Popen(
        command(store, path, *more), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=os.environ | slow,
    ) as process:  # fmt: skip
        said = []
        for line in process.stderr:
            said.append(line)
            if f'"iteration": {iteration},' in line:
                process.send_signal(number)
        return process.wait(60), "".join(said)


@pytest.mark.parametrize(
    ("number", "where"),
    [(signal.SIGTERM, []), (signal.SIGINT, []), (signal.SIGINT, ["--workers", 1])],
    ids=["SIGTERM", "SIGINT", "SIGINT with workers"],
)
def test_signals_stop_a_fit_with_a_checkpoint(store, rows, tmp_path, number, where):
    path = tmp_path / "m"
    code, said = interrupted(store, path, number, 3, *where)
    assert code == 75
    last = said.splitlines()[-1]
    name = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}[number]
    assert last == (
        f"daskcluster: stopped: {name}; run the same command again with --resume to go on"
    )
    assert len(read_checkpoint(path)["state"]["run 0"]["lloyd"]["history"]) >= 3
    with pytest.raises(SystemExit) as caught:
        main(command(store, path, "--resume", *where)[3:])
    assert caught.value.code == 0
    assert bits(load_model(path)) == bits(KMeans(**OPTIONS).fit(rows))


def test_sigkill_loses_an_iteration_at_most(store, rows, tmp_path):
    path = tmp_path / "m"
    code, _ = interrupted(store, path, signal.SIGKILL, 4)
    assert code == -signal.SIGKILL
    assert len(read_checkpoint(path)["state"]["run 0"]["lloyd"]["history"]) >= 3
    resumed = fit_model(KMeans(**OPTIONS), store, path, resume=True)
    assert bits(resumed) == bits(KMeans(**OPTIONS).fit(rows))


def test_the_time_budget_ends_a_fit_with_75(store, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(command(store, tmp_path / "m", "--time-budget", "0.00001s")[3:])
    assert caught.value.code == 75
    assert "the time budget of 1e-05 s is over; run the same command" in capsys.readouterr().err


def test_two_drivers_on_one_model(store, tmp_path):
    """The second is refused while the first runs, and the first ends as if alone."""
    path, said = tmp_path / "m", []
    with subprocess.Popen(
        command(store, path), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as first:
        for line in first.stderr:
            if '"iteration": 1,' in line:
                os.kill(first.pid, signal.SIGSTOP)
                second = subprocess.run(command(store, path), capture_output=True, text=True)
                os.kill(first.pid, signal.SIGCONT)
                said.append(second)
    (second,) = said
    assert second.returncode == 2
    assert f"being written by process {first.pid} on" in second.stderr
    assert first.returncode == 0
    load_model(path)


def test_a_stopped_conversion_and_prediction_go_on(store, rows, tmp_path, capsys):
    np.save(tmp_path / "rows.npy", rows)
    convert = ["convert", "npy", tmp_path / "rows.npy", tmp_path / "s", "--rows-per-chunk", 1]
    fit_model(KMeans(**OPTIONS), store, tmp_path / "m")
    predict = ["predict", tmp_path / "m", store.path, tmp_path / "out"]
    for arguments in (convert, predict):
        arguments = [str(a) for a in arguments]
        # The handler of the command line replaces this one: Ctrl-C comes a little later.
        killer = threading.Thread(target=_ctrl_c_soon)
        killer.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("daskcluster.store.build.Build.write", _slowly)
            with pytest.raises(SystemExit) as caught:
                main(arguments)
        killer.join()
        assert caught.value.code == 75, capsys.readouterr().err
        assert "Ctrl-C; run the same command again with --resume" in capsys.readouterr().err
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--resume"])
        assert caught.value.code == 0, capsys.readouterr().err


def _ctrl_c_soon():
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)


def _slowly(build, name, start, rows, write=Build.write):
    write(build, name, start, rows)
    time.sleep(2)
