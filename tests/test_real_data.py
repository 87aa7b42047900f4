"""The notebook's figures on the real files; they are named by environment variables."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from daskcluster import (
    KMeans,
    SoftKMeans,
    calinski_harabasz_score,
    convert_idx,
    davies_bouldin_score,
    silhouette_score,
)
from daskcluster.assess import evaluate
from daskcluster.seeding import take_rows

VARIABLES = {"mnist": "MNIST_DATA_PATH", "fashion-mnist": "FASHION_MNIST_DATA_PATH"}
REFERENCE = Path(__file__).parent / "data"


def _folder(name):
    given = os.environ.get(VARIABLES[name])
    if not given:
        pytest.skip(f"{VARIABLES[name]} is not set")
    return Path(given)


def _file(folder, stem):
    found = [p for p in (folder / stem, folder / f"{stem}.gz") if p.exists()]
    assert found, f"{folder} holds neither {stem} nor {stem}.gz"
    return found[0]


@pytest.fixture(scope="module", params=VARIABLES)
def real(request, tmp_path_factory):
    """A name and the store of its 60,000 training images."""
    folder = _folder(request.param)
    images = _file(folder, "train-images-idx3-ubyte")
    labels = _file(folder, "train-labels-idx1-ubyte")
    place = tmp_path_factory.mktemp("real") / "train.zarr"
    return request.param, convert_idx(images, place, labels=labels)


def _digest(labels):
    return hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()


def _start(name, k, start, store):
    reference = json.loads((REFERENCE / "hard_kmeans.json").read_text())[f"{name}_k{k}_{start}"]
    if start == "notebook_start":
        return np.load(REFERENCE / "notebook_starts.npz")[f"{name}_k{k}_init"], reference
    return _rows(store, reference["init_rows"]), reference


def _rows(store, indices):
    from daskcluster.fit.data import store_dataset  # noqa: PLC0415 - only here

    with store_dataset(store).session() as session:
        return take_rows(session, indices)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["notebook_start", "rows_start"])
@pytest.mark.parametrize("k", [5, 10])
def test_the_notebooks_figures(real, k, start):
    name, store = real
    init, reference = _start(name, k, start, store)
    model = KMeans(k, init=init, tol=0, max_iter=1000).fit(store)
    scores = evaluate(model, store)
    for field in ("inertia", "purity", "gini"):
        np.testing.assert_allclose(scores[field], reference[field], rtol=1e-12)
    assert scores["inertia"] == model.inertia_
    assert model.cluster_sizes_.tolist() == reference["cluster_sizes"]
    assert _digest(model.labels_.compute()) == reference["labels_sha256"]
    moved = sum(entry["shift"] > 0 for entry in model.history_)
    # The notebooks counted the step that led to their start.
    assert moved + (start == "notebook_start") == reference["updates_that_moved_a_centre"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "budget"), [("lloyd", None), ("hamerly", "10MB"), ("projection", "30MB")]
)
def test_every_algorithm_gives_the_notebooks_labels(real, algorithm, budget):
    name, store = real
    init, reference = _start(name, 10, "rows_start", store)
    model = KMeans(
        10, init=init, tol=0, max_iter=1000, algorithm=algorithm, memory_budget=budget
    ).fit(store)
    np.testing.assert_allclose(model.inertia_, reference["inertia"], rtol=1e-12)
    assert model.cluster_sizes_.tolist() == reference["cluster_sizes"]
    assert _digest(model.labels_.compute()) == reference["labels_sha256"]
    if algorithm == "hamerly":  # with a budget of a fifth of the data
        assert model.passes_ < 0.65 * model.n_iter_


SOFT = json.loads((REFERENCE / "soft_kmeans.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("place", [0])  # of five, which take five times as long
def test_the_soft_figures(real, place):
    name, store = real
    reference = [entry for entry in SOFT if entry["data"] == name][place]
    model = SoftKMeans(
        reference["k"], beta=reference["beta"], metric=reference["metric"], tol=1e-5,
        init=_rows(store, reference["init_rows"]), max_iter=100,
    ).fit(store)  # fmt: skip
    scores = evaluate(model, store)
    assert model.n_iter_ == reference["n_iter"]
    assert scores["purity"] == pytest.approx(reference["purity"], abs=0.0005)
    assert scores["gini"] == pytest.approx(reference["gini_soft"], abs=0.0005)
    largest = model.predict_proba(store).max(axis=1).mean().compute()
    assert largest == pytest.approx(reference["mean_max_resp"], abs=0.0005)


@pytest.mark.slow
def test_scores_without_classes_equal_scikit_learns(real):
    name, store = real
    # scikit-learn compares all pairs of them.
    rows = store.rows(0, 4_000 if name == "mnist" else 2_000)
    labels = KMeans(10, random_state=0, max_iter=20).fit(rows).labels_
    X = rows.astype(np.float64)
    for ours, theirs in (
        (
            silhouette_score(rows, labels),
            metrics.silhouette_score(X, labels, metric="sqeuclidean"),
        ),
        (calinski_harabasz_score(rows, labels), metrics.calinski_harabasz_score(X, labels)),
        (davies_bouldin_score(rows, labels), metrics.davies_bouldin_score(X, labels)),
    ):
        assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.slow
def test_twenty_clusters_which_the_notebooks_never_got(real):
    name, store = real
    # Plain NumPy takes its time.
    rows = store.rows(0, 10_000 if name == "mnist" else 5_000)
    init = rows[:: len(rows) // 20].astype(np.float64)
    model = KMeans(20, init=init, tol=0, max_iter=1000).fit(rows)
    centers, labels = _plain_lloyd(rows.astype(np.float64), init)
    assert model.converged_
    np.testing.assert_array_equal(np.asarray(model.labels_), labels)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-12, atol=1e-12)


def _plain_lloyd(X, centers):
    """Lloyd's algorithm in plain NumPy and float64, to the fixed point."""
    while True:
        labels = ((centers * centers).sum(axis=1) - X @ (2 * centers).T).argmin(axis=1)
        own = (labels == np.arange(len(centers))[:, np.newaxis]).astype(np.float64)
        new = (own @ X) / own.sum(axis=1, keepdims=True)  # sums of pixels are whole: exact
        if (new == centers).all():
            return centers, labels
        centers = new
