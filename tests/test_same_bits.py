"""Promise 2: the same store, options and seed give the same bits, however the work is done."""

import dask
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

from daskcluster import KMeans, SoftKMeans, convert_npy
from daskcluster.assess import evaluate

N_ROWS = 4999  # not a multiple of any grain
SCORES = (
    "inertia", "purity", "gini", "ari", "nmi", "contingency", "silhouette", "calinski_harabasz",
    "davies_bouldin",
)  # fmt: skip


def _columns(rng, n_features):
    return 10.0 ** rng.integers(-6, 7, n_features)


def _ties(rng):
    rows = rng.integers(0, 3, (N_ROWS, 4)) * 2
    return rows.astype(np.uint8)


DATA = {
    "uint8": lambda rng: rng.integers(0, 256, (N_ROWS, 20), dtype=np.uint8),
    "int16": lambda rng: rng.integers(-(2**15), 2**15, (N_ROWS, 5), dtype=np.int16),
    "int32": lambda rng: rng.integers(-(2**31), 2**31, (N_ROWS, 7), dtype=np.int32),
    "float32 far from the origin": lambda rng: (rng.normal(size=(N_ROWS, 6)) + 1e4).astype("f4"),
    "float64 of all scales": lambda rng: rng.normal(size=(N_ROWS, 9)) * _columns(rng, 9),
    "one feature": lambda rng: rng.normal(size=(N_ROWS, 1)),
    "three features": lambda rng: rng.normal(size=(N_ROWS, 3)).astype(np.float32),
    "9,000 features": lambda rng: rng.integers(0, 256, (130, 9_000), dtype=np.uint8),
    "ties and duplicates": _ties,
}


@pytest.fixture(scope="module")
def clusters():
    """Clusters of one, two and three worker processes."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as one,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as two,
        LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=":0") as three,
    ):
        yield {1: one, 2: two, 3: three}


@pytest.fixture(params=DATA)
def stores(request, tmp_path):
    """The same rows in three chunk sizes, with labels."""
    rng = np.random.default_rng(sum(map(ord, request.param)))
    rows = DATA[request.param](rng)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "labels.npy", rng.integers(0, 4, len(rows)))
    return rows, [
        convert_npy(
            tmp_path / "rows.npy",
            tmp_path / f"{size}.zarr",
            labels=tmp_path / "labels.npy",
            rows_per_chunk=size,
        )
        for size in (1, 1500, N_ROWS)
    ]


def bits(X, scores=True, **options):
    """Every field of promise 2, as bytes where it is an array."""
    model = KMeans(n_clusters=9, random_state=11, tol=0, max_iter=15, **options).fit(X)
    labels = model.labels_ if isinstance(model.labels_, np.ndarray) else model.labels_.compute()
    history = [{k: v for k, v in entry.items() if k != "passes"} for entry in model.history_]
    fields = {
        "centers": model.cluster_centers_.tobytes(),
        "labels": labels.tobytes(),
        "inertia": model.inertia_,
        "n_iter": model.n_iter_,
        "sizes": model.cluster_sizes_.tobytes(),
        "history": history,
    }
    found = evaluate(model, X) if scores else None
    return fields | {"scores": found and {name: found[name] for name in SCORES}}


def soft_bits(X, **options):
    """The same of a soft fit, its responsibilities too."""
    model = SoftKMeans(n_clusters=9, beta=1.0, random_state=11, tol=0, max_iter=8, **options).fit(X)
    arrays = [model.labels_, model.predict_proba(X)]
    labels, shares = (a if isinstance(a, np.ndarray) else a.compute() for a in arrays)
    history = [{k: v for k, v in entry.items() if k != "passes"} for entry in model.history_]
    return {
        "arrays": [
            a.tobytes() for a in (model.cluster_centers_, labels, shares, model.cluster_weights_)
        ],
        "numbers": [model.objective_, model.inertia_, model.n_iter_, model.precision_],
        "history": history,
    }


def equal(a, b):
    assert {k: v for k, v in a.items() if k != "scores"} == {
        k: v for k, v in b.items() if k != "scores"
    }
    assert a["scores"] is None or b["scores"] is None or a["scores"] == b["scores"]


def test_soft_fits_do_not_depend_on_chunks_threads_and_budgets(stores):
    rows, (small, middle, whole) = stores
    expected = soft_bits(whole, memory_budget=0)
    assert soft_bits(rows) == expected
    for n_threads in (1, 3):
        with dask.config.set(num_workers=n_threads):
            assert soft_bits(small, memory_budget="1GiB") == expected
            assert soft_bits(middle, memory_budget=0) == expected


@pytest.mark.parametrize("rows_per_chunk", [7, 500, 4096])
def test_soft_fits_of_other_peoples_arrays(rows_per_chunk, tmp_path):
    rows = DATA["uint8"](np.random.default_rng(0))
    array = zarr.create_array(tmp_path / "a.zarr", data=rows, chunks=(rows_per_chunk, 20))
    assert soft_bits(array) == soft_bits(rows)


def test_chunks_threads_and_budgets_change_no_bit(stores):
    rows, (small, middle, whole) = stores
    expected = bits(whole, memory_budget=0)
    equal(bits(rows, scores=False), expected)
    for n_threads in (1, 2, 5):
        with dask.config.set(num_workers=n_threads):
            equal(bits(small, memory_budget="1GiB"), expected)
            equal(bits(middle, memory_budget=0), expected)
    with dask.config.set(scheduler="synchronous"):
        equal(bits(middle, memory_budget=100_000), expected)


# What differs by type alone differs without workers too.
ON_WORKERS = (
    "uint8",
    "float64 of all scales",
    "one feature",
    "9,000 features",
    "ties and duplicates",
)


@pytest.mark.parametrize("stores", ON_WORKERS, indirect=True)
def test_workers_change_no_bit(stores, clusters):
    _, (small, middle, whole) = stores
    expected = bits(whole)
    for n_workers, cluster in clusters.items():
        with Client(cluster):
            equal(bits(small, memory_budget=0), expected)
            if n_workers == 2:
                equal(bits(middle, memory_budget="1GiB"), expected)
                equal(bits(whole, memory_budget=0), expected)


@pytest.mark.parametrize("stores", ["uint8", "three features"], indirect=True)
def test_soft_fits_do_not_depend_on_workers(stores, clusters):
    _, (small, middle, whole) = stores
    expected = soft_bits(whole)
    scores = evaluate_soft(whole)
    for cluster in clusters.values():
        with Client(cluster):
            assert soft_bits(small, memory_budget=0) == expected
            assert soft_bits(middle) == expected
            assert evaluate_soft(small) == scores


def evaluate_soft(store):
    model = SoftKMeans(n_clusters=9, beta=1.0, random_state=11, max_iter=3).fit(store)
    return {k: v for k, v in evaluate(model, store).items() if k != "passes"}


@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_draws_depend_on_seed_alone(stores, init):
    rows, (small, _, whole) = stores
    expected = bits(rows, scores=False, init=init, n_init=2)
    equal(bits(small, scores=False, init=init, n_init=2), expected)
    equal(bits(whole, scores=False, init=init, n_init=2), expected)


def test_the_same_seed_twice_and_another(stores):
    rows, _ = stores
    first, again = (KMeans(4, random_state=5, max_iter=2).fit(rows) for _ in range(2))
    assert first.cluster_centers_.tobytes() == again.cluster_centers_.tobytes()
    drawn = KMeans(4, max_iter=2).fit(rows)
    repeated = KMeans(4, max_iter=2, random_state=drawn.seed_).fit(rows)
    assert drawn.cluster_centers_.tobytes() == repeated.cluster_centers_.tobytes()
