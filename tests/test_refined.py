"""Refined starts: the same sample and centres whatever the blocks, units and workers."""

import os
import signal

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from strategies import CHECK, batches, tables

from daskcluster import KMeans, SoftKMeans, convert_npy
from daskcluster.engine import Silent
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.sampling import Sample, gathered, stacked
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.sizing import FEWEST_ROWS, sample_rows


@given(st.data())
@CHECK
def test_samples_of_any_blocks(data):
    table = data.draw(tables())
    n = len(table)
    picked = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    weights = np.arange(n) if data.draw(st.booleans()) else None
    job = Sample(np.array(picked))
    found = []
    for part in batches(table, data.draw(st.integers(1, n))):
        own = None if weights is None else weights[part.start : part.start + len(part.rows)]
        found = job.merge(job.step(Batch(part.start, part.rows, weights=own), None)[0], found)
    rows, own = gathered(found)
    np.testing.assert_array_equal(rows, table[picked])
    assert own is None if weights is None else own.tolist() == picked
    whole = SparseRows.of(sparse.csr_array(table))
    parts = [whole[:1], whole[1:1], whole[1:]]
    assert is_sparse(stacked(parts))
    np.testing.assert_array_equal(np.asarray(stacked(parts)), table)


@given(st.integers(1, 10**12), st.integers(1, 10**6), st.integers(1, 10**4))
@CHECK
def test_samples_hold_what_they_must(n_rows, row_bytes, k):
    small, large = sample_rows(n_rows, row_bytes, k)
    assert 1 <= small <= large <= n_rows
    if n_rows >= k:
        assert small >= min(k, large)
    assert large * row_bytes <= max(2**26, 200 * k * row_bytes)


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(30_000, 6, centers=8, cluster_std=3.0, random_state=0)[0]


def test_the_samples_show_how_far_they_are(blobs):
    titles = []

    class Watch(Silent):
        def rows(self, title, done, total):
            titles.append(title)

    KMeans(8, init="refined", random_state=0, max_iter=1).fit(blobs, progress=Watch())
    parts = dict.fromkeys(title.partition(",")[0] for title in titles if "," in title)
    assert list(parts) == [*(f"start {i} of 4" for i in (1, 2, 3, 4)), "best start"]
    assert {"start 1 of 4, k-means++ 8", "best start, iteration 1"} <= set(titles)


@pytest.mark.parametrize("factor", [1000, 2.0**-40])
def test_scaled_rows_give_scaled_centres(blobs, factor):
    wanted = KMeans(8, init="refined", random_state=0, max_iter=1).fit(blobs)
    scaled = KMeans(8, init="refined", random_state=0, max_iter=1).fit(blobs * factor)
    np.testing.assert_allclose(scaled.cluster_centers_, wanted.cluster_centers_ * factor)


def test_shifted_rows_give_shifted_centres():
    rows = np.random.default_rng(0).integers(0, 1000, (9000, 3)).astype(np.float64)
    wanted = KMeans(5, init="refined", random_state=0, max_iter=1).fit(rows)
    moved = KMeans(5, init="refined", random_state=0, max_iter=1).fit(rows + 2.0**20)
    np.testing.assert_allclose(moved.cluster_centers_ - 2.0**20, wanted.cluster_centers_, rtol=1e-9)


def test_all_rows_have_little_left_to_move(blobs, tmp_path):
    np.save(tmp_path / "rows.npy", blobs.astype(np.float32))
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "s.zarr", rows_per_chunk=1)
    inertias = []
    for seed in range(5):
        model = KMeans(8, init="refined", random_state=seed, memory_budget=0).fit(store)
        first = model.history_[0]
        # One pass gathers the sample, the next is the first iteration.
        assert first["passes"] == pytest.approx(2, abs=0.1)
        assert first["inertia"] <= 1.005 * model.inertia_
        inertias.append(model.inertia_)
    theirs = [SklearnKMeans(8, n_init=1, random_state=s).fit(blobs).inertia_ for s in range(5)]
    assert np.mean(inertias) <= 1.002 * np.mean(theirs)


@pytest.mark.parametrize(("dtype", "surveys"), [("uint8", 1), ("float32", 2)])
def test_one_pass_surveys_rows_and_gathers_the_samples(blobs, tmp_path, dtype, surveys):
    rows = np.round(blobs - blobs.min()).astype(dtype)
    array = zarr.create_array(tmp_path / "a.zarr", data=rows, chunks=(1000, 6))
    options = {"init": "refined", "random_state": 0, "max_iter": 1, "memory_budget": 0}
    one = KMeans(8, n_init=1, **options).fit(array)
    # Its last pass is for the labels; those before it for the range of reals, then for all else.
    assert one.history_[0]["passes"] == pytest.approx(surveys + 1, abs=0.01)
    few = KMeans(8, n_init=3, **options).fit(array)
    assert few.history_[0]["passes"] == pytest.approx(surveys + 1, abs=0.01)
    np.save(tmp_path / "rows.npy", rows)
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "s.zarr")
    assert few.inertia_ == KMeans(8, n_init=3, **options).fit(store).inertia_
    soft = SoftKMeans(8, beta=0.1, precision="float64", **options).fit(array)
    assert soft.history_[0]["passes"] == pytest.approx(surveys + 1, abs=0.01)


@pytest.mark.parametrize("kind", [KMeans, SoftKMeans])
def test_the_default_of_many_rows(kind):
    assert FEWEST_ROWS == 100_000
    rows = np.random.default_rng(0).random((FEWEST_ROWS, 2)).astype(np.float32)
    options = {"random_state": 0, "max_iter": 2}
    assert kind(3, **options).fit(rows).init_ == "refined"
    assert kind(3, **options).fit(rows[1:]).init_ == "k-means++"


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_sparse_rows(metric):
    matrix = sparse.random_array(
        (3000, 40), density=0.1, rng=np.random.default_rng(0), format="csr"
    )
    options = {"init": "refined", "random_state": 0, "max_iter": 3, "metric": metric}
    found = KMeans(4, **options).fit(matrix)
    wanted = KMeans(4, **options).fit(matrix.toarray())
    assert found.inertia_ == pytest.approx(wanted.inertia_, rel=0.05)
    lengths = np.linalg.norm(found.cluster_centers_, axis=1)
    if metric == "cosine":
        np.testing.assert_allclose(lengths, 1)


@pytest.mark.parametrize("init", ["refined", "k-means||", "k-means++"])
def test_a_worker_killed_while_seeds_are_found(blobs, own_cluster, tmp_path, init):
    np.save(tmp_path / "rows.npy", blobs[:6000].astype(np.float32))
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "s.zarr", rows_per_chunk=1)
    options = {"init": init, "random_state": 2, "max_iter": 3}
    expected = KMeans(5, **options).fit(blobs[:6000].astype(np.float32))
    process = next(iter(own_cluster.run(os.getpid).values()))
    titles = []

    class KillOnce(Silent):
        def rows(self, title, done, total):
            if title.startswith(("sample", "k-means")) and not titles:
                os.kill(process, signal.SIGKILL)
            titles.append(title)

    model = KMeans(5, **options).fit(store, progress=KillOnce())
    assert titles
    assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
    assert model.inertia_ == expected.inertia_
