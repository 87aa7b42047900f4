"""Tables against rows: every type, kind of file and policy read back, every damage refused."""

import gzip
import io
import json
import math
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskcluster.errors import InputError
from daskcluster.sizing import ROW_TYPES
from daskcluster.sources import Source
from daskcluster.sources.predictions import writing_parquet
from daskcluster.sources.table import TableSource, open_table

pa = pytest.importorskip("pyarrow")
csv = pytest.importorskip("pyarrow.csv")
pq = pytest.importorskip("pyarrow.parquet")

FEW = settings(max_examples=40)
KINDS = ("parquet", "csv", "csv.gz")
NAN = float("nan")


def write(path, table, groups=None, **options):
    """Write a table as what its suffix says; Parquet in row groups of the given lengths."""
    table = pa.table(table) if isinstance(table, dict) else table
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, table.schema, **options) as writer:
            start = 0
            for length in [*(groups or []), max(table.num_rows - sum(groups or []), 0)]:
                writer.write_table(table.slice(start, length))
                start += length
        return path
    content = io.BytesIO()
    csv.write_csv(table, content)
    packed = path.suffix == ".gz"
    path.write_bytes(gzip.compress(content.getvalue()) if packed else content.getvalue())
    return path


def text(path, content):
    path.write_text(content)
    return path


def rows_of(source, rows=3):
    blocks = list(source.blocks(rows))
    assert [len(block) for block in blocks[:-1]] == [rows] * (len(blocks) - 1)
    assert all(block.flags.c_contiguous and block.dtype == source.dtype for block in blocks)
    return np.concatenate(blocks)


def keys_of(source, rows=3):
    """Labels and ids, as lists."""
    blocks = list(source.column_blocks(rows))
    return tuple(
        None if blocks[0][at] is None else [v for block in blocks for v in block[at].tolist()]
        for at in (1, 2)
    )


def same(got, expected, dtype):
    assert got.dtype == dtype
    assert got.tobytes() == np.ascontiguousarray(expected, dtype=dtype).tobytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A folder whose files every example of a property test overwrites."""
    return tmp_path_factory.mktemp("tables")


# --- what is read --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_features_labels_and_ids(tmp_path, kind):
    path = write(
        tmp_path / f"a.{kind}",
        {
            "id": [10, 11, 12, 13],
            "b": [1.5, 2.5, -3.5, 0.25],
            "name": ["x", "", "y,z", 'q"\n'],
            "a": [1, 2, 3, 4],
            "class": ["cat", "dog", "cat", "eel"],
        },
    )
    source = open_table(path, label_column="class", id_column="id")
    assert isinstance(source, Source)
    assert isinstance(source, TableSource)
    assert source.path == str(path)
    assert source.files == (str(path),)
    assert source.feature_names == ("b", "a")
    assert (source.shape, source.sample_shape, source.n_rows, source.n_features) == (
        (4, 2), (2,), 4, 2,
    )  # fmt: skip
    same(rows_of(source), [[1.5, 1], [2.5, 2], [-3.5, 3], [0.25, 4]], "float64")
    assert keys_of(source) == (["cat", "dog", "cat", "eel"], [10, 11, 12, 13])
    assert source.class_names().tolist() == ["cat", "dog", "eel"]
    assert source.seekable == (kind == "parquet")


@pytest.mark.parametrize("kind", KINDS)
def test_columns_in_the_order_asked_for(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", {"a": [1, 2], "b": [3, 4], "c": [5, 6]})
    source = open_table([path], columns=["c", "a"])
    same(rows_of(source), [[5, 1], [6, 2]], "int64")
    assert keys_of(source) == (None, None)
    assert open_table(str(path), columns="b").feature_names == ("b",)


@pytest.mark.parametrize("kind", KINDS)
def test_header_is_json(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", {"a": [1, None], "y": ["u", "v"]})
    source = open_table(path, label_column="y", missing="mean")
    assert json.loads(json.dumps(source.header())) == {
        "format": kind.removesuffix(".gz"),
        "shape": [2, 1],
        "dtype": "float64",
        "columns": ["a"],
        "columns_left_out": [],
        "label_column": "y",
        "id_column": None,
        "n_files": 1,
        "missing": "mean",
        "rows_dropped": 0,
        "values_imputed": 1,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_sources_are_frozen_and_picklable(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", {"a": list(range(20)), "y": list(range(20))}, [3, 3])
    source = open_table(path, label_column="y")
    rows_of(source)
    if source.seekable:
        source.read(2, 5)
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert hash(copy) == hash(source)
    same(rows_of(copy), np.arange(20)[:, None], "int64")
    with pytest.raises(AttributeError):
        source.path = "other"


@pytest.mark.parametrize("kind", KINDS)
def test_files_follow_one_another(tmp_path, kind):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "readme.txt").write_text("not a table")
    (folder / f".hidden.{kind}").write_text("not a table")
    for name, values in (("b", [3, 4]), ("a", [0, 1, 2]), ("c", [5])):
        write(folder / f"{name}.{kind}", {"x": values, "y": [f"{name}{v}" for v in values]})
    source = open_table(folder, label_column="y")
    assert rows_of(source, 4)[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert keys_of(source)[0] == ["a0", "a1", "a2", "b3", "b4", "c5"]
    backwards = open_table([folder / f"c.{kind}", folder / f"a.{kind}"], label_column="y")
    assert rows_of(backwards)[:, 0].tolist() == [5, 0, 1, 2]
    assert backwards.path == str(folder / f"c.{kind}")
    assert backwards.header()["n_files"] == 2


def test_the_suffix_says_nothing(tmp_path):
    parquet = write(tmp_path / "a.parquet", {"a": [1]}).rename(tmp_path / "a.csv")
    assert open_table(parquet).header()["format"] == "parquet"
    plain = text(tmp_path / "b.parquet", "PAR1,b\n1,2\n")
    assert open_table(plain).feature_names == ("PAR1", "b")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_relative_paths_become_absolute(tmp_path, monkeypatch, kind):
    write(tmp_path / f"a.{kind}", {"a": [1]})
    monkeypatch.chdir(tmp_path)
    assert open_table(f"a.{kind}").files == (str(tmp_path / f"a.{kind}"),)


# --- the type of the rows ------------------------------------------------------------------

TYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
         "float16", "float32", "float64")  # fmt: skip


def extremes(name):
    if name == "bool":
        return np.array([True, False, True])
    dtype = np.dtype(name)
    if dtype.kind == "f":
        return np.array([0.5, float(np.finfo(dtype).max), -0.0]).astype(dtype)
    info = np.iinfo(dtype)
    return np.array([1, max(info.min, -(2**53)), min(info.max, 2**53)]).astype(dtype)


@pytest.mark.parametrize("left", TYPES)
@pytest.mark.parametrize("right", TYPES)
def test_one_type_holds_every_column(tmp_path, left, right):
    a, b = extremes(left), extremes(right)
    source = open_table(write(tmp_path / "a.parquet", {"a": a, "b": b}))
    assert source.dtype.name in ROW_TYPES
    got = rows_of(source)
    assert got[:, 0].tolist() == a.tolist()
    assert got[:, 1].tolist() == b.tolist()
    smaller = ROW_TYPES[: ROW_TYPES.index(source.dtype.name)]
    assert left != right or left not in smaller


@pytest.mark.parametrize(
    ("types", "missing", "expected"),
    [
        (["bool"], "error", "uint8"),
        (["float16"], "error", "float32"),
        (["uint64"], "error", "int64"),
        (["uint64", "int8"], "error", "int64"),
        (["uint32", "int32"], "error", "int64"),
        (["uint8", "int16"], "error", "int16"),
        (["int16", "float32"], "error", "float32"),
        (["int32", "float32"], "error", "float64"),
        (["int64", "float32"], "drop", "float64"),
        (["float32"], "mean", "float32"),
        (["uint8"], "mean", "float64"),
        (["uint8", "float32"], "mean", "float64"),
    ],
)
def test_row_types(tmp_path, types, missing, expected):
    columns = {f"c{at}": np.ones(3, dtype=name) for at, name in enumerate(types)}
    source = open_table(write(tmp_path / "a.parquet", columns), missing=missing)
    assert source.dtype == expected
    same(rows_of(source), np.ones((3, len(types))), expected)


def test_types_differ_between_files(tmp_path):
    one = write(tmp_path / "1.parquet", {"a": np.array([1, 2], "u1"), "b": np.ones(2, "f4")})
    two = write(tmp_path / "2.parquet", {"b": np.array([5], "f8"), "a": np.array([-3], "i4")})
    source = open_table([one, two])
    same(rows_of(source), [[1, 1], [2, 1], [-3, 5]], "float64")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1])
def test_beyond_exact_integers(tmp_path, kind, value):
    path = write(tmp_path / f"a.{kind}", {"a": [1, 2, value], "b": [0.5, 0, 0]})
    with pytest.raises(InputError, match=rf"row 2, column 'a' is {value}, which cannot be held"):
        rows_of(open_table(path))


def test_uint64_beyond_int64(tmp_path):
    path = write(tmp_path / "a.parquet", {"a": np.array([1, 2**64 - 1], "u8")})
    with pytest.raises(InputError, match="row 1, column 'a' is 18446744073709551615"):
        rows_of(open_table(path))


# --- Parquet by ranges ---------------------------------------------------------------------


@st.composite
def split_tables(draw):
    """A table cut into files and row groups, some of them empty."""
    files = draw(st.lists(st.lists(st.integers(0, 7), max_size=4), min_size=1, max_size=4))
    files[0].append(1)
    n_rows = sum(map(sum, files))
    start, stop = sorted(draw(st.tuples(*[st.integers(0, n_rows)] * 2)))
    return files, n_rows, start, stop, draw(st.integers(1, 9))


def write_split(folder, files, table):
    start, paths = 0, []
    for at, groups in enumerate(files):
        rows = table.slice(start, sum(groups))
        paths.append(write(folder / f"{at}.parquet", rows, groups))
        start += sum(groups)
    return paths


@FEW
@given(split_tables())
def test_any_range_of_any_row_groups(scratch, drawn):
    files, n_rows, start, stop, rows = drawn
    x = np.random.default_rng(n_rows).standard_normal((n_rows, 3)).astype("f4")
    names = [f"n{row % 4}" for row in range(n_rows)]
    table = pa.table({"a": x[:, 0], "y": names, "b": x[:, 1], "id": range(n_rows), "c": x[:, 2]})
    source = open_table(write_split(scratch, files, table), label_column="y", id_column="id")
    assert source.shape == (n_rows, 3)
    same(source.read(start, stop), x[start:stop], "f4")
    assert source.label_values(start, stop).tolist() == names[start:stop]
    same(source.id_values(start, stop), np.arange(start, stop), "i8")
    same(source.read(start, n_rows), x[start:], "f4")
    same(source.read(0, stop), x[:stop], "f4")
    same(rows_of(source, rows), x, "f4")
    for features, labels, ids in source.column_blocks(rows):
        same(features, x[ids], "f4")
        assert labels.tolist() == [names[at] for at in ids]


def test_consecutive_ranges_open_the_file_once(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", {"a": np.arange(1000), "y": np.arange(1000)})
    source = open_table(path, label_column="y")
    opened = []
    real = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda *a, **k: opened.append(a) or real(*a, **k))
    for start in range(0, 500, 10):
        same(source.read(start, start + 10)[:, 0], np.arange(start, start + 10), "i8")
        same(source.read(500 + start, 510 + start)[:, 0], np.arange(500 + start, 510 + start), "i8")
    assert len(opened) == 2
    source.label_values(10, 20)
    assert len(opened) == 3


def test_read_from_many_threads(tmp_path):
    x = np.random.default_rng(0).standard_normal((400, 3))
    table = pa.table(list(x.T), names=list("abc"))
    source = open_table(write(tmp_path / "a.parquet", table, [70, 1, 200]))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            got = list(pool.map(lambda at: source.read(at, at + 10), range(0, 400, 10)))
            same(np.concatenate(got), x, "f8")


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 4), (2, 1), (4, 4)])
def test_range_outside(tmp_path, start, stop):
    source = open_table(write(tmp_path / "a.parquet", {"a": [1, 2, 3]}))
    with pytest.raises(InputError, match=f"rows {start} to {stop} asked for.* 0 to 3"):
        source.read(start, stop)


@pytest.mark.parametrize("rows", [0, -1])
def test_blocks_of_no_rows(tmp_path, rows):
    for kind in ("parquet", "csv"):
        source = open_table(write(tmp_path / f"a.{kind}", {"a": [1]}))
        with pytest.raises(InputError, match=f"{rows} rows per block; a block needs at least 1"):
            source.blocks(rows)


def test_large_row_groups_are_not_held(tmp_path):
    n_rows = 2_000_000
    x = np.random.default_rng(0).integers(0, 1 << 40, n_rows)
    path = write(tmp_path / "a.parquet", {"a": x, "b": x}, use_dictionary=False)
    source = open_table(path)
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        for start in range(0, n_rows, 1 << 18):
            stop = min(start + (1 << 18), n_rows)
            assert source.read(start, stop)[:, 1].tobytes() == x[start:stop].tobytes()
    finally:
        pa.set_memory_pool(before)
    assert 0 < pool.max_memory() < 16 * n_rows / 3


def test_names_with_dots_and_structs(tmp_path):
    table = pa.table({"a": [{"b": 1}], "a.b": [3], "c": [[1, 2]], "a.c": [4]})
    source = open_table(write(tmp_path / "a.parquet", table))
    assert source.feature_names == ("a.b", "a.c")
    same(source.read(0, 1), [[3, 4]], "i8")


# --- labels and ids ------------------------------------------------------------------------

TEXT = pa.string()


@pytest.mark.parametrize(
    ("values", "kind", "labels", "names"),
    [
        ([3, 1, 3], pa.int8(), [3, 1, 3], [1, 3]),
        ([10, 9, 2**63 - 1], pa.uint64(), [10, 9, 2**63 - 1], [9, 10, 2**63 - 1]),
        ([True, False, True], pa.bool_(), [1, 0, 1], [0, 1]),
        ([3.0, -1.0, 10.0], pa.float32(), [3, -1, 10], [-1, 3, 10]),
        ([3.0, NAN, None], pa.float64(), [3, None, None], [3]),
        ([3, None, 10], pa.int64(), [3, None, 10], [3, 10]),
        (["b", None, "a"], TEXT, ["b", None, "a"], ["a", "b"]),
        (["10", "9", "é"], pa.large_string(), ["10", "9", "é"], ["10", "9", "é"]),
        (["b", None, "a"], pa.dictionary(pa.int32(), TEXT), ["b", None, "a"], ["a", "b"]),
        ([5, None, 5], pa.dictionary(pa.int8(), pa.int64()), [5, None, 5], [5]),
    ],
)
def test_labels_of_parquet(tmp_path, values, kind, labels, names):
    table = pa.table({"x": [1.0, 2.0, 3.0], "y": pa.array(values, kind)})
    source = open_table(write(tmp_path / "a.parquet", table, [1]), label_column="y")
    assert source.label_values(0, 3).tolist() == labels
    assert keys_of(source, 2)[0] == labels
    assert source.class_names().tolist() == names
    integers = isinstance(names[0], int)
    assert source.class_names().dtype == ("int64" if integers else object)
    whole = integers and None not in labels
    assert source.label_values(0, 3).dtype == ("int64" if whole else object)
    assert source.label_values(1, 1).dtype == ("int64" if integers else object)


@pytest.mark.parametrize(
    ("written", "labels", "names"),
    [
        (["3", "-1", "10"], [3, -1, 10], [-1, 3, 10]),
        (["3.0", "1", "10.00"], [3, 1, 10], [1, 3, 10]),
        (["3", "", "10"], [3, None, 10], [3, 10]),
        (["3.0", "NaN", "10.0"], [3, None, 10], [3, 10]),
        (["007", "7", "8"], ["007", "7", "8"], ["007", "7", "8"]),
        (["a", "NA", "1.5"], ["a", None, "1.5"], ["1.5", "a"]),
        (["true", "false", "true"], ["true", "false", "true"], ["false", "true"]),
        (["2020-01-01", "x", "x"], ["2020-01-01", "x", "x"], ["2020-01-01", "x"]),
        (["9223372036854775807", "0", "1"], [2**63 - 1, 0, 1], [0, 1, 2**63 - 1]),
        (["9223372036854775808", "0", "1"], ["9223372036854775808", "0", "1"], None),
    ],
)
@pytest.mark.parametrize("missing", ["error", "drop"])
def test_labels_of_csv(tmp_path, written, labels, names, missing):
    path = text(tmp_path / "a.csv", "x,y\n" + "".join(f"1,{word}\n" for word in written))
    source = open_table(path, label_column="y", missing=missing)
    assert keys_of(source, 2)[0] == labels
    assert source.class_names().tolist() == (names or sorted(labels))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_labels_that_are_real_numbers(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", {"x": [1, 2], "y": [1.0, 2.5]})
    with pytest.raises(InputError, match=r"2\.5: labels are whole numbers or text; choose"):
        open_table(path, label_column="y").class_names()


@pytest.mark.parametrize(
    ("ids", "read", "dtype"),
    [
        (pa.array([5, 5, 7], pa.int16()), [5, 5, 7], "int64"),
        (pa.array([5, 6, 2**64 - 1], pa.uint64()), [5, 6, 2**64 - 1], "uint64"),
        (pa.array(["a", "b", "007"]), ["a", "b", "007"], object),
    ],
)
def test_ids_of_parquet(tmp_path, ids, read, dtype):
    source = open_table(write(tmp_path / "a.parquet", {"x": [1, 2, 3], "i": ids}), id_column="i")
    assert source.id_values(0, 3).tolist() == read
    assert source.id_values(1, 2).dtype == dtype


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["1", "20", "3"], [1, 20, 3]),
        (["01", "20", "3"], ["01", "20", "3"]),
        (["1.0", "20", "3"], ["1.0", "20", "3"]),
        (["a", "20", "99999999999999999999"], ["a", "20", "99999999999999999999"]),
    ],
)
def test_ids_of_csv_are_as_written(tmp_path, written, read):
    path = text(tmp_path / "a.csv", "i,x\n" + "".join(f"{word},1\n" for word in written))
    assert keys_of(open_table(path, id_column="i"))[1] == read


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_missing_id(tmp_path, kind):
    table = {"x": [None, 1, 2, 3], "i": ["a", "b", None, "c"]}
    source = open_table(write(tmp_path / f"a.{kind}", table), id_column="i", missing="drop")
    with pytest.raises(InputError, match=r"row 2: no id in column 'i'; give every row one"):
        list(source.column_blocks(2))
    table["x"] = [1, 2, None, 3]
    source = open_table(write(tmp_path / f"a.{kind}", table), id_column="i", missing="drop")
    assert keys_of(source)[1] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_labels_differ_between_files(tmp_path, kind):
    one = write(tmp_path / f"1.{kind}", {"x": [1], "y": [5]})
    two = write(tmp_path / f"2.{kind}", {"x": [1], "y": ["a"]})
    with pytest.raises(InputError, match=r"2\..*'y' is text, but in .*1\..* it is integers"):
        open_table([one, two], label_column="y")
    with pytest.raises(InputError, match=r"2\..*'y' is text, but in .*1\..* it is integers"):
        open_table([one, two], id_column="y")


def test_labels_none_in_one_file(tmp_path):
    one = write(tmp_path / "1.parquet", {"x": [1], "y": pa.nulls(1)})
    two = write(tmp_path / "2.parquet", {"x": [1], "y": [5]})
    source = open_table([one, two], label_column="y")
    assert source.label_values(0, 2).tolist() == [None, 5]
    assert source.class_names().tolist() == [5]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_too_many_classes(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", {"x": np.zeros(65_537), "y": np.arange(65_537)})
    with pytest.raises(InputError, match=r"more than 65536 distinct classes in column 'y'"):
        open_table(path, label_column="y").class_names()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_no_labels_at_all(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", {"x": [1, 2], "y": pa.nulls(2, pa.string())})
    source = open_table(path, label_column="y")
    assert keys_of(source)[0] == [None, None]
    with pytest.raises(InputError, match="column 'y' has no label in any row"):
        source.class_names()


def test_classes_of_the_rows_that_are_kept(tmp_path):
    for kind in ("parquet", "csv"):
        path = write(tmp_path / f"a.{kind}", {"x": [1, None, 2], "y": ["a", "b", "c"]})
        source = open_table(path, label_column="y", missing="drop")
        assert source.class_names().tolist() == ["a", "c"]


def test_keys_nobody_named(tmp_path):
    for kind in ("parquet", "csv"):
        source = open_table(write(tmp_path / f"a.{kind}", {"x": [1]}))
        for ask in (source.class_names, lambda s=source: s.label_values(0, 1)):
            with pytest.raises(InputError, match=r"no label column was named.*--label-column"):
                ask()
        with pytest.raises(InputError, match="no id column was named"):
            source.id_values(0, 1)


# --- missing values ------------------------------------------------------------------------


def naive(x, missing, there):
    """The rows that are left and which they were, by the plainest NumPy."""
    if missing == "drop":
        keep = there.all(axis=1)
        return x[keep], np.flatnonzero(keep)
    columns = [
        math.fsum(column[present].tolist()) / present.sum()
        for column, present in zip(x.T, there.T, strict=True)
    ]
    return np.where(there, x, np.array(columns)[None]), np.arange(len(x))


@st.composite
def holed_tables(draw):
    files, n_rows, start, stop, rows = draw(split_tables())
    holes = draw(st.sampled_from([0.0, 0.05, 0.4]))
    seed = draw(st.integers(0, 2**32 - 1))
    return files, n_rows, start, stop, rows, holes, seed


@FEW
@given(holed_tables(), st.sampled_from(["drop", "mean"]), st.sampled_from(["parquet", "csv"]))
def test_missing_values_against_numpy(scratch, drawn, missing, kind):
    files, n_rows, start, stop, rows, holes, seed = drawn
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(-9, 9, n_rows).astype("f8"), rng.standard_normal(n_rows)], axis=1)
    there = rng.random(x.shape) >= holes
    there[0] = True  # a column without any value is refused
    table = pa.table(
        {
            "a": pa.array(x[:, 0].astype("i8"), mask=~there[:, 0]),
            "b": np.where(there[:, 1], x[:, 1], np.nan),
            "y": [None if row % 5 == 4 else row for row in range(n_rows)],
            "id": [f"r{row}" for row in range(n_rows)],
        }
    )
    if kind == "parquet":
        paths = write_split(scratch, files, table)
    else:
        paths = [write(scratch / "0.csv", table)]
    source = open_table(paths, label_column="y", id_column="id", missing=missing)
    expected, kept = naive(x, missing, there)
    assert source.n_rows == len(kept)
    header = source.header()
    assert header["rows_dropped"] == n_rows - len(kept)
    assert header["values_imputed"] == ((~there).sum() if missing == "mean" else 0)
    same(rows_of(source, rows), expected, "f8")
    labels, ids = keys_of(source, rows)
    assert ids == [f"r{row}" for row in kept]
    assert labels == [None if row % 5 == 4 else row for row in kept]
    if kind == "parquet":
        start, stop = min(start, len(kept)), min(stop, len(kept))
        same(source.read(start, stop), expected[start:stop], "f8")
        assert source.id_values(start, stop).tolist() == ids[start:stop]
        assert source.label_values(start, stop).tolist() == labels[start:stop]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, NAN])
def test_a_missing_value_is_refused_by_default(tmp_path, kind, value):
    table = {"a": [1.0] * 9, "b": [1.0] * 7 + [value, 2.0]}
    path = write(tmp_path / f"a.{kind}", table, [2, 3])
    with pytest.raises(
        InputError, match=r"row 7, column 'b': no value.*--missing drop.*--missing mean"
    ):
        rows_of(open_table(path))


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_is_named_in_its_file_and_overall(tmp_path, kind):
    one = write(tmp_path / f"1.{kind}", {"a": [1, 2, 3]})
    two = write(tmp_path / f"2.{kind}", {"a": [1, None]})
    with pytest.raises(InputError, match=r"2\..*: row 1 \(row 4 of all files\), column 'a'"):
        rows_of(open_table([one, two]))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_column_without_values(tmp_path, kind):
    table = {"a": [1.0, 2.0], "b": pa.array([None, None], pa.float64())}
    path = write(tmp_path / f"a.{kind}", table)
    for missing, message in (
        ("error", "row 0, column 'b': no value"),
        ("drop", "all 2 rows have missing values and were dropped; choose other columns"),
        ("mean", "column 'b' has no value in any row, so it has no mean"),
    ):
        with pytest.raises(InputError, match=message):
            rows_of(open_table(path, columns=["a", "b"], missing=missing))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_infinity_is_left_to_whoever_converts(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", {"a": [1.0, float("inf"), None, -np.inf, 4.0, 1e300]})
    got = rows_of(open_table(path, missing="mean"))[:, 0].tolist()
    assert got == [1.0, float("inf"), 2.5, -float("inf"), 4.0, 1e300]


def test_means_depend_on_the_rows_alone(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(150_000) * 10.0 ** rng.integers(-12, 12, 150_000)
    x[::7] = np.nan
    means = set()
    for at, groups in enumerate(([], [1000], [149_999], [70_000, 3])):
        table = pa.table({"a": x})
        paths = [write(tmp_path / f"{at}.parquet", table, groups)]
        means.add(open_table(paths, missing="mean").selection.means)
        paths = write_split(tmp_path, [[g] for g in [*groups, 150_000 - sum(groups)]], table)
        means.add(open_table(paths, missing="mean").selection.means)
    means.add(open_table(write(tmp_path / "a.csv", table), missing="mean").selection.means)
    assert len(means) == 1
    assert means.pop()[0] == pytest.approx(np.nanmean(x), rel=1e-9)


def test_means_in_float32(tmp_path):
    path = write(tmp_path / "a.parquet", {"a": pa.array([0.1, 0.2, None], pa.float32())})
    x = np.array([0.1, 0.2], "f4")
    mean = np.float32(math.fsum(x.tolist()) / 2)
    same(rows_of(open_table(path, missing="mean"))[:, 0], [*x, mean], "f4")


# --- CSV -----------------------------------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch):
    """Many blocks in a small file."""
    for module in ("csvfile", "csvcount"):
        monkeypatch.setattr(f"daskcluster.sources.{module}.BLOCK_BYTES", 64)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("missing", ["error", "drop", "mean"])
def test_decimals_after_integers(tmp_path, missing):
    values = [*range(50), 0.5, *range(50)]
    path = text(tmp_path / "a.csv", "a,b\n" + "".join(f"{v},{i}\n" for i, v in enumerate(values)))
    source = open_table(path, missing=missing)
    same(rows_of(source), np.stack([values, np.arange(101)], axis=1), "f8")


@pytest.mark.usefixtures("small_blocks")
def test_decimals_in_one_file_only(tmp_path):
    one = text(tmp_path / "1.csv", "a\n" + "1\n" * 50 + "2.5\n" + "1\n" * 50)
    two = text(tmp_path / "2.csv", "a\n" + "7\n" * 20)
    source = open_table([two, one])
    assert source.dtype == "float64"
    assert rows_of(source).sum() == 140 + 100 + 2.5


@pytest.mark.usefixtures("small_blocks")
def test_text_after_integers(tmp_path):
    path = text(tmp_path / "a.csv", "x,b\n" + "1,2\n" * 50 + "1,abc\n" + "1,2\n" * 50)
    with pytest.raises(InputError, match=r"a\.csv: .*column 'b': row 50: .*invalid value 'abc'"):
        open_table(path)


@pytest.mark.usefixtures("small_blocks")
def test_numbers_after_nothing(tmp_path):
    path = text(tmp_path / "a.csv", "a,b\n" + "1,\n" * 50 + "2,0.5\n" * 3)
    same(rows_of(open_table(path, missing="drop")), [[2, 0.5]] * 3, "f8")
    with pytest.raises(InputError, match=r"a\.csv: row 0, column 'b': no value"):
        open_table(path)


@pytest.mark.usefixtures("small_blocks")
def test_labels_that_turn_out_to_be_text(tmp_path):
    path = text(tmp_path / "a.csv", "a,y\n" + "1,5\n" * 50 + "1,six\n" + "1,07\n" * 50)
    source = open_table(path, label_column="y")
    assert keys_of(source, 7)[0] == ["5"] * 50 + ["six"] + ["07"] * 50
    assert source.class_names().tolist() == ["07", "5", "six"]


@pytest.mark.usefixtures("small_blocks")
def test_a_line_longer_than_a_block(tmp_path):
    path = text(tmp_path / "a.csv", "a,b\n" + "1,2\n" * 50 + "1," + "2" * 300 + "\n")
    with pytest.raises(InputError, match="a line longer than 64 bytes, or a quote that is never"):
        open_table(path)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_quotes_ends_of_lines_and_a_byte_order_mark(tmp_path, rows):
    lines = "".join(f'{i},"one, {i}\r\ntwo"\r\n' for i in range(40))
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,y\r\n" + lines.encode())
    source = open_table(path, label_column="y")
    assert rows_of(source, rows)[:, 0].tolist() == list(range(40))
    assert keys_of(source, rows)[0] == [f"one, {i}\r\ntwo" for i in range(40)]


def test_bools_of_csv(tmp_path):
    path = text(tmp_path / "a.csv", "a,b\ntrue,1\nfalse,0\n")
    same(rows_of(open_table(path, columns=["a"])), [[1], [0]], "u1")
    same(rows_of(open_table(path)), [[1, 1], [0, 0]], "i8")


def test_empty_lines(tmp_path):
    """Skipped, but where they may be a missing value."""
    several = text(tmp_path / "a.csv", "\na,b\n\n1,2\n\n\n3,4\n\n")
    same(rows_of(open_table(several)), [[1, 2], [3, 4]], "i8")
    one = text(tmp_path / "b.csv", "a\n1\n\n3\n")
    with pytest.raises(InputError, match="row 1, column 'a': no value"):
        open_table(one)
    assert rows_of(open_table(one, missing="mean"))[:, 0].tolist() == [1, 2, 3]


def test_csv_is_read_forward_only(tmp_path):
    source = open_table(write(tmp_path / "a.csv", {"a": [1], "y": [1]}), label_column="y")
    for read in (source.read, source.label_values):
        with pytest.raises(InputError, match=r"a\.csv: a CSV file cannot be read from row 0"):
            read(0, 1)


@pytest.mark.parametrize("padding", [b"", bytes(512), bytes(40_000)])
@pytest.mark.parametrize("last", [b"3,4\n", b""])
def test_gzip_of_several_members(tmp_path, last, padding):
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n") + gzip.compress(last) + padding)
    same(rows_of(open_table(path)), [[1, 2], [3, 4]] if last else [[1, 2]], "i8")


@pytest.mark.parametrize("damage", [lambda x: x[:-3], lambda x: x[:-9] + b"?" + x[-8:]])
@pytest.mark.parametrize("padding", [b"", bytes(512), b"more"])
def test_damaged_gzip(tmp_path, damage, padding):
    text = b"a,b\n" + b"1,2\n" * 5000
    (tmp_path / "a.csv").write_bytes(damage(gzip.compress(text)) + padding)
    with pytest.raises(InputError, match=r"a\.csv: (cannot be read as CSV|damaged)"):
        open_table(tmp_path / "a.csv")


@pytest.mark.parametrize("packed", [False, True])
def test_threads_of_arrow_call_no_python(tmp_path, monkeypatch, packed):
    """They go on after the text was refused, and must not be killed as the interpreter ends."""
    given, opened = [], csv.open_csv
    monkeypatch.setattr(csv, "open_csv", lambda at, *more: (given.append(at), opened(at, *more))[1])
    text = b"a,b\n1,2\n"
    (tmp_path / "a.csv").write_bytes(gzip.compress(text) if packed else text)
    rows_of(open_table(tmp_path / "a.csv"))
    assert len(given) == 3
    assert all(isinstance(at, pa.NativeFile) for at in given)
    assert not any(isinstance(at, pa.PythonFile) for at in given)


# Each child ends as a program of its own would, soon after the text was refused.
REFUSED = """
import os, signal, sys
import pyarrow.csv
from daskcluster import InputError
from daskcluster.sources import csvcount, csvfile
from daskcluster.sources.table import open_table

csvfile.BLOCK_BYTES = 1 << 16
for _ in range(12):
    child = os.fork()
    if not child:
        signal.alarm(300)
        try:
            open_table(sys.argv[1])
        except InputError:
            sys.exit()
    status = os.waitpid(child, 0)[1]
    if status:
        sys.exit(f"a child ended with {os.waitstatus_to_exitcode(status)}")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("packed", [False, True])
def test_a_process_outlives_a_refused_csv(tmp_path, packed):
    """Those that Arrow read ahead for hung or aborted as they ended, one in ten."""
    content = b"a,b\n" + b"1,2\n" * 100 + b"1\n" + b"1,2\n" * 1_000_000
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    command = [sys.executable, "-c", REFUSED, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1.5,2\n3,4\n", "first line holds values, not the names of columns: it begins with '1.5'"),
        ("5,0,0\n1,2,3\n", "first line holds values"),
        ("5.1,3.5,setosa\n4.9,3,setosa\n", "first line holds values"),
        ("a;b\n1;2\n", "first line 'a;b' has no comma"),
        ("a,a\n1,2\n", "several columns are called 'a'"),
        (",a\n0,5\n", "column '' looks like the row numbers that pandas writes"),
        ("a,b\n1,2\n3\n", r"row 1: Expected 2 columns, got 1"),
        ("a,b\n", "zero rows, or none with any value"),
        ("a,b\n,\n", "zero rows, or none with any value"),
        ("a,b", "cannot be read as CSV"),
        ("\n\n", "cannot be read as CSV"),
        ("a,b\nx,y\n", r"no numeric columns.*'a' \(string\), 'b' \(string\)"),
        ("a,b\n2020-01-01,y\n", r"'a' \(date32"),
        ("\n <html>", "looks like a web page"),
        ("a,b\n1,2\x00\n", "neither Parquet nor CSV: .*byte 7 is 0x00"),
        ("", "empty file"),
    ],
)
def test_refused_csv(tmp_path, content, message):
    with pytest.raises(InputError, match=r"some\.csv: .*" + message):
        open_table(text(tmp_path / "some.csv", content))


def test_names_that_are_numbers(tmp_path):
    years = text(tmp_path / "a.csv", "2019,2020\n1,2\n")
    assert open_table(years, columns=["2020"]).feature_names == ("2020",)
    countries = text(tmp_path / "b.csv", "country,2019,2020\nx,1,2\n")
    assert open_table(countries).feature_names == ("2019", "2020")
    numbered = text(tmp_path / "c.csv", "0,1\n7,8\n")
    assert open_table(numbered).feature_names == ("0", "1")


def test_an_index_that_is_named_is_no_fault(tmp_path):
    path = text(tmp_path / "a.csv", ",0,1\n0,5,6\n1,7,8\n")
    source = open_table(path, id_column="")
    same(rows_of(source), [[5, 6], [7, 8]], "i8")
    assert keys_of(source)[1] == [0, 1]
    same(rows_of(open_table(path, columns=["1"])), [[6], [8]], "i8")


# --- refusals ------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path):
    return write(
        tmp_path / "mixed.parquet",
        {
            "n": [1],
            "m": [0.5],
            "text": ["a"],
            "list": [[1]],
            "when": pa.array([0], pa.timestamp("s")),
            "money": pa.array([1], pa.decimal128(5, 2)),
            "raw": [b"x"],
        },
    )


@pytest.mark.parametrize("name", ["text", "list", "when", "money", "raw"])
def test_columns_that_are_no_numbers(mixed, name):
    kind = re.escape(str(pq.read_schema(mixed).field(name).type))
    with pytest.raises(
        InputError, match=rf"mixed\.parquet: column '{name}' is of type {kind}.*'m'"
    ):
        open_table(mixed, columns=["n", name])
    assert open_table(mixed).feature_names == ("n", "m")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["n", "gone"]}, r"no feature column 'gone'; its columns are 'n', 'm', 'text'"),
        ({"label_column": "gone"}, "no label column 'gone'"),
        ({"id_column": "gone"}, "no id column 'gone'"),
        ({"label_column": "when"}, "the label column 'when' is of type timestamp"),
        ({"label_column": "raw"}, "the label column 'raw' is of type binary"),
        ({"id_column": "m"}, "the id column 'm' is of type double; ids are integers or text"),
        ({"columns": []}, "no columns chosen"),
        ({"columns": ["n", "n"]}, "'n' chosen more than once"),
        (
            {"columns": ["n"], "label_column": "n"},
            "'n' is the label column and cannot be a feature",
        ),
        ({"columns": ["n"], "id_column": "n"}, "'n' is the id column and cannot be a feature"),
    ],
)
def test_columns_that_cannot_be(mixed, options, message):
    with pytest.raises(InputError, match=r"mixed\.parquet: " + message):
        open_table(mixed, **options)


def test_options_that_cannot_be(mixed):
    with pytest.raises(InputError, match="missing='median'; it is one of error, drop, mean"):
        open_table(mixed, missing="median")
    with pytest.raises(InputError, match="'n' is named for labels and for ids"):
        open_table(mixed, label_column="n", id_column="n")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_of_different_columns(tmp_path, kind):
    one = write(tmp_path / f"1.{kind}", {"a": [1], "b": [2], "y": ["u"]})
    absent = write(tmp_path / f"2.{kind}", {"a": [1], "y": ["u"]})
    other = write(tmp_path / f"3.{kind}", {"a": [1], "b": ["x"], "y": ["u"]})
    with pytest.raises(InputError, match=r"2\..*no feature column 'b', which .*1\..* has"):
        open_table([one, absent])
    with pytest.raises(InputError, match=r"3\..*'b' is of type string, but a number in .*1\."):
        open_table([one, other])
    assert open_table([one, absent, other], columns=["a"]).n_rows == 3
    with pytest.raises(InputError, match=r"2\..*no label column 'b', which .*1\..* has"):
        open_table([one, absent], columns=["a"], label_column="b")


def test_a_column_that_is_empty_in_the_first_file(tmp_path):
    one = write(tmp_path / "1.parquet", {"a": [1], "b": pa.nulls(1), "c": pa.nulls(1)})
    two = write(tmp_path / "2.parquet", {"a": [1], "b": np.array([2], "i4"), "c": ["x"]})
    source = open_table([one, two], missing="drop")
    assert source.feature_names == ("a", "b")
    same(rows_of(source), [[1, 2]], "i8")


def test_duplicate_columns(tmp_path):
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(InputError, match=r"a\.parquet: several columns are called 'a'"):
        open_table(write(tmp_path / "a.parquet", table))


def test_the_index_of_a_data_frame(tmp_path):
    path = write(tmp_path / "a.parquet", {"a": [1], "__index_level_0__": [7]})
    with pytest.raises(InputError, match="looks like the row numbers that pandas writes"):
        open_table(path)
    assert open_table(path, id_column="__index_level_0__").feature_names == ("a",)


@pytest.mark.parametrize("groups", [None, [0, 0]])
def test_zero_rows(tmp_path, groups):
    path = write(tmp_path / "a.parquet", {"a": pa.array([], pa.int64())}, groups)
    with pytest.raises(InputError, match=r"a\.parquet: zero rows"):
        open_table(path)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_without_rows_among_others(tmp_path, kind):
    one = write(tmp_path / f"1.{kind}", {"a": pa.array([], pa.int64())})
    two = write(tmp_path / f"2.{kind}", {"a": [4, 5]})
    for files in ([one, two], [two, one], [one, two, one]):
        same(rows_of(open_table(files)), [[4], [5]], "i8")


def test_files_that_cannot_be(tmp_path):
    parquet = write(tmp_path / "a.parquet", {"a": [1]})
    plain = write(tmp_path / "b.csv", {"a": [1]})
    (tmp_path / "empty").mkdir()
    for files, message in (
        ([], "no files given"),
        ([parquet, plain], r"b\.csv is a CSV file, but .*a\.parquet is a Parquet file"),
        (tmp_path, "a folder of both Parquet and CSV files"),
        (tmp_path / "empty", r"a folder without \*\.parquet or \*\.csv files"),
        (tmp_path / "gone.parquet", r"gone\.parquet: no such file"),
        (b"bytes", "must be text, not bytes"),
        ("nul\0", "not a path"),
    ):
        with pytest.raises(InputError, match=message):
            open_table(files)


def test_without_pyarrow(tmp_path, monkeypatch):
    for kind, module in (("parquet", "parquet"), ("csv", "csvcount")):
        path = write(tmp_path / f"a.{kind}", {"a": [1]})
        monkeypatch.setitem(sys.modules, f"daskcluster.sources.{module}", None)
        with pytest.raises(InputError, match=r"pip install 'daskcluster\[table\]'"):
            open_table(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    writing = writing_parquet(tmp_path / "out.parquet", [("label", "i4")])
    with pytest.raises(InputError, match=r"pip install 'daskcluster\[table\]'"):
        writing.__enter__()


# --- damage and change ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_change(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", {"a": [1, 2, 3], "b": [1.5, 2.5, 3.5]})
    source = open_table(path)
    write(path, {"a": [1, 2, 3, 4], "b": [1.5, 2.5, 3.5, 4.5]})
    with pytest.raises(InputError, match="the file changed while it was being read"):
        rows_of(source)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        rows_of(source)


def test_other_rows_in_as_many_bytes(tmp_path):
    path = text(tmp_path / "a.csv", "a\n11\n22\n")
    source = open_table(path)
    for content in ("a\n1\n12\n2\n"[:8], "a\n11222\n"):
        text(path, content)
        with pytest.raises(InputError, match="the file changed while it was being read"):
            rows_of(source, 100)
    text(path, "a\n11\nxx\n")
    with pytest.raises(InputError, match="invalid value 'xx'"):
        rows_of(source)


def test_other_row_groups_in_as_many_bytes(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", {"a": [1, 2, 3]}, [1])
    source = open_table(path)
    write(path, {"a": [1, 2, 3]}, [2])
    monkeypatch.setattr("daskcluster.sources.parquet.check_same_size", lambda *_: None)
    with pytest.raises(InputError, match="other row groups than when it was opened"):
        source.read(0, 2)


@pytest.mark.parametrize("cut", [4, 11, 100, -1, -4, -30])
def test_parquet_cut_short(tmp_path, cut):
    path = write(tmp_path / "a.parquet", {"a": list(range(100))})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"a\.parquet: "):
        open_table(path)


@pytest.mark.parametrize("magic", [b"PARE", b"\x00\x00\x00\x00"])
def test_parquet_of_another_magic(tmp_path, magic):
    path = write(tmp_path / "a.parquet", {"a": [1]})
    path.write_bytes(path.read_bytes()[:-4] + magic)
    with pytest.raises(InputError, match=r"a\.parquet: (an encrypted|a Parquet file that is cut)"):
        open_table(path)


def test_pages_with_checksums(tmp_path):
    path = write(
        tmp_path / "a.parquet", {"a": np.arange(500)},
        write_page_checksum=True, compression="none", use_dictionary=False,
    )  # fmt: skip
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    source = open_table(path)
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read as Parquet \(could not"):
        source.read(0, 500)


FUZZED = {
    "i": pa.array(range(40), pa.int32()),
    "f": pa.array([None if row % 7 == 0 else row / 4 for row in range(40)], pa.float32()),
    "b": [row % 3 == 0 for row in range(40)],
    "y": [None if row % 9 == 0 else f"c{row % 3}" for row in range(40)],
    "id": list(range(40)),
}


@pytest.fixture(scope="module")
def whole(scratch):
    """Bytes of good files."""
    return {
        "parquet": write(scratch / "good.parquet", FUZZED, [13, 13]).read_bytes(),
        "zstd": write(
            scratch / "good.parquet", FUZZED, compression="zstd", store_schema=False
        ).read_bytes(),
        "csv": write(scratch / "good.csv", FUZZED).read_bytes(),
        "csv.gz": write(scratch / "good.csv.gz", FUZZED).read_bytes(),
    }


@st.composite
def damages(draw):
    return (
        draw(st.sampled_from(["parquet", "zstd", "csv", "csv.gz"])),
        draw(st.sampled_from(["error", "drop", "mean"])),
        draw(
            st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3)
        ),
        draw(st.none() | st.floats(0, 1)),
        draw(st.booleans()),
    )


@settings(max_examples=100)
@given(damages())
def test_damage_is_refused_or_harmless(scratch, whole, damage):
    kind, missing, flips, cut, in_footer = damage
    data = bytearray(whole[kind])
    low = len(data) * 2 // 3 if in_footer else 0
    for where, change in flips:
        data[low + int(where * (len(data) - low))] ^= change
    path = scratch / "damaged"
    path.write_bytes(data if cut is None else data[: int(cut * len(data))])
    with suppress(InputError):
        check_whole(open_table(path, label_column="y", id_column="id", missing=missing))


def check_whole(source):
    """Everything that can be read of a source, of as many rows as it says."""
    blocks = list(source.column_blocks(7))
    source.class_names()
    assert sum(len(features) for features, _, _ in blocks) == source.n_rows
    assert all(len(f) == len(labels) == len(ids) for f, labels, ids in blocks)


# --- predictions ---------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [None, np.array(["a", "b", "ü"], object), np.arange(3) + 2**62])
def test_predictions(tmp_path, monkeypatch, ids):
    monkeypatch.setattr("daskcluster.sources.predictions.GROUP_ROWS", 4)
    path = tmp_path / "out.parquet"
    kinds = [("label", "int32"), ("distance", np.float64)]
    columns = kinds if ids is None else [("id", ids.dtype), *kinds]
    labels, distances = np.array([2, 0, 1], "i4"), np.array([0.5, 1e-300, 3.0])
    with writing_parquet(path, columns) as write_rows:
        for _ in range(5):
            write_rows(ids, labels, distances)
            assert not path.exists()
    table = pq.read_table(path)
    assert table.column_names == [name for name, _ in columns]
    assert table["label"].to_pylist() == [2, 0, 1] * 5
    assert table["label"].type == pa.int32()
    assert table["distance"].to_pylist() == distances.tolist() * 5
    assert ids is None or table["id"].to_pylist() == ids.tolist() * 5
    assert [p.name for p in tmp_path.iterdir()] == ["out.parquet"]


def test_predictions_of_no_rows(tmp_path):
    with writing_parquet(tmp_path / "out.parquet", [("label", "int32")]):
        pass
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def test_predictions_overwrite_only_when_told(tmp_path):
    path = write(tmp_path / "out.parquet", {"a": [1]})
    before = path.read_bytes()
    with (
        pytest.raises(InputError, match=r"out\.parquet exists; .*--overwrite"),
        writing_parquet(path, [("label", "int32")]),
    ):
        pass
    assert path.read_bytes() == before
    with writing_parquet(path, [("label", "int32")], overwrite=True) as write_rows:
        write_rows(None, np.zeros(2, "i4"))
        assert path.read_bytes() == before
    assert pq.read_table(path).num_rows == 2


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ((np.zeros(2, "i4"),), InputError),
        ((np.zeros(2, "i4"), np.zeros(3)), InputError),
        ((np.zeros(2, "i4"), np.array(["a", "b"])), Exception),
    ],
)
def test_nothing_is_left_of_predictions_that_fail(tmp_path, rows, error):
    path = tmp_path / "out.parquet"
    good = (np.zeros(2, "i4"), np.zeros(2))
    with (
        pytest.raises(error),
        writing_parquet(path, [("label", "int32"), ("distance", "float64")]) as write_rows,
    ):
        [write_rows(*columns) for columns in (good, rows)]
    assert not list(tmp_path.iterdir())


def test_predictions_where_no_file_can_be(tmp_path):
    for path, message in (
        (tmp_path / "gone" / "out.parquet", "is no folder"),
        (tmp_path, "is a folder; name a file"),
    ):
        with pytest.raises(InputError, match=message), writing_parquet(path, [("label", "i4")]):
            pass


def test_predictions_are_read_back_as_a_table(tmp_path):
    path = tmp_path / "out.parquet"
    with writing_parquet(path, [("id", str), ("label", "int32"), ("distance", "f8")]) as write_rows:
        write_rows(np.array(["a", "b"]), np.array([1, 0], "i4"), np.array([0.5, 2]))
    source = open_table(path, label_column="label", id_column="id")
    assert keys_of(source) == ([1, 0], ["a", "b"])
    same(rows_of(source), [[0.5], [2.0]], "f8")
