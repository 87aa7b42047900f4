"""What a model says of a store: its labels on disk, and scores equal to scikit-learn's."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from idx_files import write_idx
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from daskcluster import (
    InputError,
    KMeans,
    StoreError,
    convert_idx,
    convert_npy,
    gini_index,
    open_store,
    purity_score,
)
from daskcluster.assess import evaluate, open_labels, predict_labels, predict_parquet
from daskcluster.assess.summary import summarize
from daskcluster.engine import Silent
from daskcluster.errors import DaskClusterError
from daskcluster.store import Build

WIDE = 16_384  # features of which a grain holds 32 rows
SCORES = (
    "purity", "gini", "ari", "nmi", "homogeneity", "completeness", "v_measure", "fowlkes_mallows",
)  # fmt: skip


def tree(folder):
    """Every file below a folder with its bytes, and every folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(Path(folder).rglob("*"))
    }


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    data = load_digits()
    write_idx(folder / "rows", data.images.astype(np.uint8))
    write_idx(folder / "labels", data.target.astype(np.uint8))
    store = convert_idx(folder / "rows", folder / "s", labels=folder / "labels")
    convert_idx(folder / "rows", folder / "bare")
    return store, KMeans(10, random_state=0).fit(store), data


@pytest.fixture
def chunked(tmp_path):
    """A store of four chunks, and a model of it."""
    rows = np.zeros((110, WIDE), dtype=np.uint8)
    rows[:, ::64] = np.random.default_rng(0).integers(0, 256, size=rows[:, ::64].shape)
    store = convert_idx(write_idx(tmp_path / "rows", rows), tmp_path / "s", rows_per_chunk=32)
    return store, KMeans(4, random_state=0, max_iter=3).fit(store), rows


@pytest.mark.parametrize("ask", [evaluate, predict_labels, predict_parquet])
def test_a_model_that_was_not_fitted(tmp_path, digits, ask):
    more = () if ask is evaluate else (tmp_path / "out",)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        ask(KMeans(10), digits[0], *more)
    assert not list(tmp_path.iterdir())


def test_labels_on_disk(tmp_path, chunked):
    store, model, rows = chunked
    facts = predict_labels(model, store, tmp_path / "out")
    labels = open_labels(tmp_path / "out")
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, model.predict(rows))
    np.testing.assert_array_equal(labels, model.predict(store).compute())
    assert facts["n_rows"] == 110
    assert facts["n_clusters"] == 4
    assert facts["cluster_sizes"] == np.bincount(labels, minlength=4).tolist()
    assert facts["passes"] == 1
    array = zarr.open_array(facts["array"], mode="r")
    np.testing.assert_array_equal(array[:], labels)
    assert array.nchunks_initialized == array.nchunks
    # A writer's blocks are whole chunks.
    assert array.chunks[0] % store.info.rows_per_chunk == 0
    metadata = json.loads((Path(facts["array"]) / "zarr.json").read_text())
    assert metadata["codecs"][-1]["name"] == "crc32c"


def test_labels_by_worker_processes(tmp_path, chunked, client):
    store, model, rows = chunked
    predict_labels(model, store, tmp_path / "out")
    np.testing.assert_array_equal(open_labels(tmp_path / "out"), model.predict(rows))
    assert evaluate(model, store)["inertia"] == -model.score(rows)


def test_samples_by_worker_processes(chunked, client, monkeypatch, tmp_path):
    _, model, rows = chunked
    model.save(tmp_path / "model")
    there = summarize(tmp_path / "model").assessed
    monkeypatch.setattr("daskcluster.engine.session.active_client", lambda: None)
    here = summarize(tmp_path / "model").assessed
    assert there.scores == here.scores
    for j, sides in here.examples.items():
        assert [len(side) for side in sides] == [min(model.cluster_sizes_[j], 5)] * 2
        for side, other in zip(sides, there.examples[j], strict=True):
            assert [(x.row, x.margin) for x in side] == [(x.row, x.margin) for x in other]
            for example in side:
                np.testing.assert_array_equal(example.values, rows[example.row])


def test_a_block_of_cluster_zero_alone_is_written(tmp_path):
    rows = np.zeros((100, WIDE), dtype=np.uint8)
    rows[90:] = 200
    store = convert_idx(write_idx(tmp_path / "r", rows), tmp_path / "s", rows_per_chunk=32)
    model = KMeans(2, init=rows[[0, 99]]).fit(store)
    predict_labels(model, store, tmp_path / "out")
    np.testing.assert_array_equal(open_labels(tmp_path / "out"), np.repeat([0, 1], [90, 10]))


def test_overwriting_labels(tmp_path, chunked):
    store, model, rows = chunked
    predict_labels(model, store, tmp_path / "out")
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="--overwrite"):
        predict_labels(model, store, tmp_path / "out")
    assert tree(tmp_path) == before
    other = KMeans(2, random_state=3, max_iter=2).fit(store)
    predict_labels(other, store, tmp_path / "out", overwrite=True)
    np.testing.assert_array_equal(open_labels(tmp_path / "out"), other.predict(rows))
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_labels_never_replace_anything_else(tmp_path, chunked, overwrite):
    store, model, _ = chunked
    model.save(tmp_path / "model")
    zarr.create_group(str(tmp_path / "theirs"), attributes={"theirs": 1})
    convert_idx(tmp_path / "rows", tmp_path / "other")
    before = tree(tmp_path)
    for name in ("s", "other", "model", "theirs", "rows"):
        with pytest.raises(StoreError, match="another place"):
            predict_labels(model, store, tmp_path / name, overwrite=overwrite)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("step", ["create_array", "write", "seal"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("old", [False, True])
def test_a_prediction_that_ends_early_goes_on(tmp_path, chunked, monkeypatch, step, error, old):
    store, model, _ = chunked
    whole = predict_labels(model, store, tmp_path / "whole")
    if old:
        predict_labels(KMeans(2, random_state=0).fit(store), store, tmp_path / "out")
    before, calls, real = tree(tmp_path), [], getattr(Build, step)

    def fail(*args, **kwargs):
        calls.append(args)
        if len(calls) > (step == "write"):  # one chunk is written
            raise error("it failed")
        real(*args, **kwargs)

    monkeypatch.setattr(Build, step, fail)
    with pytest.raises(DaskClusterError if error is OSError else error, match="it failed"):
        predict_labels(model, store, tmp_path / "out", overwrite=True)
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    monkeypatch.undo()
    found = predict_labels(model, store, tmp_path / "out", resume=True)
    assert found["cluster_sizes"] == whole["cluster_sizes"]
    assert open_labels(tmp_path / "out").tobytes() == open_labels(tmp_path / "whole").tobytes()
    assert found["passes"] < 1 or step == "create_array"
    again = predict_labels(model, store, tmp_path / "out", resume=True)
    assert (again["cluster_sizes"], again["passes"]) == (found["cluster_sizes"], 0)


def test_a_prediction_of_another_model_is_not_gone_on_with(tmp_path, chunked):
    store, model, _ = chunked
    predict_labels(model, store, tmp_path / "out")
    other = KMeans(2, random_state=0).fit(store)
    with pytest.raises(StoreError, match="centers was"):
        predict_labels(other, store, tmp_path / "out", resume=True)


def test_what_holds_no_labels(tmp_path, chunked):
    for place in ("s", "missing", "rows"):
        with pytest.raises(InputError, match=place):
            open_labels(tmp_path / place)
    store, model, _ = chunked
    predict_labels(model, store, tmp_path / "out")
    file = tmp_path / "out/zarr.json"
    sound = json.loads(file.read_text())
    for name in ("build", "n_rows", "format"):
        for value in (None, "x", -1.5):
            changed = json.loads(json.dumps(sound))
            changed["attributes"]["daskcluster"][name] = value
            file.write_text(json.dumps(changed))
            with pytest.raises(InputError, match="out"):
                open_labels(tmp_path / "out")


def test_scores_are_those_of_scikit_learn(digits):
    store, model, data = digits
    found = evaluate(model, store)
    labels, true = model.labels_.compute(), data.target
    expected = {
        "purity": purity_score(true, labels),
        "gini": gini_index(true, labels),
        "ari": metrics.adjusted_rand_score(true, labels),
        "nmi": metrics.normalized_mutual_info_score(true, labels),
        "homogeneity": metrics.homogeneity_score(true, labels),
        "completeness": metrics.completeness_score(true, labels),
        "v_measure": metrics.v_measure_score(true, labels),
        "fowlkes_mallows": metrics.fowlkes_mallows_score(true, labels),
    }
    for name in SCORES:
        assert found[name] == pytest.approx(expected[name], rel=1e-12)
    table = metrics.cluster.contingency_matrix(labels, true)
    np.testing.assert_array_equal(found["contingency"], table)
    assert found["class_names"] == [str(c) for c in range(10)]
    assert found["inertia"] == model.inertia_ == -model.score(store)
    assert (found["n_rows"], found["n_clusters"]) == (1797, 10)
    X = data.data
    direct = ((X - model.cluster_centers_[labels]) ** 2).sum()
    assert found["inertia"] == pytest.approx(direct, rel=1e-12)


def test_a_store_without_labels_has_no_such_scores(digits):
    store, model, _ = digits
    found = evaluate(model, Path(store.path).parent / "bare")
    assert found["inertia"] == model.inertia_
    for name in (*SCORES, "contingency", "class_names"):
        assert found[name] is None


def test_rows_of_unknown_class_are_left_out(tmp_path, chunked):
    _, model, rows = chunked
    true = (np.arange(110) % 3).astype(np.int32)
    np.save(tmp_path / "true.npy", true)
    store = convert_idx(
        tmp_path / "rows", tmp_path / "l", labels=tmp_path / "true.npy", rows_per_chunk=32
    )
    # As a tool that writes every chunk does.
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.open_array(f"{store.path}/build-{store.info.build}/labels", mode="r+")
    known = np.ones(110, dtype=bool)
    known[[0, 5, 40, 109]] = False
    array[:] = np.where(known, true, -1)
    found, labels = evaluate(model, store), model.predict(rows)
    assert found["n_rows"] == 110
    assert found["inertia"] == -model.score(rows)
    assert np.sum(found["contingency"]) == 106
    assert found["purity"] == purity_score(true[known], labels[known])
    assert found["ari"] == pytest.approx(
        metrics.adjusted_rand_score(true[known], labels[known]), rel=1e-12
    )
    array[:] = -1
    found = evaluate(model, store)
    assert all(found[name] is None for name in SCORES)
    assert np.sum(found["contingency"]) == 0


def test_progress_is_told(tmp_path, chunked):
    store, model, _ = chunked
    titles = []

    class Watch(Silent):
        def rows(self, title, done, total):
            titles.append(title)

    predict_labels(model, store, tmp_path / "out", progress=Watch())
    evaluate(model, store, progress=Watch())
    assert set(titles) == {"predict", "check", "evaluate", "silhouette"}


def test_a_model_of_other_features(tmp_path, digits):
    _, model, _ = digits
    np.save(tmp_path / "rows.npy", np.eye(5))
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "s")
    before = tree(tmp_path)
    for call in (lambda: evaluate(model, store),
                 lambda: predict_labels(model, store, tmp_path / "out")):  # fmt: skip
        with pytest.raises(InputError, match="5 features, the model 64"):
            call()
    assert tree(tmp_path) == before
    assert open_store(store.path).info.n_features == 5
