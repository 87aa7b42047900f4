"""The demo: the whole job in one command, again and again, and only in a folder of its own."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from daskcluster import InputError, load_model, open_store
from daskcluster.assess import open_labels
from daskcluster.cli import main
from daskcluster.demo import run_demo

FILES = [
    "centroids.png", "contingency.png", "convergence.png", "digits-images-idx3-ubyte",
    "digits-labels-idx1-ubyte", "digits.zarr", "labels.zarr", "model",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "new"
    return folder, run_demo(folder)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_everything_is_there(made):
    folder, facts = made
    assert names(folder) == FILES
    assert sorted(facts["files"]) == sorted(str(folder / name) for name in FILES)
    store, model = open_store(folder / "digits.zarr"), load_model(folder / "model")
    assert store.info.sample_shape == (8, 8)
    assert store.info.n_rows == 1797
    np.testing.assert_array_equal(store.labels(), load_digits().target)
    labels = open_labels(folder / "labels.zarr")
    np.testing.assert_array_equal(labels, model.predict(load_digits().data))
    assert facts["inertia"] == model.inertia_
    assert facts["purity"] > 0.7
    assert np.sum(facts["contingency"]) == 1797


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".png")])
def test_pictures_can_be_read(made, name):
    image = pytest.importorskip("matplotlib.image").imread(made[0] / name)
    assert min(image.shape[:2]) > 100
    assert image.std() > 0.01


def test_the_command(made, capsys):
    folder, facts = made
    builds = set((folder / "digits.zarr").iterdir())
    with pytest.raises(SystemExit) as caught:
        main(["demo", str(folder), "--json"])
    assert caught.value.code == 0
    again = json.loads(capsys.readouterr().out)
    assert again == json.loads(json.dumps(facts))
    assert names(folder) == FILES
    assert len(builds - set((folder / "digits.zarr").iterdir())) == 1
    with pytest.raises(SystemExit) as caught:
        main(["demo", str(folder)])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert "purity" in out
    for name in FILES:
        assert str(folder / name) in out


def test_the_folder_it_makes_by_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--json"])
    assert caught.value.code == 0
    assert names(tmp_path) == ["daskcluster-demo"]
    assert all(Path(file).exists() for file in json.loads(capsys.readouterr().out)["files"])


def test_folders_of_others(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    for place, word in ((tmp_path, "letter.txt"), (tmp_path / "letter.txt", "is a file")):
        with pytest.raises(InputError, match=word):
            run_demo(place)
    assert names(tmp_path) == ["letter.txt"]
    assert (tmp_path / "letter.txt").read_text() == "dear"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/model").mkdir()
    (tmp_path / "mine/model/letter.txt").write_text("dear")
    with pytest.raises(InputError):
        run_demo(tmp_path / "mine")
    assert (tmp_path / "mine/model/letter.txt").read_text() == "dear"
