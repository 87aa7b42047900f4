"""What comes from strangers: nothing is unpickled, attributes are checked, names stay inside."""

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from daskcluster import (
    InputError,
    Interrupted,
    KMeans,
    ModelError,
    SoftKMeans,
    StoreError,
    convert_npy,
    convert_text,
    fit_model,
    load_model,
    load_sweep,
    open_labels,
    open_store,
    predict_labels,
    sweep,
)
from daskcluster.cli import main
from daskcluster.engine import Silent, connected
from daskcluster.files import write_atomically
from daskcluster.fit import stages
from daskcluster.fit.checkpoint import read_checkpoint
from daskcluster.kernels.exact import float_pieces
from daskcluster.schema import parse_json
from daskcluster.store.build import Build
from daskcluster.store.sparse import SparseReader

ROWS = np.arange(36, dtype=np.float64).reshape(12, 3) % 7


class Poison:
    """Whoever unpickles it makes a folder."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return os.mkdir, (self._path,)


def poisoned(path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([[Poison(path)] * 3] * 2, dtype=object), allow_pickle=True)
    return buffer.getvalue()


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return caught.value.code


@pytest.fixture
def store(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    return convert_npy(tmp_path / "rows.npy", tmp_path / "store", progress=Silent())


def test_poison_works(tmp_path):
    np.load(io.BytesIO(poisoned(tmp_path / "owned")), allow_pickle=True)
    assert (tmp_path / "owned").exists()


def test_arrays_that_are_pickles(tmp_path, store, capsys):
    owned, file = tmp_path / "owned", tmp_path / "bad.npy"
    file.write_bytes(poisoned(owned))
    with pytest.raises(InputError, match="object"):
        convert_npy(file, tmp_path / "new")
    for option in ("--init", "--weights"):
        assert run("fit", store.path, tmp_path / "m", "--k", 2, option, file) == 2
    assert not owned.exists()


def test_models_that_are_pickles(tmp_path):
    owned, model = tmp_path / "owned", tmp_path / "model"
    KMeans(2, random_state=0).fit(ROWS).save(model)
    replace_centers(model, poisoned(owned))
    with pytest.raises(ModelError, match="object"):
        load_model(model)
    assert not owned.exists()


def replace_centers(model, content):
    """Other centres, with the digest that the model then names."""
    (centers,) = model.glob("centers-*")
    centers.write_bytes(content)
    said = json.loads((model / "model.json").read_text())
    said["centers"]["sha256"] = hashlib.sha256(content).hexdigest()
    (model / "model.json").write_text(json.dumps(said))


def test_checkpoints_that_are_pickles(tmp_path):
    owned = tmp_path / "owned"
    with zipfile.ZipFile(tmp_path / "checkpoint.npz", "w") as archive:
        archive.writestr("checkpoint.json.npy", poisoned(owned))
    with pytest.raises(ModelError, match="--overwrite"):
        read_checkpoint(tmp_path)
    assert not owned.exists()


def test_centres_that_are_elsewhere(tmp_path):
    model = tmp_path / "model"
    KMeans(2, random_state=0).fit(ROWS).save(model)
    (centers,) = model.glob("centers-*")
    said = json.loads((model / "model.json").read_text())
    for name in (f"../{centers.name}", str(centers), "..", "", f"{centers.name}/", "centers-x.npy"):
        other = said | {"centers": said["centers"] | {"file": name}}
        (model / "model.json").write_text(json.dumps(other))
        with pytest.raises(ModelError, match="within the model"):
            load_model(model)


def test_models_of_a_sweep_that_are_elsewhere(tmp_path, store):
    sweep(KMeans(random_state=0), store, tmp_path / "sweep", n_clusters=[2])
    file = tmp_path / "sweep" / "sweep.json"
    sound = file.read_text()
    for name in ("../model", "/model", "k-2/../../model", "k-2-beta-/x", ""):
        file.write_text(sound.replace('"model": "k-2"', f'"model": "{name}"'))
        with pytest.raises(ModelError, match="the name of a model"):
            load_sweep(tmp_path / "sweep")


def change_attributes(path, **changes):
    file = path / "zarr.json"
    said = json.loads(file.read_text())
    said["attributes"]["daskcluster"] |= changes
    file.write_text(json.dumps(said))


@pytest.mark.parametrize("build", ["../other", "a/b", "x" * 12, "", "0123456789ab/.."])
def test_builds_that_are_elsewhere(tmp_path, store, build):
    predict_labels(KMeans(2, random_state=0).fit(store), store, tmp_path / "labels")
    change_attributes(Path(store.path), build=build)
    with pytest.raises(StoreError, match="the name of a build"):
        open_store(store.path)
    change_attributes(tmp_path / "labels", build=build)
    with pytest.raises(InputError, match="the name of a build"):
        open_labels(tmp_path / "labels")


def test_what_a_link_leads_to_is_not_deleted(tmp_path, store):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "letter").write_text("dear")
    (Path(store.path) / "build-0123456789ab").symlink_to(precious)
    Build(store.path, store.info.build, 12, 32, "lz4", None).delete_others()
    assert not (Path(store.path) / "build-0123456789ab").exists()
    assert (precious / "letter").read_text() == "dear"


def test_a_model_that_a_sweep_links_to_is_not_deleted(tmp_path, store):
    KMeans(2, random_state=0).fit(store).save(tmp_path / "model")
    sweep(KMeans(random_state=0), store, tmp_path / "sweep", n_clusters=[2])
    (tmp_path / "sweep" / "k-9").symlink_to(tmp_path / "model")
    sweep(KMeans(random_state=0), store, tmp_path / "sweep", n_clusters=[3], overwrite=True)
    assert not (tmp_path / "sweep" / "k-9").exists()
    load_model(tmp_path / "model")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "[" * 100_000, "9" * 5000])
def test_json_that_could_not_be_printed(value):
    with pytest.raises(ValueError, match=r"."):
        parse_json(f'{{"a": {value}}}' if "[" not in value else value + "]" * 100_000)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_rows": True}, {"n_rows": 2**64}, {"sample_shape": [3.0]}, {"sources": [1]},
        {"class_names": "ab"}, {"versions": {"zarr": 3}}, {"moments": []}, {"text": {"source": 1}},
        {"sparse": {"stored": -1, "width": 1}}, {"ids": "floats"}, {"columns": ["a", "b"]},
    ],
    ids=str,
)  # fmt: skip
def test_attributes_of_a_store(store, changes):
    change_attributes(Path(store.path), **changes)
    with pytest.raises(StoreError, match="damaged attributes"):
        open_store(store.path)


def test_options_of_text(tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(f'{{"text": "{text}"}}\n' for text in ("one fish", "two fish")))
    sound = convert_text(texts, tmp_path / "store")
    said = sound.info.text
    for lost, words in (("use_idf", "text.options.use_idf is missing"), ("ngram_range", "damaged")):
        options = {name: value for name, value in said["options"].items() if name != lost}
        change_attributes(tmp_path / "store", text=said | {"options": options})
        with pytest.raises(StoreError, match=words):
            convert_text(texts, tmp_path / "other", like=open_store(tmp_path / "store"))
        assert not (tmp_path / "other").exists()


def test_a_chunk_larger_than_its_file_can_hold(tmp_path, store):
    """What the metadata declares is not allocated before the file is looked at."""
    file = next(Path(store.path).glob("build-*/data/zarr.json"))
    said = json.loads(file.read_text())
    said["chunk_grid"]["configuration"]["chunk_shape"][0] = 1 << 40
    file.write_text(json.dumps(said))
    change_attributes(Path(store.path), rows_per_chunk=1 << 40)
    with pytest.raises(StoreError, match="more than it can hold"):
        open_store(store.path).rows(0, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_no_conversion_lets_pass(value):
    """Sums of exact pieces would go on for ever."""
    with pytest.raises(InputError, match="NaN or infinity"):
        float_pieces(np.array([[1.0, value]]), 20)


@pytest.mark.parametrize(
    ("ends", "columns"), [([1, 2], [0, 1]), ([0, 3], [0, 1]), ([0, 2], [0, 9]), ([0, 2], [-1, 0])]
)
def test_sparse_rows_that_lead_out_of_their_chunk(tmp_path, monkeypatch, ends, columns):
    """Compiled loops would follow them."""
    parts = {"data": np.ones(2), "indices": np.array(columns), "indptr": np.array(ends)}
    reader = SparseReader(str(tmp_path), "0" * 12, 1, 3, 4096)
    arrays = {
        name: SimpleNamespace(rows=lambda *_, x=x: x[np.newaxis]) for name, x in parts.items()
    }
    monkeypatch.setattr(SparseReader, "_arrays", arrays)
    with pytest.raises(StoreError, match="other columns"):
        reader.rows(0, 1)


class Stop(Silent):
    """Ends a fit in its second iteration, or the first: the state before is what is kept."""

    def __init__(self, iterations=2):
        self._left = iterations

    def event(self, kind, facts):
        self._left -= 1
        if not self._left:
            raise Interrupted("enough")


FITS = {
    "hard": KMeans(3, random_state=0, tol=0, init="random", n_init=1, max_iter=5),
    "soft": SoftKMeans(3, random_state=0, tol=0, init="random", n_init=1, max_iter=5),
    "seeds": KMeans(3, random_state=0, tol=0, max_iter=5),
    "parallel": KMeans(3, random_state=0, tol=0, init="k-means||", max_iter=5),
}


def states(value):
    """Every place of a state, as what holds it and its key."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from states(value[key])


@pytest.mark.parametrize("name", FITS)
def test_states_that_no_fit_comes_to(name, tmp_path):
    """Each value of a checkpoint in turn is of another type; arrays also of another shape."""
    iterations = 2 if name in ("hard", "soft") else 1
    with pytest.raises(Interrupted):
        fit_model(FITS[name], ROWS, tmp_path / "model", progress=Stop(iterations))
    file = tmp_path / "model" / "checkpoint.npz"
    sound = read_parts(file)
    n_places = len(list(states(sound[0]["state"])))
    assert n_places > 4
    for at in range(n_places):
        header, arrays = read_parts(file, sound)
        holder, key = list(states(header["state"]))[at]
        holder[key] = "other"
        write_parts(file, header, arrays)
        with pytest.raises(ModelError, match=r"checkpoint\.npz"):
            fit_model(FITS[name], ROWS, tmp_path / "model", resume=True)
    for array in sound[1]:
        write_parts(file, sound[0], sound[1] | {array: np.zeros((1, 7))})
        with pytest.raises(ModelError, match=r"checkpoint\.npz"):
            fit_model(FITS[name], ROWS, tmp_path / "model", resume=True)
    write_parts(file, *sound)
    fit_model(FITS[name], ROWS, tmp_path / "model", resume=True)


def read_parts(file, sound=None):
    """The JSON and the arrays of a checkpoint; of one read before, copies."""
    if sound is not None:
        return json.loads(json.dumps(sound[0])), dict(sound[1])
    with np.load(file) as parts:
        arrays = {name: parts[name] for name in parts.files}
    return json.loads(arrays.pop("checkpoint.json").tobytes()), arrays


def write_parts(file, header, arrays, savez=np.savez):
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    savez(buffer, **{"checkpoint.json": text}, **arrays)
    write_atomically(file, buffer.getvalue())


def test_a_checkpoint_that_is_packed(tmp_path):
    """A megabyte of zeros packs into a kilobyte: nothing that a fit has written."""
    with pytest.raises(Interrupted):
        fit_model(FITS["hard"], ROWS, tmp_path, progress=Stop())
    header, arrays = read_parts(tmp_path / "checkpoint.npz")
    more = arrays | {"more": np.zeros(1 << 17)}
    write_parts(tmp_path / "checkpoint.npz", header, more, np.savez_compressed)
    with pytest.raises(ModelError, match="larger than it is"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["", "rows", "[]", '{"address": 7}', '{"address": "x://y"}'])
def test_a_scheduler_file_that_is_none(tmp_path, content, monkeypatch):
    """It is read for a while, as it may be half-written, and not for ever."""
    monkeypatch.setattr("daskcluster.engine.connect._MOST_TRIES", 2)
    (tmp_path / "file").write_text(content)
    with pytest.raises(InputError, match="scheduler"), connected(scheduler_file=tmp_path / "file"):
        pass


def test_names_that_no_file_has(capsys):
    assert run("info", "x" * 5000) == 2
    assert "too long" in capsys.readouterr().err


def test_names_that_are_no_text(tmp_path, capfd):
    """Of bytes that stand for no character; they are printed as what they are."""
    np.save(tmp_path / "rows.npy", ROWS)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    assert run("convert", "npy", tmp_path / "rows.npy", odd) == 0
    assert "udcff" in capfd.readouterr().out
    assert run("fit", odd, tmp_path / "model", "--k", 2) == 0
    assert load_model(tmp_path / "model").source_ == odd


@pytest.mark.parametrize("stage", ["lloyd", "found"])
def test_a_stage_holds_nothing_that_no_fit_wrote(stage):
    """What is unknown would become an argument of what goes on from it."""
    known = stages._soft(1, 1)[stage]
    value = {
        "centers": np.zeros((1, 1)), "history": [], "converged": False, "precision": "float64",
        "inertia": 0.0, "n_iter": 1, "cluster_sizes": np.ones(1, dtype=np.int64),
        "objective": 0.0, "weights": np.ones(1),
    }  # fmt: skip
    names = ("centers", "history", "converged", "precision") if stage == "lloyd" else value
    value = {name: value[name] for name in names}
    known(value, stage)
    with pytest.raises(ValueError, match="'array', which means nothing"):
        known(value | {"array": ""}, stage)
