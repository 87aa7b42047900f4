"""Sweeps: every model is the single fit's to the bit, and one read serves them all."""

import json
import os
import signal

import dask
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from strategies import CHECK

from daskcluster import (
    InputError,
    Interrupted,
    KMeans,
    ModelError,
    SoftKMeans,
    convert_npy,
    convert_text,
    evaluate,
    load_model,
    load_sweep,
    sweep,
)
from daskcluster.cli import main
from daskcluster.engine import Session, Silent
from daskcluster.fit import run
from daskcluster.fit.checkpoint import read_checkpoint
from daskcluster.fit.data import store_dataset
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.together import Together
from daskcluster.metrics.elbow import elbow


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    images, classes = load_digits(return_X_y=True)
    np.save(folder / "rows.npy", np.tile(images.astype(np.uint8), (4, 1)))
    np.save(folder / "classes.npy", np.tile(classes, 4))
    return convert_npy(
        folder / "rows.npy", folder / "s.zarr", labels=folder / "classes.npy", rows_per_chunk=1
    )


def same(model, single, store):
    assert model.cluster_centers_.tobytes() == single.cluster_centers_.tobytes()
    assert model.inertia_ == single.inertia_
    assert model.n_iter_ == single.n_iter_
    np.testing.assert_array_equal(model.cluster_sizes_, single.cluster_sizes_)
    np.testing.assert_array_equal(np.asarray(model.predict(store)), np.asarray(single.labels_))
    history = [
        [{k: v for k, v in entry.items() if k != "passes"} for entry in one.history_]
        for one in (model, single)
    ]
    assert history[0] == history[1]


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "refined", "random"])
@pytest.mark.parametrize("budget", [0, None])
def test_every_model_is_that_of_a_single_fit(store, tmp_path, init, budget):
    options = {"init": init, "memory_budget": budget, "tol": 0, "max_iter": 25}
    found = sweep(
        KMeans(random_state=3, **options), store, tmp_path / "s", n_clusters=[7, 3], restarts=2
    )
    assert [(line["k"], line["restart"], line["seed"]) for line in found.table] == [
        (3, 0, 3), (3, 1, 4), (7, 0, 3), (7, 1, 4),
    ]  # fmt: skip
    for line in found.table:
        single = KMeans(line["k"], random_state=line["seed"], n_init=1, **options).fit(store)
        scores = evaluate(single, store)
        assert line["inertia"] == single.inertia_ == scores["inertia"]
        assert line["n_iter"] == single.n_iter_
        for name in ("purity", "gini", "ari", "nmi", "silhouette", "davies_bouldin"):
            assert line[name] == scores[name]
        if line["best"]:
            same(found.best[line["model"]], single, store)
            same(load_model(tmp_path / "s" / line["model"]), single, store)
    for k in (3, 7):
        lines = [line for line in found.table if line["k"] == k]
        assert min(lines, key=lambda line: line["inertia"])["best"]
        assert sum(line["best"] for line in lines) == 1


def test_soft_models_are_those_of_single_fits(store, tmp_path):
    options = {"metric": "sqeuclidean", "max_iter": 8}
    found = sweep(
        SoftKMeans(random_state=0, **options), store, tmp_path / "s",
        n_clusters=[3, 12], betas=[0.05, 0.2, np.inf], restarts=1,
    )  # fmt: skip
    assert len(found.table) == len(found.best) == 6
    for line in found.table:
        beta = float(line["beta"])
        single = SoftKMeans(line["k"], beta=beta, random_state=0, **options).fit(store)
        same(found.best[line["model"]], single, store)
        assert line["objective"] == single.objective_
        assert found.best[line["model"]].precision_ == single.precision_
        assert load_model(tmp_path / "s" / line["model"]).objective_ == single.objective_


def test_one_read_serves_them_all(store, tmp_path):
    options = {"init": "random", "memory_budget": 0, "random_state": 0}
    found = sweep(KMeans(**options), store, tmp_path / "s", n_clusters=[4, 9], restarts=3)
    alone = [
        KMeans(line["k"], n_init=1, **(options | {"random_state": line["seed"]})).fit(store)
        for line in found.table
    ]
    assert found.facts["passes"] <= max(model.passes_ for model in alone) + 6 * 9 / 7
    assert found.facts["passes"] < sum(model.passes_ for model in alone) / 2


def test_restarts_of_one_fit_share_their_reads(store):
    options = {"init": "random", "memory_budget": 0, "random_state": 0}
    many = KMeans(5, n_init=4, **options).fit(store)
    one = KMeans(5, n_init=1, **options).fit(store)
    assert many.inertia_ <= one.inertia_
    assert many.passes_ <= 3 * one.passes_


def test_no_bit_depends_on_how_many_the_memory_has_room_for(store, tmp_path, monkeypatch):
    options = {"random_state": 1, "tol": 0, "max_iter": 10}
    wanted = sweep(KMeans(**options), store, tmp_path / "a", n_clusters=[3, 6], restarts=2)
    whole = run.share_out

    def two_at_once(*arguments):
        return whole(*arguments)[0], 2

    monkeypatch.setattr(run, "share_out", two_at_once)
    found = sweep(KMeans(**options), store, tmp_path / "b", n_clusters=[3, 6], restarts=2)
    assert found.table == wanted.table


def test_a_small_memory_has_room_for_fewer(store, monkeypatch):
    runs = [
        KMeans(300, n_init=1, random_state=seed)._options(store, None) for seed in range(16)
    ]  # fmt: skip
    data = store_dataset(store)
    with data.session() as session:
        assert run.share_out(session, data, runs, 0)[1] == 16
        monkeypatch.setattr(Session, "memory_limit", 775 * 2**20)
        assert 1 <= run.share_out(session, data, runs, 0)[1] < 16


def test_workers_change_no_bit(store, client, tmp_path):
    options = {"random_state": 1, "tol": 0, "max_iter": 12}
    found = sweep(KMeans(**options), store, tmp_path / "a", n_clusters=[3, 6], restarts=2)
    assert without_classes(found) == without_classes(in_memory(store, options, tmp_path))


def in_memory(store, options, folder):
    """The same sweep on this process's threads."""
    rows = store.rows(0, store.info.n_rows)
    return sweep(KMeans(**options), rows, folder / "b", n_clusters=[3, 6], restarts=2)


def without_classes(found):
    names = ("purity", "gini", "ari", "nmi")
    return [{k: v for k, v in line.items() if k not in names} for line in found.table]


def test_a_killed_worker_changes_no_bit(store, own_cluster, tmp_path):
    process = next(iter(own_cluster.run(os.getpid).values()))
    killed = []

    class KillOnce(Silent):
        def event(self, kind, facts):
            killed.append(facts)
            if len(killed) == 5:
                os.kill(process, signal.SIGKILL)

    options = {"random_state": 1, "tol": 0, "max_iter": 12}
    found = sweep(
        KMeans(**options), store, tmp_path / "a", n_clusters=[3, 6], restarts=2, progress=KillOnce()
    )
    assert len(killed) > 5
    assert {facts["run"] for facts in killed} == {0, 1, 2, 3}
    assert without_classes(found) == without_classes(in_memory(store, options, tmp_path))


@pytest.fixture
def always_kept():
    """A checkpoint after every iteration."""
    with dask.config.set({"daskcluster.checkpoint-interval": 0}):
        yield


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
@pytest.mark.parametrize("after", [0, 3, 11])
def test_a_sweep_goes_on(store, tmp_path, init, after, always_kept):
    options = {"random_state": 1, "tol": 0, "max_iter": 9, "init": init}

    class Stops(Silent):
        count = 0

        def event(self, kind, facts):
            if self.count == after:
                raise Interrupted("enough")
            self.count += 1

    arguments = {"n_clusters": [3, 6], "restarts": 2}
    with pytest.raises(Interrupted):
        sweep(KMeans(**options), store, tmp_path / "a", progress=Stops(), **arguments)
    assert read_checkpoint(tmp_path / "a") is not None
    with pytest.raises(ModelError, match="resume"):
        sweep(KMeans(**options), store, tmp_path / "a", **arguments)
    with pytest.raises(ModelError, match=r"of another fit: .*models was"):
        sweep(KMeans(**options), store, tmp_path / "a", resume=True, n_clusters=[3], restarts=4)
    events = []

    class Counts(Silent):
        def event(self, kind, facts):
            events.append(facts)

    found = sweep(
        KMeans(**options), store, tmp_path / "a", resume=True, progress=Counts(), **arguments
    )
    wanted = sweep(KMeans(**options), store, tmp_path / "b", **arguments)
    assert found.table == wanted.table
    assert len(events) <= sum(line["n_iter"] for line in wanted.table) - after
    assert read_checkpoint(tmp_path / "a") is None
    # A finished one is loaded.
    again = sweep(KMeans(**options), store, tmp_path / "a", resume=True, **arguments)
    assert again.table == wanted.table
    assert again.best.keys() == wanted.best.keys()


def test_weights_and_standardized_columns(store, tmp_path):
    weights = np.arange(store.info.n_rows) % 3
    options = {"random_state": 0, "standardize": True}
    found = sweep(KMeans(**options), store, tmp_path / "s", n_clusters=[4], sample_weight=weights)
    single = KMeans(4, **options).fit(store, sample_weight=weights)
    same(found.best["k-4"], single, store)
    scores = evaluate(single, store, sample_weight=weights)
    assert found.table[0]["purity"] == scores["purity"]
    same(load_model(tmp_path / "s" / "k-4"), single, store)


def test_text(tmp_path):
    words = ["space orbit moon", "car wheel engine", "moon orbit", "engine car"] * 5
    lines = "\n".join(json.dumps({"text": text}) for text in words)
    (tmp_path / "t.jsonl").write_text(lines)
    store = convert_text(tmp_path / "t.jsonl", tmp_path / "t.zarr")
    found = sweep(KMeans(metric="cosine", random_state=0), store, tmp_path / "s", n_clusters=[2])
    assert {terms[0] for terms in found.best["k-2"].top_terms_} <= {
        "moon",
        "orbit",
        "car",
        "engine",
    }
    assert found.table[0]["purity"] is None


def test_replacing_a_sweep(store, tmp_path):
    sweep(KMeans(random_state=0), store, tmp_path / "s", n_clusters=[2, 3])
    with pytest.raises(ModelError, match="exists"):
        sweep(KMeans(random_state=0), store, tmp_path / "s", n_clusters=[4])
    sweep(KMeans(random_state=0), store, tmp_path / "s", n_clusters=[4], overwrite=True)
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["k-4", "sweep.json"]
    KMeans(2, random_state=0).fit(store).save(tmp_path / "model")
    with pytest.raises(ModelError, match="not a daskcluster sweep"):
        sweep(KMeans(), store, tmp_path / "model", n_clusters=[2], overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_clusters": []}, "each once"),
        ({"n_clusters": [3, 3]}, "each once"),
        ({"n_clusters": [0]}, "n_clusters=0 should be an integer >= 1"),
        ({"n_clusters": [2], "restarts": 0}, "restarts=0"),
        ({"n_clusters": [2], "betas": [1.0]}, "betas are for SoftKMeans"),
        ({"n_clusters": [10**6]}, "ask for fewer"),
    ],
)
def test_bad_sweeps_leave_nothing(store, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        sweep(KMeans(), store, tmp_path / "s", **arguments)
    with pytest.raises(InputError, match="each once"):
        sweep(SoftKMeans(), store, tmp_path / "s", n_clusters=[2], betas=[1.0, 1.0])
    with pytest.raises(InputError, match="a list is not a Zarr array: give"):
        sweep(KMeans(), [[1.0], [2.0]], tmp_path / "s", n_clusters=[2])
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": "daskcluster-sweep"}',
     '{"format": "daskcluster-sweep", "format_version": 1}',
     '{"format": "daskcluster-sweep", "format_version": 1, "table": 3}',
     '{"format": "daskcluster-sweep", "format_version": 1, "table": [{"model": "../x"}], '
     '"elbows": [], "facts": {}}'],
)  # fmt: skip
def test_damaged_sweeps(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(ModelError):
        load_sweep(tmp_path)


def run_cli(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_the_command_line(store, tmp_path, capsys):
    several = ["--k", "3,5", "--k", 8]
    command = ["sweep", store.path, tmp_path / "s", *several, "--restarts", 2, "--seed", 4]
    assert run_cli(*command) == 0
    said = capsys.readouterr().out
    assert "elbow at k=5" in said
    assert "* the best of its kind" in said
    assert run_cli("info", tmp_path / "s") == 0
    again = capsys.readouterr().out
    assert "sweep" in again
    assert again.endswith(said)
    assert run_cli(*command, "--resume", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert [model["k"] for model in facts["models"]] == [3, 3, 5, 5, 8, 8]
    assert run_cli("evaluate", tmp_path / "s" / "k-5", store.path) == 0
    soft = ["sweep", store.path, tmp_path / "t", "--k", "3", "--soft", "--beta", "0.1,1"]
    assert run_cli(*soft, "--max-iter", 3, "--json") == 0
    capsys.readouterr()
    for bad, message in (
        (["--k", "3,x"], "numbers separated by commas"),
        (["--k", "3", "--beta", "1"], "--beta needs --soft"),
        (["--k", "3,3"], "each once"),
        (["--k", "3", "--init", "other"], "'other' is not one of"),
    ):
        assert run_cli("sweep", store.path, tmp_path / "u", *bad) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "u").exists()
    weights = zarr.create_array(tmp_path / "w.zarr", data=np.arange(store.info.n_rows) % 2)
    weighted = ["fit", store.path, tmp_path / "m", "--k", 3, "--seed", 4, "--json"]
    assert run_cli(*weighted, "--weights", weights.store_path.store.root) == 0
    sizes = json.loads(capsys.readouterr().out)["cluster_sizes"]
    assert sum(sizes) == store.info.n_rows // 2
    assert run_cli("evaluate", tmp_path / "m", store.path, "--weights", tmp_path / "no.npy") == 2
    assert "--weights" in capsys.readouterr().err


@given(st.lists(st.integers(1, 50), min_size=3, max_size=8, unique=True), st.data())
@CHECK
def test_an_elbow_is_farthest_from_the_chord(clusters, data):
    clusters = sorted(clusters)
    costs = [float(data.draw(st.integers(0, 1000))) for _ in clusters]
    found = elbow(clusters, costs)
    if costs[0] <= costs[-1]:
        assert found is None
        return
    width, height = clusters[-1] - clusters[0], costs[0] - costs[-1]
    below = [
        1 - (k - clusters[0]) / width - (cost - costs[-1]) / height
        for k, cost in zip(clusters, costs, strict=True)
    ]
    assert (
        found is None if max(below) < 1e-12 else below[clusters.index(found)] >= max(below) - 1e-9
    )
    assert elbow(clusters[:2], costs[:2]) is None


class Counts:
    """A reduction that counts its rows and steps."""

    state_kind = "counts"

    def __init__(self, rows=None, kind="counts"):
        self.rows, self.state_kind = rows, kind

    def step(self, batch, state):
        steps = (state or 0) + 1
        return [(len(batch.rows), steps)], steps if self.state_kind else None

    def merge(self, a, b):
        return a + b


def test_states_are_kept_by_name_and_kind():
    batch = Batch(0, np.zeros((4, 1)))
    first = Together((Counts(), Counts()), (3, 8), frozenset({3, 8, 9}))
    partials, states = first.step(batch, first.ask(None))
    assert partials == ([(4, 1)], [(4, 1)])
    # Of another reduction only: the states of those that live stay.
    second = Together((Counts(),), (8,), frozenset({3, 8}))
    partials, states = second.step(batch, second.ask(states | {9: ("counts", 5)}))
    assert partials == ([(4, 2)],)
    assert states == {3: ("counts", 1), 8: ("counts", 2)}
    # Another kind begins anew, none at all leaves alone.
    third = Together((Counts(kind="other"), Counts(kind=None)), (3, 8), frozenset({3, 8}))
    partials, states = third.step(batch, third.ask(states))
    assert partials == ([(4, 1)], [(4, 1)])
    assert states == {3: ("other", 1), 8: ("counts", 2)}
    assert Together((Counts(kind=None),)).state_kind is None
