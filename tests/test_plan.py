"""Plans: what a fit checks and reads is what was said of it, before anything ran."""

import dataclasses
import json

import dask.array
import numpy as np
import pytest
import zarr
from scipy import sparse

from daskcluster import (
    BudgetError,
    InputError,
    KMeans,
    SoftKMeans,
    Workers,
    convert_npy,
    plan,
)
from daskcluster.engine import Silent
from daskcluster.fit import planning, run
from daskcluster.fit.data import store_dataset
from daskcluster.fit.trial import Cost, Timed, Trial, some_blocks
from daskcluster.sizing import Cut

PARTS = ("seeding", "first_iteration", "iteration", "labels", "expected", "most")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Five clouds of 3,000 rows in 12 chunks."""
    folder = tmp_path_factory.mktemp("plan")
    rng = np.random.default_rng(0)
    centers = rng.integers(0, 200, (5, 2048), dtype=np.uint8)
    rows = centers[np.arange(3000) % 5] + rng.integers(0, 50, (3000, 2048), dtype=np.uint8)
    np.save(folder / "rows.npy", rows)
    return convert_npy(folder / "rows.npy", folder / "rows.zarr", rows_per_chunk=256)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Trials that end soon."""
    monkeypatch.setattr(planning, "TRIAL_SECONDS", 0.5)
    monkeypatch.setattr("daskcluster.fit.starting.SECONDS", 0.1)


def plain(**options):
    return KMeans(**({"n_clusters": 5, "random_state": 0, "algorithm": "lloyd"} | options))


def check(found):
    """All parts are there, in plain JSON, and none is negative."""
    facts = json.loads(json.dumps(found.to_json(), allow_nan=False))
    for name in PARTS:
        assert min(facts[name].values()) >= 0
        assert facts[name]["passes"] * facts["bytes"] == pytest.approx(
            facts[name]["bytes_decoded"], abs=1
        )
    assert facts["expected"]["seconds"] <= facts["most"]["seconds"]
    assert facts["peak_memory"] == sum(facts["memory"].values())
    return found


@pytest.mark.parametrize("init", ["random", "k-means++", "k-means||", "refined"])
def test_passes_are_those_of_the_fit(store, init):
    estimator = plain(init=init, n_init=1, memory_budget=0, max_iter=6, tol=0)
    found = check(plan(estimator, store))
    assert not hasattr(estimator, "cluster_centers_")
    fitted = plain(init=init, n_init=1, memory_budget=0, max_iter=6, tol=0).fit(store)
    assert found.first_iteration.passes == found.iteration.passes == found.labels.passes == 1
    # Which rows are drawn, and so in how many blocks they are, only the fit itself knows.
    steps = fitted.n_iter_ + (not fitted.converged_)
    assert found.seeding.passes == pytest.approx(fitted.passes_ - steps, abs=1.5)
    assert found.most.iterations == found.expected.iterations == 6


def test_what_is_kept_is_decoded_once(store):
    found = check(plan(plain(max_iter=6, memory_budget="1GB"), store))
    assert found.most.passes == plain(max_iter=6, memory_budget="1GB").fit(store).passes_ == 1
    assert found.memory["budget"] >= store.info.nbytes


def test_the_bound_is_the_one_that_a_fit_checks(store, monkeypatch):
    seen = []
    whole = run.share_out
    monkeypatch.setattr(run, "share_out", lambda *a: seen.append(whole(*a)) or seen[-1])
    plain(memory_budget="5MB", max_iter=2).fit(store)
    found = plan(plain(memory_budget="5MB", max_iter=2), store)
    assert found.peak_memory == seen[0][0].peak


def test_a_worker_that_is_too_small_is_refused_to_the_byte(store):
    roomy = plan(plain(memory_budget=0), store, workers=Workers(2, memory_limit=2**33))
    enough = int((roomy.peak_memory + 1) / 0.7)
    assert plan(plain(memory_budget=0), store, workers=Workers(2, memory_limit=enough + 1))
    with pytest.raises(BudgetError, match=r"use fewer threads .* or fewer clusters"):
        plan(plain(memory_budget=0), store, workers=Workers(2, memory_limit=enough - 4))


def test_workers_that_are_not_there(store):
    found = check(plan(plain(memory_budget=0), store, workers=Workers(3, 2, 2**33)))
    assert (found.workers, found.threads, found.memory_limit) == (3, 6, 2**33)
    assert found.tasks_per_iteration == 12
    assert found.timed["threads"] <= 6
    with pytest.raises(InputError, match="0 threads of a worker"):
        Workers(1, 0)


def test_on_the_workers_that_are_there(store, client):
    found = check(plan(plain(memory_budget=0, max_iter=3), store))
    assert (found.workers, found.threads, found.tasks_per_iteration) == (2, 2, 2)


def test_the_trial_shows_its_rows(store):
    titles = set()

    class Watch(Silent):
        def rows(self, title, done, total):
            titles.add(title)

    plan(plain(max_iter=2), store, progress=Watch())
    assert {"trial, iteration 1", "trial, iteration 2"} <= titles


def test_restarts_share_their_passes(store):
    one = check(plan(plain(init="random", n_init=1, memory_budget=0), store))
    four = check(plan(plain(init="random", n_init=4, memory_budget=0), store))
    assert four.runs_at_once == four.n_init == 4
    assert four.iteration.passes == one.iteration.passes == 1


ROWS = np.random.default_rng(1).random((400, 6))


@pytest.mark.parametrize(
    ("estimator", "X", "more"),
    [
        (SoftKMeans(3, beta=2.0, random_state=0, max_iter=5), ROWS, {}),
        (SoftKMeans(3, standardize=True, random_state=0, init="refined"), ROWS, {}),
        (KMeans(3, metric="cosine", random_state=0), sparse.csr_array(ROWS > 0.7) * 1.0, {}),
        (KMeans(3, standardize=True, random_state=0), ROWS.tolist(), {}),
        (KMeans(3, init=ROWS[:3]), zarr.array(ROWS, chunks=(50, 6)), {}),
        (KMeans(3, init=lambda X, k, random_state: X[:k], n_init=2), ROWS, {}),
        (KMeans(300, random_state=0), ROWS, {"sample_weight": np.arange(400)}),
    ],
    ids=["soft", "standardized soft", "sparse", "list", "zarr", "callable", "weights"],
)  # fmt: skip
def test_whatever_can_be_fitted_can_be_planned(estimator, X, more):
    found = check(plan(estimator, X, **more))
    assert found.n_rows == 400
    assert found.first_iteration.seconds > 0


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (dask.array.ones((8, 2)), "convert it, and plan that"),
        (zarr.array(ROWS, chunks=(50, 2)), "convert them, and plan that"),
        (ROWS[:3], "n_samples=3 should be >= n_clusters=5"),
    ],
)
def test_what_is_refused(X, message):
    with pytest.raises(InputError, match=message):
        plan(plain(), X)


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"max_iter": 7}, 7),
        ({"tol": 0}, planning.STRICT),
        ({"init": "refined"}, planning.REFINED),
        ({"init": "random"}, planning.OTHERS),
    ],
)
def test_the_number_of_iterations_is_named(options, number):
    n, words = planning._iterations(plain(**options)._options(ROWS, None))
    assert n == number
    assert str(number) in words


def test_blocks_of_a_trial_are_blocks_of_the_data(store):
    data = store_dataset(store)
    some = some_blocks(data.weighted(np.arange(3000)), Cut(3000, 512), 3)
    rows = np.concatenate([some.reader.read(some.cut.block(i)).rows for i in range(3)])
    numbers = np.r_[0:512, 1024:1536, 2560:3000]
    np.testing.assert_array_equal(some.weights, numbers)
    whole = data.reader.read(Cut(3000, 3000).block(0)).rows
    np.testing.assert_array_equal(rows, whole[numbers])
    assert some.reader.read(some.cut.block(2)).start == 1024


class Sizes:
    """A session as a trial sees it."""

    def __init__(self, n_blocks, n_threads):
        self.cut, self.n_threads = Cut(n_blocks * 10, 10), n_threads
        self.data_bytes = n_blocks * 1000
        self.n_tasks_a_pass = 2 * n_threads


@pytest.mark.parametrize(
    ("blocks", "threads", "times"),
    [(100, 2, 25), (100, 50, 1), (100, 1000, 0.5), (3, 2, 1), (4, 2, 1)],
)
def test_the_busiest_thread_says_how_long_a_pass_takes(blocks, threads, times):
    trial = Trial(Sizes(4, 2), Sizes(blocks, threads), task_seconds=0.01)
    passed = trial.over_all(Timed("", Cost(3.0, 4000), whole=True))
    assert passed.seconds == pytest.approx(3 * times + 0.02 * threads)
    assert passed.nbytes == 1000 * blocks
    few = Timed("", Cost(3.0, 1000), whole=False)
    assert trial.over_all(few) == few.cost


def test_later_iterations_compare_fewer_rows():
    trial = Trial(Sizes(4, 2), Sizes(4, 2), 0.0)
    trial.read = Cost(1.0, 4000)
    known = [Cost(9.0, 4000), *[Cost(5.0, 4000)] * 3]
    costs = planning._Costs(Cost(), None, known, Cost(), True, trial, {})
    assert [costs.iteration(i).seconds for i in (1, 2, 4, 16)] == [9.0, 5.0, 5.0, 1 + 4 / 2]
    flat = dataclasses.replace(costs, pruned=False)
    assert flat.iteration(16) == Cost(5.0, 4000)
