"""Models on disk: read back as they were, nothing pickled, nothing damaged or foreign let in."""

import hashlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import daskcluster.fit.model
from daskcluster import KMeans, ModelError, convert_npy, load_model
from daskcluster.fit.model import read_model

X = np.random.default_rng(0).normal(size=(60, 4)) * [1, 1e-3, 1e3, 1]
FITTED = (
    "inertia_", "n_iter_", "converged_", "history_", "passes_", "seconds_", "seed_", "build_",
    "dtype_", "n_samples_", "n_features_in_", "source_", "sample_shape_",
)  # fmt: skip


def tree(folder):
    """Every file below a folder with its bytes, and every folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(Path(folder).rglob("*"))
    }


def assert_same(a, b):
    assert a.cluster_centers_.tobytes() == b.cluster_centers_.tobytes()
    np.testing.assert_array_equal(a.cluster_sizes_, b.cluster_sizes_)
    for name in FITTED:
        assert getattr(a, name) == getattr(b, name)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    np.testing.assert_array_equal(a.transform(X), b.transform(X))
    assert a.score(X) == b.score(X)
    assert list(a.get_feature_names_out()) == list(b.get_feature_names_out())


@pytest.fixture
def fitted():
    return KMeans(3, random_state=4, tol=0).fit(X)


@pytest.fixture
def saved(tmp_path, fitted):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"random_state": 1, "init": "random", "n_init": 3, "max_iter": 2, "tol": 0.5},
        {"random_state": np.random.RandomState(0), "memory_budget": "1GB"},
        {"n_clusters": np.int64(3), "tol": np.float32(0.25), "random_state": np.int32(3)},
    ],
)
def test_round_trip(tmp_path, options):
    model = KMeans(**{"n_clusters": 3} | options).fit(X)
    model.save(tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert_same(model, loaded)
    params = model.get_params() | {"random_state": model.seed_}
    assert loaded.get_params() == params
    again = clone(loaded).fit(X)
    assert again.history_ == model.history_
    assert again.inertia_ == model.inertia_
    assert again.cluster_centers_.tobytes() == model.cluster_centers_.tobytes()


def test_round_trip_of_a_fit_from_a_store(tmp_path):
    np.save(tmp_path / "rows.npy", X.reshape(60, 2, 2))
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "s")
    model = KMeans(3, random_state=0).fit(store)
    model.save(tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert_same(model, loaded)
    assert loaded.build_ == store.info.build
    assert loaded.source_ == store.path
    assert loaded.sample_shape_ == (2, 2)
    np.testing.assert_array_equal(loaded.predict(store).compute(), model.labels_.compute())


@pytest.mark.parametrize("init", [X[:3], lambda X, k, random_state: X[:k]])
def test_initial_centres_are_named_not_stored(tmp_path, init):
    KMeans(3, init=init).fit(X).save(tmp_path / "m")
    assert read_model(tmp_path / "m")["params"]["init"] in ("array", "callable")
    load_model(tmp_path / "m").fit(X)


def test_what_is_on_disk(saved, fitted):
    centers, description = sorted(p.name for p in saved.iterdir())
    assert description == "model.json"
    np.testing.assert_array_equal(
        np.load(saved / centers, allow_pickle=False), fitted.cluster_centers_
    )
    described = read_model(saved)
    assert described["format"] == "daskcluster-model"
    assert described["params"]["n_clusters"] == 3
    assert described["fitted"]["history_"] == fitted.history_
    assert {"numpy", "python", "daskcluster"} <= set(described["versions"])
    assert {"system", "processor", "cores", "memory"} == set(described["machine"])
    json.loads(Path(saved, "model.json").read_text(), parse_constant=pytest.fail)


def test_an_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        KMeans(3).save(tmp_path / "m")
    assert tree(tmp_path) == {}


def test_pickle_and_clone(saved, fitted):
    for model in (fitted, load_model(saved)):
        assert_same(model, pickle.loads(pickle.dumps(model)))
        assert not hasattr(clone(model), "cluster_centers_")
        assert clone(model).get_params() == model.get_params()


def test_overwriting(saved, fitted):
    before = tree(saved)
    other = KMeans(5, random_state=0).fit(X)
    with pytest.raises(ModelError, match="--overwrite"):
        other.save(saved)
    assert tree(saved) == before
    (saved / "note.txt").write_text("mine")
    other.save(saved, overwrite=True)
    assert_same(load_model(saved), other)
    assert len(list(saved.glob("centers-*.npy"))) == 1
    assert (saved / "note.txt").read_text() == "mine"
    other.save(saved, overwrite=True)
    assert_same(load_model(saved), other)


@pytest.mark.parametrize("fail_at", [1, 2])
@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [True, False])
def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch, fitted, fail_at, error, old):
    path = tmp_path / "deep/er/model"
    if old:
        fitted.save(path)
    before = tree(tmp_path)
    calls, write = [], daskcluster.fit.model.write_atomically

    def fail(*args):
        calls.append(args)
        if len(calls) == fail_at:
            raise error
        write(*args)

    monkeypatch.setattr(daskcluster.fit.model, "write_atomically", fail)
    with pytest.raises(type(error)):
        KMeans(5, random_state=0).fit(X).save(path, overwrite=True)
    assert tree(tmp_path) == before


def test_a_disk_that_fails_within_a_file(tmp_path, monkeypatch, fitted):
    def fail(*args):
        raise OSError("full")

    monkeypatch.setattr(daskcluster.fit.model.os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        fitted.save(tmp_path / "m")
    assert tree(tmp_path) == {}


def folder_of_others(path):
    path.mkdir()
    (path / "letter.txt").write_text("dear")


@pytest.mark.parametrize("overwrite", [True, False])
def test_what_is_foreign_is_never_replaced(tmp_path, fitted, overwrite):
    folder_of_others(tmp_path / "a")
    (tmp_path / "b").write_text("dear")
    before = tree(tmp_path)
    for name in ("a", "b", "b/c"):
        with pytest.raises(ModelError, match=name):
            fitted.save(tmp_path / name, overwrite=overwrite)
    assert tree(tmp_path) == before
    (tmp_path / "empty").mkdir()
    fitted.save(tmp_path / "empty")
    assert_same(load_model(tmp_path / "empty"), fitted)


def change(saved, edit):
    file = saved / "model.json"
    description = json.loads(file.read_text())
    edit(description)
    file.write_text(json.dumps(description))


def put_centers(saved, content, name=None):
    """Replace the centres, digest and all, as somebody with intent would."""

    def edit(description):
        entry = description["centers"]
        entry["file"] = name or entry["file"]
        entry["sha256"] = hashlib.sha256(content).hexdigest()
        (saved / entry["file"]).write_bytes(content)

    change(saved, edit)


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def npz():
    stream = io.BytesIO()
    np.savez(stream, a=np.ones((3, 4)))
    return stream.getvalue()


BAD_CENTERS = {
    "pickled array": npy(np.array([[Bomb()] * 4] * 3, dtype=object), allow_pickle=True),
    "pickle": pickle.dumps(Bomb()),
    "npz": npz(),
    "empty": b"",
    "text": b"dear",
    "cut short": npy(np.ones((3, 4)))[:-8],
    "float32": npy(np.ones((3, 4), dtype=np.float32)),
    "one dimension": npy(np.ones(12)),
    "other k": npy(np.ones((4, 4))),
    "other features": npy(np.ones((3, 5))),
    "nan": npy(np.full((3, 4), np.nan)),
}


@pytest.mark.parametrize("content", BAD_CENTERS.values(), ids=BAD_CENTERS)
def test_bad_centres(saved, content):
    put_centers(saved, content)
    with pytest.raises(ModelError, match="fit again"):
        load_model(saved)


def test_a_digest_that_differs(saved):
    (file,) = saved.glob("centers-*.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"centers-.*digest.*fit again"):
        load_model(saved)
    file.unlink()
    with pytest.raises(ModelError, match="fit again"):
        load_model(saved)


@pytest.mark.parametrize("name", ["../x.npy", "sub/../../x.npy", "..", ".", "", "a/b.npy", "/x"])
def test_centres_elsewhere_are_not_read(saved, name):
    content = npy(np.ones((3, 4)))
    (saved.parent / "x.npy").write_bytes(content)

    def edit(description):
        entry = {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
        description["centers"] = entry

    change(saved, edit)
    with pytest.raises(ModelError):
        load_model(saved)


def paths(value, path=()):
    for key in value:
        yield (*path, key)
        if isinstance(value[key], dict) and key != "versions":
            yield from paths(value[key], (*path, key))


def at(description, path):
    for key in path:
        description = description[key]
    return description


def test_missing_and_wrong_values(saved):
    file = saved / "model.json"
    sound = file.read_text()
    for path in paths(json.loads(sound)):
        if path[0] in ("versions", "machine", "created", "estimator", "about"):
            continue
        description = json.loads(sound)
        del at(description, path[:-1])[path[-1]]
        file.write_text(json.dumps(description))
        if path[0] == "params" and len(path) == 2 and path[1] not in ("n_clusters", "init"):
            load_model(saved)  # an option's default stands in
            continue
        if path == ("fitted", "init_"):
            assert load_model(saved).init_ == description["params"]["init"]  # as before 0.5
            continue
        with pytest.raises(ModelError):
            load_model(saved)
    for path, value in (
        (("params",), []), (("params",), None), (("params", "n_clusters"), 4),
        (("params", "unknown"), 1), (("fitted",), 3), (("fitted", "n_features_in_"), 5),
        (("fitted", "cluster_sizes_"), [1, 2]), (("fitted", "cluster_sizes_"), ["a", "b", "c"]),
        (("fitted", "sample_shape_"), 7), (("centers",), []), (("centers",), None),
        (("centers", "file"), 7), (("centers", "sha256"), None), (("format",), "other"),
        (("format_version",), 2),
    ):  # fmt: skip
        description = json.loads(sound)
        at(description, path[:-1])[path[-1]] = value
        file.write_text(json.dumps(description))
        with pytest.raises(ModelError):
            load_model(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"format": 1}', "\x00\xff", "NaN"])
def test_what_is_no_model_json(saved, text):
    (saved / "model.json").write_text(text)
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(saved)


def test_what_is_no_model(tmp_path):
    (tmp_path / "file").write_text("dear")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder", "missing"):
        with pytest.raises(ModelError, match=r"not a daskcluster model.*daskcluster fit"):
            load_model(tmp_path / name)
    (tmp_path / "folder/model.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path / "folder")
