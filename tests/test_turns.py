"""What runs that take turns may keep: budgets and states of reductions of all kinds."""

import numpy as np
import pytest
from scipy import sparse

from daskcluster import (
    KMeans,
    MiniBatchKMeans,
    ModelError,
    SoftKMeans,
    convert_npy,
    fit_model,
    sweep,
)
from daskcluster.assess import separation
from daskcluster.engine.cluster import _array_bytes
from daskcluster.kernels.frame import Frame
from daskcluster.kernels.hard import Assign
from daskcluster.kernels.sparse import SparseRows
from daskcluster.kernels.sparse_hard import AssignSparse
from daskcluster.kernels.together import Together
from daskcluster.sizing import Grid


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """5 MB in chunks of 1 MB."""
    folder = tmp_path_factory.mktemp("turns")
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 60, (100_000, 50)) + 20 * rng.integers(0, 6, (100_000, 1))
    np.save(folder / "rows.npy", rows.astype(np.uint8))
    return convert_npy(folder / "rows.npy", folder / "s.zarr", rows_per_chunk=20_000)


@pytest.mark.parametrize("budget", ["0", "2MB", "4MB", "1GB"])
@pytest.mark.parametrize("kind", [KMeans, SoftKMeans])
def test_no_budget_changes_a_bit_of_several_runs(store, kind, budget):
    options = {"init": "random", "n_init": 2, "random_state": 0, "max_iter": 3, "tol": 0}
    found = kind(3, memory_budget=budget, **options).fit(store)
    wanted = kind(3, **options).fit(store.rows(0, store.info.n_rows))
    assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
    assert found.inertia_ == wanted.inertia_


@pytest.mark.parametrize("budget", ["2MB", "4MB"])
def test_a_budget_has_an_effect_on_runs_in_turns(store, budget):
    options = {"init": "k-means++", "max_iter": 1, "random_state": 0}
    none = KMeans(6, n_init=2, memory_budget=0, **options).fit(store).passes_
    some = KMeans(6, n_init=2, memory_budget=budget, **options).fit(store).passes_
    assert some < 0.9 * none


def test_scores_of_a_sweep_with_a_part_of_the_data_in_memory(store, tmp_path, monkeypatch):
    whole = separation.spend_on_blocks

    def part(session, data, clusters, asked):
        return whole(session, data, clusters, "2MB")

    options = {"random_state": 0, "max_iter": 2, "init": "random"}
    wanted = sweep(KMeans(**options), store, tmp_path / "a", n_clusters=[2, 3])
    monkeypatch.setattr(separation, "spend_on_blocks", part)
    found = sweep(KMeans(**options), store, tmp_path / "b", n_clusters=[2, 3])
    assert found.table == wanted.table


def test_arrays_of_all_reductions_count():
    centers = np.ones((10, 784))
    dense = Assign(centers, None, 1, Frame(None, 0), Grid(0, 1))
    assert _array_bytes(dense) == centers.nbytes
    assert _array_bytes(Together((dense, dense))) == 2 * centers.nbytes
    thin = SparseRows.of(sparse.csr_array(centers))
    assert _array_bytes(AssignSparse(thin, None, 1, Frame(None, 0), Grid(0, 2))) == thin.nbytes


@pytest.mark.parametrize("rows", [[[1.0], [-1.0]], [[0.0], [0.0]]])
def test_sparse_rows_that_add_up_to_nothing(rows):
    found = KMeans(1, init=np.zeros((1, 1))).fit(sparse.csr_array(rows))
    assert found.inertia_ == KMeans(1).fit(np.array(rows)).inertia_


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "refined", "random"])
@pytest.mark.parametrize("light", [1.0, 2.0**-34, 0.0])
def test_rows_far_away_that_weigh_little(init, light):
    table = np.zeros((200, 2))
    table[:100, 1] = np.arange(100) / 50
    table[-2:] = 1e9
    weights = np.full(200, 2.0**30)
    weights[-2:] = light
    model = KMeans(3, init=init, random_state=0).fit(table, sample_weight=weights)
    assert np.isfinite(model.cluster_centers_).all()


def test_shares_of_rows_are_drawn_once():
    table = np.arange(10.0)[:, np.newaxis]
    for seed in range(20):
        model = KMeans(5, init="random", n_init=1, max_iter=1, random_state=seed)
        model.fit(table, sample_weight=np.full(10, 0.3))
        assert model.history_[0]["empty"] == 0


def test_a_rough_model_of_other_rows_or_batches_is_not_taken_for_this(store, tmp_path):
    rows = store.rows(0, 5000)
    fit_model(MiniBatchKMeans(3, random_state=0), rows, tmp_path / "m")
    with pytest.raises(ModelError, match="another fit"):
        fit_model(MiniBatchKMeans(3, random_state=0), rows + 1, tmp_path / "m", resume=True)
    fit_model(MiniBatchKMeans(3, random_state=0), store, tmp_path / "n")
    other = MiniBatchKMeans(3, random_state=0, batch_size=7)
    with pytest.raises(ModelError, match="batch_size"):
        fit_model(other, store, tmp_path / "n", resume=True)


def test_the_inertia_of_a_rough_model_far_from_the_origin():
    table = np.random.default_rng(0).normal(size=(3000, 2))
    init = table[:3].copy()
    near = MiniBatchKMeans(3, init=init, max_iter=2).fit(table)
    far = MiniBatchKMeans(3, init=init + 1.7e9, max_iter=2).fit(table + 1.7e9)
    assert far.inertia_ == pytest.approx(near.inertia_, rel=1e-3)
    assert near.cluster_sizes_.sum() == 3000
