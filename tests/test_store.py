"""Sealed stores: what is written is read back, and nothing damaged or foreign passes for whole."""

import copy
import hashlib
import json
import os
import shutil
import sys
import uuid
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from idx_files import CODES, write_idx
from zarr.codecs import BytesCodec, Crc32cCodec

from daskcluster import InputError, KMeans, StoreError, convert_idx, convert_npy, open_store
from daskcluster.cli import main
from daskcluster.errors import DaskClusterError
from daskcluster.kernels import exact
from daskcluster.sizing import ROW_TYPES, Block, grain_rows
from daskcluster.store import CODECS, ArraySpec, Build, building, place
from daskcluster.store.chunks import Buffers, LocalChunks

WIDE = 16_384  # features of which a grain holds 32 rows, so that small stores have many chunks


def tree(folder):
    """Every file below a folder with its bytes, and every folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(Path(folder).rglob("*"))
    }


def listed(folder):
    return sorted(p.name for p in Path(folder).iterdir())


def sample(dtype, shape, seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**53)), min(info.max, 2**53)
    return rng.integers(low, high, size=shape, dtype=dtype, endpoint=True)


def read_all(store, rows=None):
    reader = store.reader()
    rows = rows or store.info.rows_per_chunk
    parts = [
        reader.read(Block(i, start, min(start + rows, store.info.n_rows))).rows
        for i, start in enumerate(range(0, store.info.n_rows, rows))
    ]
    return np.concatenate(parts)


def make(folder, codec="lz4", n_rows=100, name="rows.zarr", labels=True, n_features=WIDE):
    """A store of four chunks of 32 rows, the last one short."""
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 256, size=(n_rows, n_features), dtype=np.uint8)
    rows[:, n_features // 8 :] = 0
    source = write_idx(folder / f"{name}.idx", rows)
    classes = write_idx(folder / f"{name}.labels", (np.arange(n_rows) % 3).astype(np.uint8))
    return convert_idx(
        source, folder / name, labels=classes if labels else None, rows_per_chunk=32, codec=codec
    )


def chunk_files(store, name="data"):
    folder = Path(store.path) / f"build-{store.info.build}" / name / "c"
    return sorted(p for p in folder.rglob("*") if p.is_file())


def chunk_name(store, file):
    return str(file.relative_to(store.path))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://bucket/rows.zarr", "pip install 'daskcluster[s3]'"),
        ("no-such://place/rows.zarr", "nothing opens no-such:// URLs"),
    ],
)
def test_a_url_that_nothing_here_opens(tmp_path, monkeypatch, capsys, url, words):
    known = sys.modules["fsspec.registry"]._registry  # all that was imported before
    monkeypatch.delitem(known, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    np.save(tmp_path / "rows.npy", np.eye(3))
    monkeypatch.chdir(tmp_path)
    for command in (
        ("info", url),
        ("fit", url, "model", "--k", "2"),
        ("convert", "npy", "rows.npy", url),
    ):
        with pytest.raises(SystemExit) as caught:
            main(list(command))
        assert caught.value.code == 2
        err = capsys.readouterr().err
        assert url in err
        assert words in err
    assert listed(tmp_path) == ["rows.npy"]


@pytest.mark.parametrize("dtype", ROW_TYPES)
@pytest.mark.parametrize("rows_per_chunk", [1, 33, 64, None])
def test_rows_come_back_in_every_type_and_chunk_size(tmp_path, dtype, rows_per_chunk):
    rows = sample(dtype, (70, 3000))
    np.save(tmp_path / "rows.npy", rows)
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "s", rows_per_chunk=rows_per_chunk)
    assert store.info.dtype == dtype
    assert store.info.rows_per_chunk % store.info.grain == 0
    for rows_read in (None, 7, 70):
        found = read_all(store, rows_read)
        assert found.dtype == rows.dtype
        assert found.tobytes() == rows.tobytes()


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(40,), (40, 3), (5, 4, 3), (3, 2, 2, 2)])
def test_idx_to_store_to_rows_is_the_identity(tmp_path, kind, shape):
    array = sample(kind, shape)
    store = convert_idx(write_idx(tmp_path / "a.idx", array), tmp_path / "s")
    assert read_all(store).tobytes() == array.tobytes()
    assert store.info.dtype == array.dtype.name
    assert store.info.sample_shape == (shape[1:] or (1,))
    assert store.info.n_features == int(np.prod(shape[1:], dtype=int))


@pytest.mark.parametrize("codec", CODECS)
def test_every_chunk_of_every_array_ends_in_a_checksum(tmp_path, codec):
    store = make(tmp_path, codec)
    group = zarr.open_group(store.path, mode="r")
    for name in ("data", "labels"):
        metadata = json.loads(
            (Path(store.path) / f"build-{store.info.build}/{name}/zarr.json").read_text()
        )
        assert metadata["codecs"][-1]["name"] == "crc32c"
        array = group[f"build-{store.info.build}/{name}"]
        assert array.nchunks_initialized == array.nchunks == 4
        for file in chunk_files(store, name):
            content = file.read_bytes()
            assert crc32c(content[:-4]) == int.from_bytes(content[-4:], "little")


def crc32c(content):
    """Castagnoli's CRC by its definition, a table entry a byte."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _entry(value):
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = [_entry(value) for value in range(256)]


def flip(place):
    def damage(file):
        content = bytearray(file.read_bytes())
        content[int(place * (len(content) - 1))] ^= 0x10
        file.write_bytes(bytes(content))

    return damage


def truncate(file):
    file.write_bytes(file.read_bytes()[:-7])


def empty(file):
    file.write_bytes(b"")


def folder(file):
    file.unlink()
    file.mkdir()


DAMAGES = {
    "first byte": flip(0.0),
    "early": flip(0.1),
    "middle": flip(0.5),
    "late": flip(0.9),
    "checksum": flip(1.0),
    "truncated": truncate,
    "emptied": empty,
    "a folder": folder,
    "deleted": Path.unlink,
}


@pytest.fixture(scope="module", params=CODECS)
def sound(request, tmp_path_factory):
    return make(tmp_path_factory.mktemp("sound"), request.param)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["data", "labels"])
def test_a_damaged_chunk_is_named(tmp_path, sound, damage, name):
    shutil.copytree(sound.path, tmp_path / "s")
    store = open_store(tmp_path / "s")
    file = chunk_files(store, name)[2]
    damage(file)
    with pytest.raises(StoreError) as caught:
        _read(store, name)
    assert chunk_name(store, file) in str(caught.value).replace(os.sep, "/")
    assert "convert" in str(caught.value)
    if name == "data":
        # All other chunks can still be read.
        assert len(store.reader().read(Block(0, 0, 64)).rows) == 64


def test_buffers_are_used_again_when_nobody_holds_them():
    buffers = Buffers()
    rows = buffers.empty((4, 5), np.float32)
    address = rows.ctypes.data
    view = rows[1:2].T
    del rows
    other = buffers.empty((4, 5), np.float32)
    assert other.ctypes.data != address
    copy_free = memoryview(view)
    del view
    assert buffers.empty((10, 2), np.float32).ctypes.data != address
    del copy_free
    assert buffers.empty((10, 2), np.float32).ctypes.data == address
    assert buffers.empty((4, 4), np.float32).ctypes.data != address


def test_big_endian_chunks_are_left_to_zarr(tmp_path):
    rows = np.arange(12, dtype=np.int32).reshape(6, 2)
    for endian in ("little", "big"):
        array = zarr.create_array(
            str(tmp_path / endian), data=rows, chunks=(2, 2), serializer=BytesCodec(endian=endian),
            compressors=[Crc32cCodec()],
        )  # fmt: skip
        chunks = LocalChunks.of(array, tmp_path / endian)
        assert (chunks is None) == (endian != sys.byteorder)
        if chunks is not None:
            np.testing.assert_array_equal(chunks.rows(1, 99), rows[1:])


def _read(store, name):
    if name == "labels":
        return store.labels()
    # One block of all chunks: the codec does not say which one of them is damaged.
    return store.reader().read(Block(0, 0, store.info.n_rows))


@pytest.mark.parametrize("damage", ["middle", "checksum", "truncated", "deleted"])
def test_a_damaged_chunk_ends_the_fit_command(tmp_path, sound, damage, capsys):
    shutil.copytree(sound.path, tmp_path / "s")
    store = open_store(tmp_path / "s")
    file = chunk_files(store)[3]
    DAMAGES[damage](file)
    with pytest.raises(SystemExit) as caught:
        main(["fit", store.path, str(tmp_path / "model"), "--k", "2", "--seed", "0"])
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert chunk_name(store, file) in captured.err
    assert captured.out == ""
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_labels_end_the_evaluation_only(tmp_path, codec, capsys):
    store = make(tmp_path, codec)
    file = chunk_files(store, "labels")[1]
    file.unlink()
    KMeans(2, random_state=0, max_iter=2).fit(store).save(tmp_path / "model")
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(tmp_path / "model"), store.path])
    assert caught.value.code == 2
    assert chunk_name(store, file) in capsys.readouterr().err


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_chunks_of_zeros_are_written_and_read(tmp_path, codec, dtype):
    rows = np.zeros((100, WIDE), dtype=dtype)
    rows[40, 5] = 7
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "labels.npy", np.zeros(100, dtype=np.int64))
    store = convert_npy(
        tmp_path / "rows.npy", tmp_path / "s", labels=tmp_path / "labels.npy",
        rows_per_chunk=32, codec=codec,
    )  # fmt: skip
    assert len(chunk_files(store)) == len(chunk_files(store, "labels")) == 4
    np.testing.assert_array_equal(read_all(store), rows)
    np.testing.assert_array_equal(store.labels(), np.zeros(100))
    chunk_files(store)[0].unlink()
    with pytest.raises(StoreError, match="missing"):
        read_all(store)


def test_layout(tmp_path):
    store = make(tmp_path)
    build = f"build-{store.info.build}"
    assert listed(store.path) == [build, "zarr.json"]
    assert listed(Path(store.path) / build) == ["data", "labels", "zarr.json"]
    attributes = json.loads((Path(store.path) / "zarr.json").read_text())["attributes"]
    assert attributes["daskcluster"]["build"] == store.info.build
    assert attributes["daskcluster"]["format_version"] == 1


def test_we_rename_nothing_but_what_zarr_does_to_a_file(tmp_path, monkeypatch):
    renamed = []
    for name in ("rename", "renames", "replace"):
        original = getattr(os, name)

        def spy(a, b, *args, original=original, **kwargs):
            renamed.append((Path(a), Path(b)))
            return original(a, b, *args, **kwargs)

        monkeypatch.setattr(os, name, spy)
    monkeypatch.setattr(shutil, "move", lambda *a, **k: pytest.fail("moved"))
    store = make(tmp_path)
    convert_idx(tmp_path / "rows.zarr.idx", store.path, overwrite=True)
    # A temporary file of Zarr's beside its target, never a folder or another name.
    for source, target in renamed:
        assert source.parent == target.parent
        assert source.name.split(".")[0] == target.name.split(".")[0]


def test_provenance(tmp_path):
    store = make(tmp_path)
    for entry, name in zip(store.info.sources, ("rows.zarr.idx", "rows.zarr.labels"), strict=True):
        content = (tmp_path / name).read_bytes()
        assert entry["name"] == name
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["header"]["format"] == "idx"
    assert store.info.sources[0]["header"]["shape"] == [100, WIDE]
    assert store.info.grain == grain_rows(WIDE) == 32
    assert store.info.class_names == ("0", "1", "2")
    assert {"python", "numpy", "zarr", "daskcluster"} <= set(store.info.versions)
    assert store.info.created


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint32"])
def test_class_names_keep_gaps_and_signs(tmp_path, dtype):
    values = np.array([7, 3, 100, 3, 7, 7], dtype=dtype)
    if dtype.startswith("int"):
        values[1] = -5
    np.save(tmp_path / "rows.npy", np.arange(6.0)[:, None])
    np.save(tmp_path / "labels.npy", values)
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "s", labels=tmp_path / "labels.npy")
    names = store.info.class_names
    assert [int(names[code]) for code in store.labels()] == values.tolist()
    assert [int(name) for name in names] == sorted(set(values.tolist()))
    assert store.labels().dtype == np.int32


@pytest.mark.parametrize("dtype", ROW_TYPES)
def test_moments_are_exact(tmp_path, dtype):
    rows = sample(dtype, (45, 3), seed=5)
    if dtype.startswith("float"):
        rows *= np.array([1e-6, 1.0, 1e6], dtype=dtype)
    np.save(tmp_path / "rows.npy", rows)
    moments = convert_npy(tmp_path / "rows.npy", tmp_path / "s").info.moments
    exactly = [[Fraction(v) for v in column] for column in rows.T.tolist()]
    sums = [exact.scaled(s, moments.sum_grid.exponent) for s in exact.to_ints(moments.sums)]
    squares = [
        exact.scaled(s, moments.square_grid.exponent) for s in exact.to_ints(moments.squares)
    ]
    for column, total, square in zip(exactly, sums, squares, strict=True):
        true_sum, true_square = sum(column), sum(v * v for v in column)
        if dtype == "float64":
            # Each element is rounded once to the grid.
            assert abs(total - true_sum) <= 45 * Fraction(2) ** moments.sum_grid.exponent
            assert abs(square - true_square) <= 2 * 45 * Fraction(2) ** moments.square_grid.exponent
        else:
            assert total == true_sum
            if not dtype.startswith("float"):
                assert square == true_square
    means = [float(sum(column) / 45) for column in exactly]
    np.testing.assert_allclose(moments.means(), means, rtol=1e-15)


def begin(path, n_rows=4):
    with building(path, n_rows=n_rows, rows_per_chunk=32) as build:
        build.create_array(ArraySpec("data", (2,), "uint8"))
        build.write("data", 0, np.ones((n_rows, 2), dtype=np.uint8))
    return build


def test_an_unsealed_store_is_refused_and_says_how_to_go_on(tmp_path, capsys):
    begin(tmp_path / "s")
    with pytest.raises(StoreError, match=r"never sealed.*--resume.*--overwrite"):
        open_store(tmp_path / "s")
    before = tree(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["fit", str(tmp_path / "s"), str(tmp_path / "m"), "--k", "1"])
    assert caught.value.code == 2
    assert "never sealed" in capsys.readouterr().err
    assert tree(tmp_path) == before
    # What it says helps.
    np.save(tmp_path / "rows.npy", np.eye(3))
    with pytest.raises(StoreError, match="--overwrite"):
        convert_npy(tmp_path / "rows.npy", tmp_path / "s")
    store = convert_npy(tmp_path / "rows.npy", tmp_path / "s", overwrite=True)
    np.testing.assert_array_equal(read_all(store), np.eye(3))
    assert len(listed(store.path)) == 2


def test_overwriting_keeps_the_old_build_until_the_pointer_moves(tmp_path, monkeypatch):
    old = make(tmp_path)
    rows = read_all(old)
    np.save(tmp_path / "rows.npy", np.eye(5))
    seen = []

    def spy(self, attributes, seal=Build.seal):
        assert open_store(old.path).info.build == old.info.build
        np.testing.assert_array_equal(read_all(old), rows)
        seal(self, attributes)
        seen.append(self.id)

    monkeypatch.setattr(Build, "seal", spy)
    new = convert_npy(tmp_path / "rows.npy", old.path, overwrite=True)
    assert seen == [new.info.build] != [old.info.build]
    assert listed(new.path) == [f"build-{new.info.build}", "zarr.json"]
    np.testing.assert_array_equal(read_all(new), np.eye(5))
    with pytest.raises(StoreError):
        read_all(old)


@pytest.mark.parametrize("step", ["create_array", "write", "seal"])
@pytest.mark.parametrize("error", [StoreError, OSError, KeyboardInterrupt])
def test_a_failed_overwrite_leaves_the_old_store_bit_for_bit(tmp_path, monkeypatch, step, error):
    old = make(tmp_path)
    before, rows = tree(tmp_path), read_all(old)

    def fail(*args, **kwargs):
        raise error("stopped")

    monkeypatch.setattr(Build, step, fail)
    raised = {OSError: DaskClusterError}.get(error, error)
    with pytest.raises(raised, match="stopped"):
        convert_idx(tmp_path / "rows.zarr.idx", old.path, overwrite=True)
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    # What is at fault decides whether the new build waits to be gone on with.
    waiting = {name.split("/")[1] for name in set(after) - set(before)}
    assert len(waiting) == (0 if error is StoreError else 1)
    if waiting:
        monkeypatch.undo()
        new = convert_idx(tmp_path / "rows.zarr.idx", old.path, resume=True)
        assert {f"build-{new.info.build}"} == waiting
        assert read_all(new).tobytes() == rows.tobytes()
        assert listed(new.path) == [*waiting, "zarr.json"]


def test_ctrl_c_after_the_pointer_moved_loses_nothing(tmp_path, monkeypatch):
    old = make(tmp_path)
    np.save(tmp_path / "rows.npy", np.eye(5))
    delete = place.delete

    def interrupted(path):
        delete(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, "delete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_npy(tmp_path / "rows.npy", old.path, overwrite=True)
    monkeypatch.undo()
    new = open_store(old.path)
    assert new.info.build != old.info.build
    np.testing.assert_array_equal(read_all(new), np.eye(5))
    # The same again is done already, and clears the rest of the old build away.
    again = convert_npy(tmp_path / "rows.npy", old.path, resume=True)
    assert again.info.build == new.info.build
    assert listed(new.path) == [f"build-{new.info.build}", "zarr.json"]


def test_giving_up_leaves_a_folder_that_was_there(tmp_path):
    (tmp_path / "empty").mkdir()
    begin(tmp_path / "empty").discard()
    assert tree(tmp_path) == {"empty": None}
    begin(tmp_path / "a/b/c").discard()
    assert tree(tmp_path) == {"empty": None}


def test_late_writers_write_nothing(tmp_path):
    build = begin(tmp_path / "a/s")
    build.discard()
    with pytest.raises(StoreError, match="given up"):
        build.write("data", 0, np.ones((4, 2), dtype=np.uint8))
    assert tree(tmp_path) == {}


def test_late_writers_of_another_process_delete_what_they_wrote(tmp_path):
    build = begin(tmp_path / "a/s")
    there = copy.copy(build)
    there.__setstate__(build.__getstate__())  # as a worker process has it
    there.write("data", 0, np.ones((4, 2), dtype=np.uint8))
    build.discard()
    assert tree(tmp_path) == {}
    there.write("data", 0, np.ones((4, 2), dtype=np.uint8))
    assert tree(tmp_path) == {}


def foreign_group(path):
    zarr.create_group(str(path), attributes={"theirs": 1}).create_array("x", data=np.arange(3))


def foreign_builds(path):
    """A group of somebody whose groups happen to be called builds."""
    zarr.create_group(str(path)).create_group("build-2024")


def foreign_attributes(path):
    group = zarr.create_group(str(path), attributes={"theirs": 1})
    group.create_group("build-0123456789ab")


def foreign_array(path):
    zarr.save_array(str(path), np.arange(6).reshape(3, 2))


def foreign_v2(path):
    zarr.create_group(str(path), zarr_format=2).create_array("x", shape=(3,), dtype="u1")


def foreign_folder(path):
    path.mkdir()
    (path / "letter.txt").write_text("dear")


def foreign_zarr_json(path):
    path.mkdir()
    (path / "zarr.json").write_text("not json")


def foreign_file(path):
    path.write_text("dear")


FOREIGN = [
    foreign_group, foreign_builds, foreign_attributes, foreign_array, foreign_v2, foreign_folder,
    foreign_zarr_json, foreign_file,
]  # fmt: skip


@pytest.mark.parametrize("make_foreign", FOREIGN)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_foreign_is_never_replaced(tmp_path, make_foreign, overwrite):
    np.save(tmp_path / "rows.npy", np.eye(3))
    make_foreign(tmp_path / "theirs")
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="choose another place"):
        convert_npy(tmp_path / "rows.npy", tmp_path / "theirs", overwrite=overwrite)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("make_foreign", FOREIGN)
def test_what_is_foreign_is_not_opened(tmp_path, make_foreign):
    make_foreign(tmp_path / "theirs")
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="theirs"):
        open_store(tmp_path / "theirs")
    assert tree(tmp_path) == before


def test_a_store_that_exists_needs_overwrite(tmp_path):
    store = make(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="--overwrite"):
        convert_idx(tmp_path / "rows.zarr.idx", store.path)
    assert tree(tmp_path) == before


def test_a_codec_that_is_not_offered(tmp_path):
    np.save(tmp_path / "rows.npy", np.eye(3))
    with pytest.raises(StoreError, match=r"'brotli'.*lz4, zstd, none"):
        convert_npy(tmp_path / "rows.npy", tmp_path / "s", codec="brotli")
    assert not (tmp_path / "s").exists()


def test_an_array_that_contradicts_the_attributes(tmp_path):
    store = make(tmp_path)
    file = Path(store.path) / f"build-{store.info.build}/data/zarr.json"
    metadata = json.loads(file.read_text())
    changed = copy.deepcopy(metadata)
    changed["shape"][0] -= 1
    file.write_text(json.dumps(changed))
    with pytest.raises(StoreError, match="shape"):
        open_store(store.path)
    changed = copy.deepcopy(metadata)
    del changed["codecs"][-1]
    file.write_text(json.dumps(changed))
    with pytest.raises(StoreError, match="checksum"):
        open_store(store.path)
    changed = copy.deepcopy(metadata)
    changed["chunk_key_encoding"]["configuration"]["separator"] = "."
    file.write_text(json.dumps(changed))
    with pytest.raises(StoreError, match="missing"):
        read_all(open_store(store.path))
    file.unlink()
    with pytest.raises(StoreError, match="missing"):
        open_store(store.path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def mutate(data, document):
    """The document with one place deleted or replaced by any JSON."""
    place = data.draw(st.sampled_from(list(places(document))))
    if not place:
        return data.draw(JSON)
    changed = copy.deepcopy(document)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        del inner[place[-1]]
    else:
        inner[place[-1]] = data.draw(JSON)
    return changed


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make(tmp_path_factory.mktemp("tiny"), n_rows=9, n_features=3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Zarr's own, of metadata it does not know
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), which=st.sampled_from(["", "data/", "labels/"]))
def test_damaged_attributes_only_ever_raise_store_errors(tiny, data, which):
    folder = f"build-{tiny.info.build}/{which}" if which else ""
    file = Path(tiny.path) / f"{folder}zarr.json"
    sound = file.read_bytes()
    try:
        file.write_text(json.dumps(mutate(data, json.loads(sound))))
        with suppress(StoreError):
            read_all(open_store(tiny.path))
    finally:
        file.write_bytes(sound)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_attributes_cut_short_or_garbled_only_ever_raise_store_errors(tiny, data):
    file = Path(tiny.path) / "zarr.json"
    sound = file.read_bytes()
    try:
        cut = sound[: data.draw(st.integers(0, len(sound) - 1))]
        file.write_bytes(cut + data.draw(st.binary(max_size=4)))
        with pytest.raises(StoreError):
            open_store(tiny.path)
    finally:
        file.write_bytes(sound)


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_a_store_at_a_url(tmp_path, scheme):
    np.save(tmp_path / "rows.npy", np.eye(4, dtype=np.float32))
    url = (tmp_path / "s").as_uri() if scheme == "file" else f"memory://{uuid.uuid4()}/s"
    store = convert_npy(tmp_path / "rows.npy", url)
    np.testing.assert_array_equal(read_all(store), np.eye(4))
    again = convert_npy(tmp_path / "rows.npy", url, overwrite=True)
    assert again.info.build != store.info.build
    assert open_store(url).info.build == again.info.build
    with pytest.raises(StoreError):
        read_all(store)
    with pytest.raises(StoreError, match="--overwrite"):
        convert_npy(tmp_path / "rows.npy", url)
    assert KMeans(4).fit(url).inertia_ == 0
    if scheme == "file":
        assert store.path == str(tmp_path / "s")


def test_nothing_is_left_at_a_url(tmp_path):
    np.save(tmp_path / "rows.npy", np.array([[1.0], [np.nan]]))
    url = f"memory://{uuid.uuid4()}/s"
    with pytest.raises(InputError, match="nan"):
        convert_npy(tmp_path / "rows.npy", url)
    assert fsspec.filesystem("memory").find(url) == []
