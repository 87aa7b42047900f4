"""Weights: a row of weight w is w rows, to the last bit; others to what rounding allows."""

import os
import signal
import warnings

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn import metrics
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.cluster import kmeans_plusplus
from strategies import CHECK, FEW, tables

from daskcluster import (
    InputError,
    KMeans,
    MiniBatchKMeans,
    SoftKMeans,
    calinski_harabasz_score,
    convert_npy,
    davies_bouldin_score,
    evaluate,
    fit_model,
    load_model,
    silhouette_score,
)
from daskcluster.engine import Silent
from daskcluster.engine.memory import MEMORY
from daskcluster.fit.weights import whole_weights
from daskcluster.kernels import exact
from daskcluster.sizing import Grid


@pytest.fixture
def rows(rng):
    return rng.integers(0, 255, (600, 6), dtype=np.uint8)


@pytest.fixture
def weights(rng):
    return rng.integers(0, 5, 600)


@given(st.data())
@CHECK
def test_products_of_limbs_are_exact(data):
    n_limbs = data.draw(st.integers(1, 3))
    top = 2 ** (62 - 38 if n_limbs == 1 else 48 * n_limbs - 2 - 38)
    values = data.draw(st.lists(st.integers(-top, top), min_size=1, max_size=6))
    n = len(values)
    factors = data.draw(st.lists(st.integers(0, 2**38 - 1), min_size=n, max_size=n))
    limbs = exact.from_ints(values, n_limbs)
    found = exact.times(limbs, np.array(factors))
    assert exact.to_ints(found) == [v * f for v, f in zip(values, factors, strict=True)]
    assert Grid(0, n_limbs).n_limbs == len(found)


@given(st.data())
@FEW
def test_a_weight_is_so_many_copies_to_the_bit(data):
    table = data.draw(tables(max_rows=20))
    n = len(table)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    copies = np.repeat(table, weights, axis=0)
    k = data.draw(st.integers(1, 3))
    if min(len(copies), n) < k:
        return
    algorithm = data.draw(st.sampled_from(["lloyd", "hamerly"]))
    for init in ("k-means++", "random", copies[:k].astype(np.float64)):
        options = {"init": init, "random_state": 5, "n_init": 1, "tol": 0, "algorithm": algorithm}
        found, wanted = _quietly(table, options, k, weights), _quietly(copies, options, k)
        assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
        assert found.inertia_ == wanted.inertia_
        assert found.n_iter_ == wanted.n_iter_
        assert found.cluster_sizes_.tolist() == wanted.cluster_sizes_.tolist()
        score = found.score(table, sample_weight=weights)
        assert score == wanted.score(copies) == -found.inertia_


def _quietly(table, options, k, weights=None):
    """A fit of rows of which few may be distinct."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KMeans(k, **options).fit(table, sample_weight=weights)


def test_equals_scikit_learn(rng, rows):
    weights = rng.random(600)
    table = rows.astype(np.float64)
    init = kmeans_plusplus(table, 7, random_state=0)[0]
    ours = KMeans(7, init=init, tol=0).fit(table, sample_weight=weights)
    theirs = SklearnKMeans(7, init=init, tol=0, n_init=1).fit(table, sample_weight=weights)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-8)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-8)
    score = ours.score(table, sample_weight=weights)
    np.testing.assert_allclose(score, theirs.score(table, sample_weight=weights), rtol=1e-8)
    sums = np.bincount(theirs.labels_, weights=weights)
    np.testing.assert_allclose(ours.cluster_sizes_, sums, rtol=1e-8)
    half = KMeans(7, init=init, tol=0).fit(table, sample_weight=weights * 0.5)
    assert half.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
    assert half.inertia_ == ours.inertia_ / 2


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_soft_weights_are_copies(rows, weights, metric):
    table = rows / 64.0
    options = {
        "init": table[:4],
        "metric": metric,
        "max_iter": 15,
        "precision": "float64",
        "beta": 4,
    }
    found = SoftKMeans(4, **options).fit(table, sample_weight=weights)
    wanted = SoftKMeans(4, **options).fit(np.repeat(table, weights, axis=0))
    np.testing.assert_allclose(found.cluster_centers_, wanted.cluster_centers_, rtol=1e-11)
    np.testing.assert_allclose(found.cluster_weights_, wanted.cluster_weights_, rtol=1e-11)
    assert found.objective_ == pytest.approx(wanted.objective_, rel=1e-12)
    assert found.inertia_ == pytest.approx(wanted.inertia_, rel=1e-12)
    scaled = SoftKMeans(4, **options).fit(table, sample_weight=weights / 8)
    np.testing.assert_allclose(scaled.cluster_weights_, wanted.cluster_weights_ / 8, rtol=1e-9)
    assert scaled.objective_ == pytest.approx(wanted.objective_ / 8, rel=1e-9)
    score = found.score(table, sample_weight=weights)
    assert score == pytest.approx(-wanted.objective_, rel=1e-12)


def test_sparse_rows_have_weights(rng):
    matrix = sparse.random_array((500, 40), density=0.1, rng=rng, format="csr")
    weights = rng.integers(0, 4, 500)
    init = matrix[:5].toarray()
    found = KMeans(5, init=init, tol=0).fit(matrix, sample_weight=weights)
    wanted = KMeans(5, init=init, tol=0).fit(matrix.toarray(), sample_weight=weights)
    assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
    assert found.inertia_ == wanted.inertia_
    soft = SoftKMeans(5, init=init, beta=30.0, max_iter=6)
    dense = SoftKMeans(5, init=init, beta=30.0, max_iter=6, precision="float64")
    np.testing.assert_allclose(
        soft.fit(matrix, sample_weight=weights).cluster_centers_,
        dense.fit(matrix.toarray(), sample_weight=weights).cluster_centers_,
        atol=1e-12,
    )


def test_standardized_columns_weigh_rows(rows, weights):
    options = {"random_state": 0, "standardize": True, "tol": 0}
    found = KMeans(4, **options).fit(rows, sample_weight=weights)
    wanted = KMeans(4, **options).fit(np.repeat(rows, weights, axis=0))
    np.testing.assert_array_equal(found.mean_, wanted.mean_)
    assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()


def test_empty_clusters_of_weighted_rows(rows, weights):
    init = np.concatenate([rows[:2].astype(float), np.full((3, 6), 1e4)])
    found = KMeans(5, init=init, tol=0).fit(rows, sample_weight=weights)
    wanted = KMeans(5, init=init, tol=0).fit(np.repeat(rows, weights, axis=0))
    assert found.history_[0]["empty"] == 3
    assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
    real = KMeans(5, init=init, tol=0).fit(rows, sample_weight=weights + 0.1)
    assert (real.cluster_sizes_ > 0).all()


@pytest.mark.parametrize("init", ["k-means||", "refined"])
def test_rows_of_no_weight_are_nowhere(rng, init):
    table = np.concatenate([rng.normal(0, 1, (300, 2)), rng.normal(1000, 1, (300, 2))])
    weights = np.repeat([1, 0], 300)
    model = KMeans(3, init=init, random_state=1).fit(table, sample_weight=weights)
    assert np.abs(model.cluster_centers_).max() < 100
    assert model.cluster_sizes_.sum() == 300


@pytest.mark.parametrize("kind", [KMeans, SoftKMeans, MiniBatchKMeans])
@pytest.mark.parametrize("init", ["auto", "k-means++", "random", "k-means||", "refined"])
def test_fewer_rows_of_weight_than_clusters(rng, kind, init):
    if kind is MiniBatchKMeans and init not in ("k-means++", "random"):
        return
    table = rng.normal(size=(5000, 2))
    weights = np.zeros(5000)
    weights[[4000, 4100]] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind(3, init=init, random_state=0).fit(table, sample_weight=weights)
    assert model.cluster_sizes_.sum() == 2
    assert np.isfinite(model.cluster_centers_).all()


@pytest.fixture
def store(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "classes.npy", rows[:, 0] % 3)
    return convert_npy(
        tmp_path / "rows.npy", tmp_path / "s.zarr", labels=tmp_path / "classes.npy",
        rows_per_chunk=1,
    )  # fmt: skip


@pytest.fixture
def copied(rows, weights, tmp_path):
    np.save(tmp_path / "copies.npy", np.repeat(rows, weights, axis=0))
    np.save(tmp_path / "classes2.npy", np.repeat(rows[:, 0] % 3, weights))
    return convert_npy(
        tmp_path / "copies.npy", tmp_path / "c.zarr", labels=tmp_path / "classes2.npy",
    )  # fmt: skip


@pytest.mark.parametrize("kind", [KMeans, SoftKMeans])
def test_scores_are_those_of_copies(rows, weights, store, copied, kind):
    model = kind(5, random_state=0).fit(store, sample_weight=weights)
    found, wanted = evaluate(model, store, sample_weight=weights), evaluate(model, copied)
    for name in ("passes", "n_rows", "class_names", "top_terms", "objective"):
        del found[name], wanted[name]
    assert found.pop("contingency") == wanted.pop("contingency")
    tables = [one.pop("soft_contingency") for one in (found, wanted)]
    if kind is SoftKMeans:
        np.testing.assert_allclose(*tables, rtol=1e-6)
    assert found == pytest.approx(wanted, rel=1e-6 if kind is SoftKMeans else 1e-12)
    labels = np.asarray(model.labels_)
    copies = np.repeat(labels, weights)
    many = np.repeat(rows.astype(float), weights, axis=0)
    for ours, theirs in (
        (silhouette_score, lambda X, y: metrics.silhouette_score(X, y, metric="sqeuclidean")),
        (calinski_harabasz_score, metrics.calinski_harabasz_score),
        (davies_bouldin_score, metrics.davies_bouldin_score),
    ):
        assert ours(rows, labels, weights) == pytest.approx(theirs(many, copies), rel=1e-9)


def test_scores_of_real_weights_do_not_depend_on_their_unit(store, rng):
    weights = rng.random(600)
    model = KMeans(5, random_state=0).fit(store)
    first = evaluate(model, store, sample_weight=weights)
    eighth = evaluate(model, store, sample_weight=weights / 8)
    for name in ("purity", "gini", "ari", "nmi", "silhouette", "davies_bouldin"):
        assert first[name] == eighth[name]
    np.testing.assert_allclose(np.sum(first["contingency"]), weights.sum(), rtol=1e-9)
    assert eighth["inertia"] == first["inertia"] / 8


def bits(model):
    return model.cluster_centers_.tobytes(), model.inertia_, np.asarray(model.labels_).tobytes()


@pytest.mark.parametrize("kind", [KMeans, SoftKMeans])
@pytest.mark.parametrize("init", ["k-means++", "k-means||", "refined", "random"])
def test_no_bit_depends_on_chunks_and_workers(rows, weights, store, client, kind, init):
    options = {"init": init, "random_state": 3, "max_iter": 8, "n_init": 2, "tol": 0}
    expected = bits(kind(4, **options).fit(rows, sample_weight=weights))
    assert bits(kind(4, **options).fit(store, sample_weight=weights)) == expected
    lazy = da.from_array(rows, chunks=(70, 6))
    found = kind(4, **options).fit(lazy, sample_weight=da.from_array(weights, chunks=50))
    assert bits(found) == expected


def test_a_worker_that_forgot_its_rows_is_told_again(store, weights, client):
    expected = bits(KMeans(4, random_state=0, tol=0).fit(store, sample_weight=weights))
    told = []

    class ForgetOnce(Silent):
        def event(self, kind, facts):
            if not told:
                told.append(kind)
                client.run(_forget)

    model = KMeans(4, random_state=0, tol=0)
    model.fit(store, sample_weight=weights, progress=ForgetOnce())
    assert bits(model) == expected


def _forget():
    for run in list(MEMORY._runs):
        with MEMORY._lock:
            MEMORY._forget(run)


def test_a_killed_worker_changes_no_bit(store, weights, own_cluster):
    process = next(iter(own_cluster.run(os.getpid).values()))
    expected = bits(KMeans(4, random_state=0, tol=0).fit(store, sample_weight=weights))
    killed = []

    class KillOnce(Silent):
        def event(self, kind, facts):
            if not killed:
                killed.append(kind)
                os.kill(process, signal.SIGKILL)

    model = KMeans(4, random_state=0, tol=0)
    model.fit(store, sample_weight=weights, progress=KillOnce())
    assert bits(model) == expected


def test_a_model_of_weighted_rows_is_saved(store, rng, tmp_path):
    weights = rng.random(600)
    model = fit_model(KMeans(3, random_state=0), store, tmp_path / "m", sample_weight=weights)
    again = load_model(tmp_path / "m")
    np.testing.assert_array_equal(again.cluster_sizes_, model.cluster_sizes_)
    with pytest.raises(Exception, match="weights"):
        fit_model(
            KMeans(3, random_state=0), store, tmp_path / "m", resume=True, sample_weight=weights * 3
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, 2.0], r"sample_weight.shape == \(2,\), expected \(600,\)"),
        (-1.0, "sample_weight of row 0 is -1.0"),
        (np.r_[np.ones(599), np.nan], "sample_weight of row 599 is nan"),
        (np.r_[np.inf, np.ones(599)], "sample_weight of row 0 is inf"),
        (np.zeros(600), "all sample weights are zero"),
        (["a"] * 600, "sample_weight: could not convert"),
    ],
)
def test_bad_weights(rows, given, message):
    with pytest.raises(InputError, match=message):
        KMeans(2).fit(rows, sample_weight=given)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(any))
@CHECK
def test_whole_weights_are_near(weights):
    found, unit = whole_weights(weights, len(weights), "X")
    found = np.ones(len(weights)) if found is None else found
    assert found.max() < 2**38
    assert found.sum() < 2**53
    np.testing.assert_allclose(np.ldexp(found.astype(float), unit), weights,
                               atol=max(weights) * 2.0**-37, rtol=0)  # fmt: skip


def test_ones_are_no_weights(rows):
    assert whole_weights(np.ones(5), 5, "X") == (None, 0)
    plain = bits(KMeans(3, random_state=0).fit(rows))
    assert bits(KMeans(3, random_state=0).fit(rows, sample_weight=1.0)) == plain
