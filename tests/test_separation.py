"""Scores without classes against scikit-learn's, for every kind of rows and labels."""

import math
from fractions import Fraction

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn import metrics
from sklearn.datasets import load_digits
from strategies import CHECK

from daskcluster import (
    InputError,
    KMeans,
    calinski_harabasz_score,
    convert_npy,
    davies_bouldin_score,
    evaluate,
    predict_labels,
    silhouette_score,
)


def theirs(X, labels):
    X = np.asarray(X, dtype=np.float64)
    return (
        metrics.silhouette_score(X, labels, metric="sqeuclidean"),
        metrics.calinski_harabasz_score(X, labels),
        metrics.davies_bouldin_score(X, labels),
    )


def ours(X, labels):
    functions = (silhouette_score, calinski_harabasz_score, davies_bouldin_score)
    return tuple(function(X, labels) for function in functions)


@pytest.fixture(scope="module")
def digits():
    return load_digits().data.astype(np.uint8)


@pytest.fixture(scope="module")
def labels(digits):
    return KMeans(10, random_state=0).fit(digits).labels_


@pytest.fixture(scope="module")
def store(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    np.save(folder / "rows.npy", digits)
    return convert_npy(folder / "rows.npy", folder / "rows.zarr", rows_per_chunk=1)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_digits_equal_scikit_learn(digits, labels, dtype):
    X = digits.astype(dtype)
    np.testing.assert_allclose(ours(X, labels), theirs(X, labels), rtol=1e-9)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_rows_have_the_scores_of_dense_ones(digits, labels, kind):
    X = digits[:300].astype(np.float64)
    np.testing.assert_allclose(ours(kind(X), labels[:300]), theirs(X, labels[:300]), rtol=1e-9)
    with pytest.raises(InputError, match="rows of features are needed"):
        silhouette_score(kind((0, 3)), [])


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e7])
def test_an_offset_costs_no_digits(offset, rng):
    X = np.concatenate([rng.normal(i, 1, (80, 4)) for i in range(4)]) + offset
    labels = np.repeat(np.arange(4), 80)
    wanted = theirs(X - offset, labels)
    # The offset itself rounds the rows.
    np.testing.assert_allclose(ours(X, labels), wanted, rtol=max(1e-9, offset * 1e-14))


def test_centroids_at_one_place_are_left_out():
    X = np.array([[-1, 0], [1, 0], [0, -3], [0, 3], [7, 1], [7, 2]]) / 1.0
    labels = np.array([0, 0, 1, 1, 2, 2])
    assert davies_bouldin_score(X, labels) == pytest.approx(_davies_bouldin(X, labels), rel=1e-12)


@given(st.data())
@CHECK
def test_any_labels_equal_scikit_learn(data):
    n = data.draw(st.integers(3, 40))
    rows = st.lists(st.integers(-3, 3), min_size=2, max_size=2)
    X = np.array(data.draw(st.lists(rows, min_size=n, max_size=n)), dtype=np.float64)
    labels = np.array(data.draw(st.lists(st.integers(-5, 5), min_size=n, max_size=n)))
    k = len(np.unique(labels))
    if not 2 <= k < n:
        with pytest.raises(InputError, match=f"{k} clusters of {n} rows"):
            silhouette_score(X, labels)
        return
    wanted = theirs(X, labels)
    if _centroids_coincide(X, labels):
        # scikit-learn leaves out centroids at distance 0, and takes their rounding for a distance.
        wanted = (*wanted[:2], _davies_bouldin(X, labels))
    np.testing.assert_allclose(ours(X, labels), wanted, rtol=1e-9, atol=1e-12)


def _exact_centroids(X, labels):
    clusters = [X[labels == label].astype(int) for label in np.unique(labels)]
    return [[Fraction(int(s), len(rows)) for s in rows.sum(axis=0)] for rows in clusters]


def _centroids_coincide(X, labels):
    centroids = {tuple(centroid) for centroid in _exact_centroids(X, labels)}
    return len(centroids) < len(np.unique(labels))


def _davies_bouldin(X, labels):
    """By the definition, centroids in rational arithmetic; those that coincide are left out."""
    centroids = _exact_centroids(X, labels)

    def apart(a, b):
        return math.sqrt(sum((Fraction(x) - Fraction(y)) ** 2 for x, y in zip(a, b, strict=True)))

    extents = [
        np.mean([apart(map(int, row), centroid) for row in X[labels == label]])
        for label, centroid in zip(np.unique(labels), centroids, strict=True)
    ]
    worst = [
        max(
            (s + t) / apart(a, b) if a != b else 0.0
            for b, t in zip(centroids, extents, strict=True)
        )
        for a, s in zip(centroids, extents, strict=True)
    ]
    return float(np.mean(worst))


def test_every_kind_of_rows_and_labels(digits, labels, store, client, tmp_path):
    wanted = theirs(digits, labels)
    array = zarr.create_array(tmp_path / "raw.zarr", data=digits, chunks=(500, 64))
    for X in (digits.tolist(), store, store.path, array, da.from_array(digits, chunks=(300, 64))):
        np.testing.assert_allclose(ours(X, labels), wanted, rtol=1e-9)
    lazy = da.from_array(labels, chunks=100)
    np.testing.assert_allclose(ours(store, lazy), wanted, rtol=1e-9)
    model = KMeans(10, random_state=0).fit(store)
    predict_labels(model, store, tmp_path / "labels.zarr")
    np.testing.assert_allclose(ours(store, tmp_path / "labels.zarr"), wanted, rtol=1e-9)


@pytest.mark.parametrize("max_iter", [3, 300])
def test_evaluate_scores_its_own_labels(digits, store, max_iter):
    model = KMeans(10, random_state=0, max_iter=max_iter).fit(store)
    found = evaluate(model, store)
    names = ("silhouette", "calinski_harabasz", "davies_bouldin")
    wanted = theirs(digits, model.predict(digits))
    np.testing.assert_allclose([found[name] for name in names], wanted, rtol=1e-9)
    assert found["passes"] == 1  # the second time from memory


def test_one_cluster_has_no_such_score(store):
    found = evaluate(KMeans(1).fit(store), store)
    assert found["silhouette"] is found["calinski_harabasz"] is found["davies_bouldin"] is None


@pytest.mark.parametrize(
    "labels", [[0, 1], [0.5] * 1797, np.zeros((1797, 1), dtype=int), ["a"] * 1797]
)
def test_labels_that_are_none(digits, labels):
    with pytest.raises(InputError, match="1797 integers are needed"):
        silhouette_score(digits, labels)


def test_no_bit_depends_on_chunks(digits, labels, store, tmp_path):
    np.save(tmp_path / "rows.npy", digits)
    whole = convert_npy(tmp_path / "rows.npy", tmp_path / "whole.zarr", rows_per_chunk=10_000)
    assert ours(digits, labels) == ours(store, labels) == ours(whole, labels)
