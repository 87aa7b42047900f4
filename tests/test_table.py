"""Tables as stores, and labels back out with the ids of their rows."""

import json
import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from daskcluster import (
    InputError,
    KMeans,
    StoreError,
    convert_table,
    evaluate,
    open_store,
    predict_parquet,
)
from daskcluster.cli import main
from daskcluster.convert import table as converting


@pytest.fixture
def rows(rng):
    n = 700
    centers = rng.normal(size=(3, 4)) * 6
    kinds = rng.integers(0, 3, n)
    features = (centers[kinds] + rng.normal(size=(n, 4))).astype(np.float32)
    return pa.table({
        "name": [f"row {i}" for i in range(n)],
        **{f"x{j}": features[:, j] for j in range(4)},
        "kind": [("cat", "dog", None)[k] for k in kinds],
    })  # fmt: skip


def features(table):
    return np.stack([table[f"x{j}"].to_numpy() for j in range(4)], axis=1)


@pytest.fixture
def parquet(rows, tmp_path):
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pa.parquet.write_table(rows[:450], paths[0], row_group_size=64)
    pa.parquet.write_table(rows[450:], paths[1], row_group_size=100)
    return paths


@pytest.fixture(params=["parquet", "csv"])
def files(request, rows, tmp_path):
    if request.param == "parquet":
        return request.getfixturevalue("parquet")
    pa.csv.write_csv(rows, tmp_path / "rows.csv")
    return [tmp_path / "rows.csv"]


def test_a_table_is_its_columns(files, rows, tmp_path):
    store = convert_table(
        files, tmp_path / "s", label_column="kind", id_column="name", rows_per_chunk=1
    )
    # CSV has as many digits as float32 needs, and is read as float64.
    np.testing.assert_array_equal(store.rows(0, 700).astype(np.float32), features(rows))
    assert store.info.columns == ("x0", "x1", "x2", "x3")
    assert store.info.class_names == ("cat", "dog")
    codes = {"cat": 0, "dog": 1, None: -1}
    np.testing.assert_array_equal(store.labels(), [codes[k] for k in rows["kind"].to_pylist()])
    ids = np.concatenate([store.ids(i) for i in range(store.info.n_chunks)])
    assert ids.tolist() == rows["name"].to_pylist()
    again = convert_table(
        files, tmp_path / "s", label_column="kind", id_column="name", rows_per_chunk=1, resume=True
    )
    assert again.info.build == store.info.build
    model = KMeans(3, random_state=0).fit(store)
    assert evaluate(model, store)["purity"] > 0.9


def test_labels_go_back_out_with_ids(files, rows, tmp_path):
    store = convert_table(files, tmp_path / "s", columns=["x1", "x0"], id_column="name")
    model = KMeans(3, random_state=0).fit(store)
    facts = predict_parquet(model, store, tmp_path / "out.parquet")
    found = pa.parquet.read_table(tmp_path / "out.parquet")
    assert found["id"].to_pylist() == rows["name"].to_pylist()
    np.testing.assert_array_equal(found["label"].to_numpy(), model.labels_.compute())
    assert facts["cluster_sizes"] == model.cluster_sizes_.tolist()
    with pytest.raises(InputError, match="exists"):
        predict_parquet(model, store, tmp_path / "out.parquet")


def test_rows_without_ids_are_numbered(parquet, tmp_path):
    store = convert_table(parquet, tmp_path / "s", columns=["x0"])
    with pytest.raises(StoreError, match="--id-column"):
        store.ids(0)
    predict_parquet(KMeans(2, random_state=0).fit(store), store, tmp_path / "o.parquet")
    found = pa.parquet.read_table(tmp_path / "o.parquet")
    assert found["id"].to_pylist() == list(range(700))


@pytest.mark.parametrize("missing", ["error", "drop", "mean"])
def test_missing_values(tmp_path, missing):
    table = pa.table({"id": [5, 6, 7, 8], "x": [1.0, None, 3.0, 5.0], "y": [1, 2, 3, 4]})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    options = {"missing": missing, "id_column": "id"}
    if missing == "error":
        with pytest.raises(InputError, match=r"row 1.*--missing"):
            convert_table(tmp_path / "t.parquet", tmp_path / "s", **options)
        assert not (tmp_path / "s").exists()
        return
    store = convert_table(tmp_path / "t.parquet", tmp_path / "s", **options)
    wanted = {
        "drop": ([[1, 1], [3, 3], [5, 4]], [5, 7, 8]),
        "mean": ([[1, 1], [3, 2], [3, 3], [5, 4]], [5, 6, 7, 8]),
    }[missing]
    np.testing.assert_array_equal(store.rows(0, store.info.n_rows), wanted[0])
    assert store.ids(0).tolist() == wanted[1]


def test_on_workers_with_one_killed(parquet, own_cluster, tmp_path):
    process = next(iter(own_cluster.run(os.getpid).values()))
    wanted = convert_table(parquet, tmp_path / "w", columns=["x0", "x1"], rows_per_chunk=1)
    os.kill(process, signal.SIGKILL)
    found = convert_table(parquet, tmp_path / "s", columns=["x0", "x1"], rows_per_chunk=1)
    np.testing.assert_array_equal(found.rows(0, 700), wanted.rows(0, 700))


def test_a_conversion_that_ended_early_goes_on(files, rows, tmp_path, monkeypatch):
    put, left = converting.TableColumns.put, [1]

    def fail(self, *args):
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the disk is gone")
        return put(self, *args)

    options = {"id_column": "name", "rows_per_chunk": 1}
    with monkeypatch.context() as broken:
        broken.setattr(converting.TableColumns, "put", fail)
        broken.setattr("daskcluster.sizing.blocks.grain_rows", lambda n_features: 128)
        with pytest.raises(Exception, match="the disk is gone"):
            convert_table(files, tmp_path / "s", **options)
    monkeypatch.setattr("daskcluster.sizing.blocks.grain_rows", lambda n_features: 128)
    store = convert_table(files, tmp_path / "s", resume=True, **options)
    # CSV has as many digits as float32 needs, and is read as float64.
    np.testing.assert_array_equal(store.rows(0, 700).astype(np.float32), features(rows))
    ids = np.concatenate([store.ids(i) for i in range(store.info.n_chunks)])
    assert ids.tolist() == rows["name"].to_pylist()


def run(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert caught.value.code == code, captured.err
    return captured.out + captured.err


def test_the_command_line(parquet, tmp_path, capsys):
    s, m, out = tmp_path / "s", tmp_path / "m", tmp_path / "labels.parquet"
    run(capsys, "convert", "table", *parquet, s, "--columns", "x0, x2", "--id-column", "name")
    assert open_store(s).info.columns == ("x0", "x2")
    run(capsys, "fit", s, m, "--k", 2, "--seed", 0)
    assert "700 labels" in run(capsys, "predict", m, s, out)
    assert out.exists()
    assert "exists" in run(capsys, "predict", m, s, out, code=2)
    run(capsys, "predict", m, s, out, "--overwrite")
    assert "Parquet" in run(capsys, "predict", m, s, out, "--proba", code=2)
    assert "name" in run(capsys, "convert", "table", *parquet, s, "--columns", "name", code=2)
    assert "no such" in run(capsys, "convert", "table", tmp_path / "none", s, code=2).lower()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_what_is_left_out_is_told(tmp_path, capsys, kind):
    x, place = [1.0, None, 3.0, None], tmp_path / f"t.{kind}"
    table = pa.table({"id": [5, 6, 7, 8], "x": x, "town": list("abcd"), "note": list("efgh")})
    {"parquet": pa.parquet.write_table, "csv": pa.csv.write_csv}[kind](table, place)
    command = ("convert", "table", place, tmp_path / "s", "--overwrite", "--id-column", "id")
    told = run(capsys, *command, "--missing", "mean")
    assert "left out, as columns of no numbers: 'town', 'note'" in told
    assert "2 missing values set to the mean of the column" in told
    assert "2 rows with missing values dropped" in run(capsys, *command, "--missing", "drop")
    facts = json.loads(run(capsys, *command, "--missing", "drop", "--json"))
    assert facts["columns_left_out"] == ["town", "note"]
    assert (facts["rows_dropped"], facts["values_imputed"]) == (2, 0)
    told = run(capsys, *command, "--missing", "drop", "--columns", "x")
    assert "left out" not in told
