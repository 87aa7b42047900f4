"""Standardized columns, and rows of unit length: spherical k-means."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler, normalize
from strategies import CHECK, tables

from daskcluster import (
    InputError,
    KMeans,
    SoftKMeans,
    convert_npy,
    evaluate,
    load_model,
    open_labels,
    predict_labels,
)
from daskcluster.kernels.rowmaps import UnitLength, unit_rows
from daskcluster.kernels.sparse import SparseRows


@pytest.fixture(scope="module")
def digits():
    return load_digits().data.astype(np.uint8)


@pytest.fixture(scope="module")
def store(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    np.save(folder / "rows.npy", digits)
    return convert_npy(folder / "rows.npy", folder / "s.zarr", rows_per_chunk=1)


@given(st.data())
@CHECK
def test_rows_of_unit_length(data):
    table = data.draw(tables())
    rows = UnitLength()(table)
    lengths = np.sqrt(np.square(rows).sum(axis=1))
    np.testing.assert_allclose(lengths, (table != 0).any(axis=1), rtol=1e-14)
    thin = UnitLength()(SparseRows.of(sparse.csr_array(table)))
    np.testing.assert_allclose(np.asarray(thin), rows, rtol=1e-14, atol=1e-300)


def spherical(X, centers):
    """Spherical k-means to the fixed point, in plain NumPy."""
    X = normalize(X.astype(np.float64))
    centers = normalize(centers.astype(np.float64))
    labels = None
    while True:
        found = (X @ centers.T).argmax(axis=1)
        if labels is not None and (found == labels).all():
            return labels, centers
        labels = found
        sums = np.stack([X[labels == k].sum(axis=0) for k in range(len(centers))])
        centers = normalize(sums)


@pytest.mark.parametrize("kind", ["array", "sparse", "store"])
def test_cosine_is_spherical_k_means(digits, store, kind):
    init = digits[:10]
    wanted, centers = spherical(digits, init)
    X = {"array": digits, "sparse": sparse.csr_array(digits), "store": store}[kind]
    model = KMeans(10, metric="cosine", init=init, tol=0, max_iter=1000).fit(X)
    labels = np.asarray(model.labels_)
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_allclose(model.cluster_centers_, centers, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1, rtol=1e-15)
    cosines = (normalize(digits.astype(float)) * centers[wanted]).sum(axis=1)
    assert model.inertia_ == pytest.approx(2 * (1 - cosines).sum(), rel=1e-12)
    np.testing.assert_array_equal(np.asarray(model.predict(X)), wanted)
    assert model.score(X) == pytest.approx(-model.inertia_, rel=1e-12)
    np.testing.assert_array_equal(model.predict(7 * digits.astype(np.int32)), wanted)


@pytest.mark.parametrize("kind", [KMeans, SoftKMeans])
@pytest.mark.parametrize("from_store", [False, True])
def test_standardized_columns_are_kept_in_the_model(digits, store, tmp_path, kind, from_store):
    scaler = StandardScaler().fit(digits)
    scaled = scaler.transform(digits)
    init = scaled[:6]
    X = store if from_store else digits
    model = kind(6, standardize=True, init=init, max_iter=20).fit(X)
    wanted = kind(6, init=init, max_iter=20).fit(scaled)
    # Ours are exact and rounded once; scikit-learn's are sums of floats.
    np.testing.assert_allclose(model.mean_, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(model.scale_, scaler.scale_, rtol=1e-12)
    np.testing.assert_allclose(model.cluster_centers_, wanted.cluster_centers_, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(model.labels_), wanted.labels_)
    model.save(tmp_path / "m")
    model = load_model(tmp_path / "m")
    np.testing.assert_array_equal(model.predict(digits), wanted.labels_)
    np.testing.assert_allclose(model.transform(digits), wanted.transform(scaled), atol=1e-6)
    predict_labels(model, store, tmp_path / "labels")
    np.testing.assert_array_equal(open_labels(tmp_path / "labels"), wanted.labels_)
    found = evaluate(model, store)
    assert found["inertia"] == pytest.approx(wanted.inertia_, rel=1e-6)
    if kind is SoftKMeans:
        np.testing.assert_allclose(
            model.predict_proba(digits), wanted.predict_proba(scaled), atol=1e-4
        )


def test_what_does_not_go_together(digits):
    with pytest.raises(InputError, match="choose one"):
        KMeans(3, metric="cosine", standardize=True).fit(digits)
    with pytest.raises(InputError, match="metric='manhattan'"):
        KMeans(3, metric="manhattan").fit(digits)
    with pytest.raises(InputError, match="standardize='yes' should be True or False"):
        KMeans(3, standardize="yes").fit(digits)
    with pytest.raises(InputError, match="sparse rows cannot be standardized"):
        KMeans(3, standardize=True).fit(sparse.csr_array(digits))


def test_unit_rows_of_any_size():
    rows = np.array([[3e-200, 4e-200], [3e150, 4e150], [0.0, 0.0]])
    np.testing.assert_allclose(unit_rows(rows), [[0.6, 0.8], [0.6, 0.8], [0, 0]], rtol=1e-15)
