"""A disk that is full: said clearly, what was good before stays so, and with room it goes on."""

import os
import subprocess

import dask
import numpy as np
import pytest
from idx_files import write_idx

from daskcluster import (
    DaskClusterError,
    Interrupted,
    KMeans,
    StoreError,
    convert_idx,
    fit_model,
    load_model,
    open_labels,
    open_store,
    predict_labels,
)
from daskcluster.engine import Silent, Stop, stoppable

DISK = 4 << 20
FIT = {"n_clusters": 8, "tol": 0, "random_state": 0}


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no tmpfs: privilege CAP_SYS_ADMIN is missing ({made.stderr.strip()})")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def rows():
    """Rows that no codec makes smaller: 6 MB."""
    return np.random.default_rng(0).integers(0, 256, (6000, 1000), dtype=np.uint8)


def fill(disk, leave=0):
    """Take what is free but so many bytes; gives it back when the file is deleted."""
    filler = disk / "filler"
    stat = os.statvfs(disk)
    filler.write_bytes(bytes(max(stat.f_bavail * stat.f_frsize - leave, 0)))
    return filler


def bits(model):
    return (model.cluster_centers_.tobytes(), model.inertia_, model.n_iter_)


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_convert(disk, rows, tmp_path):
    large = write_idx(tmp_path / "large", rows)
    with pytest.raises(DaskClusterError, match=r"store cannot be written .*No space.*--resume"):
        convert_idx(large, disk / "store", rows_per_chunk=1)
    with pytest.raises(StoreError, match="never sealed"):
        open_store(disk / "store")
    # With room, which is here a smaller file: that is another conversion.
    small = write_idx(tmp_path / "small", rows[:1000])
    old = convert_idx(small, disk / "store", overwrite=True)
    with pytest.raises(DaskClusterError, match="No space"):
        convert_idx(large, disk / "store", rows_per_chunk=1, overwrite=True)
    assert open_store(disk / "store").info.build == old.info.build
    assert old.rows(0, 1000).tobytes() == rows[:1000].tobytes()


def test_the_checkpoint_of_a_fit(disk, rows):
    class StopAt(Silent):
        def event(self, kind, facts):
            if facts["iteration"] == 3:
                stop.request("enough")

    X, model = rows[:, :100], disk / "model"
    with dask.config.set({"daskcluster.checkpoint-interval": "0s"}):
        with stoppable(Stop()) as stop, pytest.raises(Interrupted):
            fit_model(KMeans(**FIT), X, model, progress=StopAt())
        before = content(model)
        filler = fill(disk)
        with pytest.raises(DaskClusterError, match=r"npz cannot be written \(No space.*--resume"):
            fit_model(KMeans(**FIT), X, model, resume=True)
        assert content(model) == before
        filler.unlink()
        resumed = fit_model(KMeans(**FIT), X, model, resume=True)
    assert bits(resumed) == bits(load_model(model)) == bits(KMeans(**FIT).fit(X))


def test_the_model_itself(disk, rows):
    """The last checkpoint is whole, or a fit from before."""
    X, model = rows[:, :100], disk / "model"
    old = fit_model(KMeans(3, random_state=1), X, model)
    filler = fill(disk)
    with pytest.raises(DaskClusterError, match="No space"):
        fit_model(KMeans(**FIT), X, model, overwrite=True)
    assert bits(load_model(model)) == bits(old)
    filler.unlink()
    assert bits(fit_model(KMeans(**FIT), X, model, overwrite=True)) == bits(KMeans(**FIT).fit(X))


def test_predict(disk, rows, tmp_path):
    narrow = np.repeat(rows.reshape(-1, 4)[:60_000], 5, axis=0)
    store = convert_idx(write_idx(tmp_path / "rows", narrow), tmp_path / "store", rows_per_chunk=1)
    model = KMeans(**FIT, max_iter=3).fit(store)
    filler = fill(disk, leave=40_000)
    with pytest.raises(DaskClusterError, match=r"labels cannot be written .*No space.*--resume"):
        predict_labels(model, store, disk / "labels")
    with pytest.raises(StoreError, match="never sealed"):
        open_labels(disk / "labels")
    filler.unlink()
    found = predict_labels(model, store, disk / "labels", resume=True)
    assert found["cluster_sizes"] == model.cluster_sizes_.tolist()
    np.testing.assert_array_equal(open_labels(disk / "labels"), model.labels_.compute())
