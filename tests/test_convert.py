"""Conversion: the same store from every kind of file, and nothing left where it fails."""

import gzip
import os
import re
import shutil
from pathlib import Path

import dask
import numpy as np
import pytest
from idx_files import idx_bytes, write_idx

import daskcluster.convert.rows
from daskcluster import InputError, StoreError, convert_idx, convert_npy, open_store
from daskcluster.engine import Silent
from daskcluster.errors import DaskClusterError, EngineError
from daskcluster.files import only_writer
from daskcluster.sizing import Block
from daskcluster.sources.files import unreadable
from daskcluster.store import Build

WIDE = 16_384  # features of which a grain holds 32 rows


def tree(folder):
    """Every file below a folder with its bytes, and every folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(Path(folder).rglob("*"))
    }


def rows_of(store):
    return store.reader().read(Block(0, 0, store.info.n_rows)).rows


def wide(n_rows=150, dtype=np.uint8):
    """Rows that fill five chunks of one grain, few bytes of them random."""
    rows = np.zeros((n_rows, WIDE), dtype=dtype)
    rows[:, ::100] = np.random.default_rng(0).integers(0, 100, size=rows[:, ::100].shape)
    return rows


class Watch(Silent):
    def __init__(self):
        self.seen = []

    def rows(self, title, done, total):
        self.seen.append((title, done, total))


@pytest.mark.parametrize("members", [1, 3, 40])
def test_gzip_is_as_good_as_plain(tmp_path, members):
    rows = wide()
    labels = (np.arange(150) % 7).astype(np.uint8)
    plain = write_idx(tmp_path / "plain", rows)
    packed = write_idx(tmp_path / "packed", rows, compress=True, members=members)
    write_idx(tmp_path / "l", labels)
    write_idx(tmp_path / "l.gz", labels, compress=True)
    a = convert_idx(plain, tmp_path / "a", labels=tmp_path / "l", rows_per_chunk=32)
    b = convert_idx(packed, tmp_path / "b", labels=tmp_path / "l.gz", rows_per_chunk=32)
    assert rows_of(a).tobytes() == rows_of(b).tobytes() == rows.tobytes()
    assert a.labels().tolist() == b.labels().tolist() == labels.tolist()
    assert a.info.to_json()["moments"] == b.info.to_json()["moments"]
    assert [s["header"]["compression"] for s in b.info.sources] == ["gzip", "gzip"]
    chunks = [
        {
            name.partition("/c/")[2]: content
            for name, content in tree(s.path).items()
            if "/c/" in name
        }
        for s in (a, b)
    ]
    assert chunks[0] == chunks[1]


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_npy_is_as_good_as_idx(tmp_path, scheduler):
    rows = wide(dtype=np.float32)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "columns.npy", np.asfortranarray(rows))
    write_idx(tmp_path / "rows.idx", rows)
    with dask.config.set(scheduler=scheduler):
        stores = [
            convert_npy(tmp_path / "rows.npy", tmp_path / "a"),
            convert_npy(tmp_path / "columns.npy", tmp_path / "b", rows_per_chunk=32),
            convert_idx(tmp_path / "rows.idx", tmp_path / "c", rows_per_chunk=64),
        ]
    for store in stores:
        assert rows_of(store).tobytes() == rows.tobytes()
        assert store.info.to_json()["moments"] == stores[0].info.to_json()["moments"]


def test_on_worker_processes(tmp_path, client):
    rows = wide()
    store = convert_idx(write_idx(tmp_path / "r", rows), tmp_path / "s", rows_per_chunk=32)
    assert rows_of(store).tobytes() == rows.tobytes()


@pytest.mark.parametrize("compress", [False, True])
def test_progress_is_told(tmp_path, compress):
    watch = Watch()
    path = write_idx(tmp_path / "rows", wide(), compress=compress)
    convert_idx(path, tmp_path / "s", rows_per_chunk=32, progress=watch)
    for title in ("convert", "moments"):
        done = [done for name, done, total in watch.seen if name == title]
        assert len(done) == 5
        assert sorted(done) == done
        assert done[-1] == 150
    assert {total for _, _, total in watch.seen} == {150}


@pytest.mark.parametrize("n_labels", [149, 151])
@pytest.mark.parametrize("compress", [False, True])
def test_labels_of_another_length(tmp_path, n_labels, compress):
    rows = write_idx(tmp_path / "rows", wide(), compress=compress)
    labels = write_idx(tmp_path / "labels", np.zeros(n_labels, np.uint8), compress=compress)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=rf"labels holds {n_labels} labels and .*rows 150 rows"):
        convert_idx(rows, tmp_path / "s", labels=labels)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["idx", "gzip", "npy"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_is_not_finite_is_named_by_row_and_feature(tmp_path, value, kind, dtype):
    rows = wide(dtype=dtype)
    rows[77, 4321] = value
    path = tmp_path / "rows"
    if kind == "npy":
        path = tmp_path / "rows.npy"
        np.save(path, rows)
    else:
        write_idx(path, rows, compress=kind == "gzip")
    convert = convert_npy if kind == "npy" else convert_idx
    before = tree(tmp_path)
    with pytest.raises(InputError, match=f"{path}: row 77, feature 4321 is {value}"):
        convert(path, tmp_path / "deep/er/s", rows_per_chunk=32)
    assert tree(tmp_path) == before


def cut_gzip(path):
    path.write_bytes(path.read_bytes()[:-30])


def bad_crc(path):
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(bytes(content))


def too_long(path):
    path.write_bytes(path.read_bytes() + gzip.compress(b"x"))


@pytest.mark.parametrize("damage", [cut_gzip, bad_crc, too_long])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_found_wrong_at_the_end_of_a_stream_leaves_nothing(tmp_path, damage, overwrite):
    path = write_idx(tmp_path / "rows", wide(), compress=True)
    if overwrite:
        convert_idx(path, tmp_path / "s")
    damage(path)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=str(path)):
        convert_idx(path, tmp_path / "s", rows_per_chunk=32, overwrite=overwrite)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
@pytest.mark.parametrize("call", [0, 3])
def test_ctrl_c_in_a_step_keeps_what_is_written(
    tmp_path, monkeypatch, compress, overwrite, scheduler, call
):
    rows = wide()
    path = write_idx(tmp_path / "rows", rows, compress=compress)
    if overwrite:
        convert_idx(path, tmp_path / "s")
    before = tree(tmp_path)
    write, starts = Build.write, []

    def interrupted(self, name, start, rows):
        starts.append(start)
        if len(starts) > call:
            raise KeyboardInterrupt
        write(self, name, start, rows)

    monkeypatch.setattr(Build, "write", interrupted)
    with dask.config.set(scheduler=scheduler):
        with pytest.raises(KeyboardInterrupt):
            convert_idx(path, tmp_path / "s", rows_per_chunk=32, overwrite=overwrite)
        after = tree(tmp_path)
        assert {name: after[name] for name in before} == before
        whole = {c for c in after if re.search(r"/data/c/\d+/0$", c)} - set(before)
        assert len(whole) == call
        monkeypatch.setattr(Build, "write", lambda *a: (starts.append(a[2]), write(*a)))
        starts.clear()
        store = convert_idx(path, tmp_path / "s", rows_per_chunk=32, resume=True)
    assert len(starts) == 5 - call
    assert rows_of(store).tobytes() == rows.tobytes()
    assert all(tree(tmp_path)[c] == after[c] for c in whole)


class FarAwayError(Exception):
    """As clients of object stores raise it: of no class that anybody knows."""


def test_a_source_that_cannot_be_reached_for_a_moment_keeps_the_build(tmp_path, monkeypatch):
    path = write_idx(tmp_path / "rows", wide())

    def fail(*args, **kwargs):
        raise unreadable(str(path), OSError(5, "Input/output error")) from OSError(5, "EIO")

    monkeypatch.setattr(daskcluster.convert.rows, "_write_rows", fail)
    with pytest.raises(InputError, match="Input/output") as caught:
        convert_idx(path, tmp_path / "s", rows_per_chunk=32)
    assert caught.value.kept
    monkeypatch.undo()
    convert_idx(path, tmp_path / "s", rows_per_chunk=32, resume=True)


@pytest.mark.parametrize("step", ["_write_labels", "_write_rows", "_seal", "survey", "StoreInfo"])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, OSError, EngineError, MemoryError, FarAwayError, InputError]
)
def test_every_failing_step_keeps_or_discards_the_build(tmp_path, monkeypatch, step, error):
    rows = wide()
    path = write_idx(tmp_path / "rows", rows)
    labels = write_idx(tmp_path / "labels", np.zeros(150, np.uint8))
    before = tree(tmp_path)

    def fail(*args, **kwargs):
        raise error("it failed")

    monkeypatch.setattr(daskcluster.convert.rows, step, fail)
    with pytest.raises(DaskClusterError if error is OSError else error, match="it failed"):
        convert_idx(path, tmp_path / "s", labels=labels, rows_per_chunk=32)
    if error is InputError:  # the same work would fail again
        assert tree(tmp_path) == before
        return
    with pytest.raises(StoreError, match="never sealed"):
        open_store(tmp_path / "s")
    monkeypatch.undo()
    store = convert_idx(path, tmp_path / "s", labels=labels, rows_per_chunk=32, resume=True)
    assert rows_of(store).tobytes() == rows.tobytes()
    assert not store.labels().any()


def test_resuming_what_never_began_or_has_ended(tmp_path):
    path = write_idx(tmp_path / "rows", wide())
    first = convert_idx(path, tmp_path / "s", rows_per_chunk=32, resume=True)
    before = tree(tmp_path)
    again = convert_idx(path, tmp_path / "s", rows_per_chunk=32, resume=True)
    assert again.info.build == first.info.build
    assert tree(tmp_path) == before


def begun(path, store, **options):
    """A conversion that is stopped after the first chunk."""
    with pytest.MonkeyPatch.context() as patch:
        write = Build.write

        def interrupted(*args):
            write(*args)
            raise KeyboardInterrupt

        patch.setattr(Build, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert_idx(path, store, rows_per_chunk=32, **options)


def test_a_conversion_of_something_else_is_not_gone_on_with(tmp_path):
    path = write_idx(tmp_path / "rows", wide())
    begun(path, tmp_path / "s")
    before = tree(tmp_path)
    for change, message in (
        ({"rows_per_chunk": 64}, "rows_per_chunk was 32 and is 64"),
        ({"rows_per_chunk": 32, "codec": "zstd"}, "codec was 'lz4' and is 'zstd'"),
    ):
        with pytest.raises(StoreError, match=message):
            convert_idx(path, tmp_path / "s", resume=True, **change)
    os.utime(path, ns=(1, 1))
    with pytest.raises(StoreError, match=r"files was .*modified_ns"):
        convert_idx(path, tmp_path / "s", rows_per_chunk=32, resume=True)
    assert tree(tmp_path) == before
    with pytest.raises(StoreError, match=r"--resume.*--overwrite"):
        convert_idx(path, tmp_path / "s", rows_per_chunk=32)
    store = convert_idx(path, tmp_path / "s", rows_per_chunk=64, resume=True, overwrite=True)
    assert sorted(p.name for p in Path(store.path).iterdir()) == [
        f"build-{store.info.build}", "zarr.json",
    ]  # fmt: skip


@pytest.mark.parametrize("left", ["root", "folder", "group", "half a root"])
def test_a_conversion_killed_before_its_first_chunk(tmp_path, left):
    """SIGKILL between any two of the files that begin a build."""
    path = write_idx(tmp_path / "rows", wide())
    begun(path, tmp_path / "s")
    (folder,) = (tmp_path / "s").glob("build-*")
    if left == "group":
        shutil.rmtree(folder / "data")
    else:
        shutil.rmtree(folder)
    if left == "folder":
        folder.mkdir()
        (folder / f"zarr.{'0' * 32}.partial").write_text("{")
    if left == "half a root":
        (tmp_path / "s/zarr.json").rename(tmp_path / f"s/zarr.{'0' * 32}.partial")
    (tmp_path / "s/.lock").write_text("process 0")
    store = convert_idx(path, tmp_path / "s", rows_per_chunk=32, resume=True)
    assert rows_of(store).tobytes() == wide().tobytes()
    assert not list(Path(store.path).rglob(".lock"))


def test_half_written_chunks_are_cleared_away(tmp_path):
    path = write_idx(tmp_path / "rows", wide())
    begun(path, tmp_path / "s")
    (folder,) = (tmp_path / "s").glob("build-*")
    (folder / "data/c/4").mkdir()
    (folder / f"data/c/4/0.{'1' * 32}.partial").write_bytes(b"half")
    store = convert_idx(path, tmp_path / "s", rows_per_chunk=32, resume=True)
    assert rows_of(store).tobytes() == wide().tobytes()
    assert not list(Path(store.path).rglob("*.partial"))


def test_a_second_writer_is_refused(tmp_path):
    path = write_idx(tmp_path / "rows", wide())
    with only_writer(tmp_path / "s"), pytest.raises(InputError, match="being written by process"):
        convert_idx(path, tmp_path / "s", rows_per_chunk=32)
    assert not (tmp_path / "s").exists()
    convert_idx(path, tmp_path / "s", rows_per_chunk=32)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    path = write_idx(tmp_path / "rows", wide())
    before = tree(tmp_path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zarr.storage._local._put", full)
    with pytest.raises(DaskClusterError, match=r"s cannot be written .*No space.*--resume"):
        convert_idx(path, tmp_path / "s")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_command_for_another_format(tmp_path, overwrite):
    np.save(tmp_path / "rows.npy", np.eye(3))
    write_idx(tmp_path / "rows.idx", np.eye(3))
    before = tree(tmp_path)
    with pytest.raises(InputError, match="convert npy"):
        convert_idx(tmp_path / "rows.npy", tmp_path / "s", overwrite=overwrite)
    with pytest.raises(InputError, match="convert idx"):
        convert_npy(tmp_path / "rows.idx", tmp_path / "s", overwrite=overwrite)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("n", [0, -1])
def test_rows_per_chunk_below_one(tmp_path, n):
    path = write_idx(tmp_path / "rows", np.eye(3))
    with pytest.raises(InputError, match=f"rows_per_chunk={n}"):
        convert_idx(path, tmp_path / "s", rows_per_chunk=n)
    assert not (tmp_path / "s").exists()


def test_labels_that_are_no_labels(tmp_path):
    path = write_idx(tmp_path / "rows", np.eye(3))
    before = tree(tmp_path)
    for labels in (np.eye(3, dtype=np.uint8), np.ones(3)):
        write_idx(tmp_path / "labels", labels)
        with pytest.raises(InputError, match="labels"):
            convert_idx(path, tmp_path / "s", labels=tmp_path / "labels")
    (tmp_path / "labels").unlink()
    with pytest.raises(InputError, match="no such file"):
        convert_idx(path, tmp_path / "s", labels=tmp_path / "labels")
    assert tree(tmp_path) == before


def test_the_store_onto_its_own_source(tmp_path):
    path = write_idx(tmp_path / "rows", np.eye(3))
    with pytest.raises(StoreError, match="is a file"):
        convert_idx(path, path, overwrite=True)
    assert path.read_bytes() == idx_bytes(np.eye(3))


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_idx("rows", np.eye(3))
    store = convert_idx("rows", "s")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(rows_of(store), np.eye(3))
    assert open_store(store) is store
