"""Bad input through the real command line: exit code 2, a message that helps, nothing changed."""

import gzip
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from idx_files import gzip_bytes, idx_bytes, idx_header, write_idx

from daskcluster import InputError, KMeans, convert_idx
from daskcluster.cli import main
from daskcluster.store import ArraySpec, building

ROWS = np.arange(60, dtype=np.uint8).reshape(12, 5)
GOOD = idx_bytes(ROWS)


def tree(folder):
    """Every file below a folder with its bytes, and every folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(Path(folder).rglob("*"))
    }


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


def refused(capsys, folder, arguments, *words):
    """The command fails as bad input should, and leaves the folder as it was."""
    before = tree(folder)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert str(word) in err
    assert tree(folder) == before


def floats(value):
    rows = np.ones((12, 5), dtype=np.float32)
    rows[7, 3] = value
    return idx_bytes(rows)


def bad_crc(data):
    content = bytearray(gzip_bytes(data))
    content[-8] ^= 1
    return bytes(content)


BAD_FILES = {
    "empty": (b"", "empty", "download"),
    "truncated": (GOOD[:-1], "truncated", "72 bytes", "71", "download"),
    "header cut short": (GOOD[:9], "truncated", "download"),
    "trailing bytes": (GOOD + b"ab", "2 trailing bytes", "download"),
    "wrong magic": (b"\x01\x02" + GOOD[2:], "01 02 08 02", "IDX"),
    "unknown type": (idx_header(0x0A, (12, 5)) + bytes(60), "0x0a", "0x08"),
    "zero dimensions": (idx_header(8, ()) + b"\x01", "zero dimensions"),
    "zero rows": (idx_header(8, (0, 5)), "zero rows", "(0, 5)"),
    "zero columns": (idx_header(8, (12, 0)), "dimension 1 is 0"),
    "overflow": (idx_header(0x0E, (2**32 - 1,) * 4) + bytes(8), "truncated", "download"),
    "wraps round to zero": (idx_header(8, (2**31, 2**31, 4)), "truncated", "download"),
    "larger than the file": (idx_header(8, (13, 5)) + bytes(60), "truncated", "77", "72"),
    "gzip cut short": (gzip_bytes(GOOD)[:-9], "gzip", "download"),
    "gzip cut in its head": (gzip_bytes(GOOD)[:7], "gzip", "download"),
    "gzip of bad crc": (bad_crc(GOOD), "gzip", "download"),
    "gzip truncated inside": (gzip_bytes(GOOD[:-1]), "ended early", "download"),
    "gzip of too much": (gzip_bytes(GOOD + b"a"), "trailing", "download"),
    "gzip of dimensions beyond it": (gzip_bytes(idx_header(8, (2**31, 9))), "truncated"),
    "gzip of a page": (gzip.compress(b"<html></html>"), "web page", "download"),
    "page": (b"<!DOCTYPE html><html><body>404</body></html>", "web page", "download"),
    "nan": (floats(np.nan), "row 7", "feature 3", "nan", "drop"),
    "inf": (floats(np.inf), "row 7", "feature 3", "inf", "drop"),
    "minus inf": (floats(-np.inf), "row 7", "feature 3", "-inf", "drop"),
    "gzip of nan": (gzip_bytes(floats(np.nan)), "row 7", "feature 3", "nan", "drop"),
}


@pytest.mark.parametrize(("content", "words"), [(c, w) for c, *w in BAD_FILES.values()],
                         ids=BAD_FILES)  # fmt: skip
@pytest.mark.parametrize("target", ["new", "old"])
def test_bad_images(tmp_path, capsys, content, words, target):
    path = tmp_path / "rows.idx"
    if target == "old":
        convert_idx(write_idx(path, ROWS), tmp_path / "s")
    path.write_bytes(content)
    arguments = ["convert", "idx", path, tmp_path / "s", "--overwrite"]
    refused(capsys, tmp_path, arguments, path, *words)


LABELS = idx_bytes(np.arange(12, dtype=np.uint8))
BAD_LABELS = {
    name: bad for name, bad in BAD_FILES.items() if "nan" not in name and "inf" not in name
} | {
    "gzip truncated inside": (gzip_bytes(LABELS[:-1]), "ended early", "download"),
    "gzip of too much": (gzip_bytes(LABELS + b"a"), "trailing", "download"),
    "gzip of bad crc": (bad_crc(LABELS), "gzip", "download"),
    "one row": (idx_bytes(ROWS), "one label per row", "give"),
    "reals": (idx_bytes(np.ones(12)), "float64", "integers"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels(tmp_path, capsys, name):
    content, *words = BAD_LABELS[name]
    rows, labels = write_idx(tmp_path / "rows", ROWS), tmp_path / "labels"
    labels.write_bytes(content)
    arguments = ["convert", "idx", rows, tmp_path / "s", "--labels", labels]
    refused(capsys, tmp_path, arguments, labels, *words)


@pytest.mark.parametrize("n_labels", [1, 11, 13])
@pytest.mark.parametrize("compress", [False, True])
def test_labels_of_another_length(tmp_path, capsys, n_labels, compress):
    rows = write_idx(tmp_path / "rows", ROWS)
    labels = write_idx(tmp_path / "labels", np.zeros(n_labels, np.uint8), compress=compress)
    arguments = ["convert", "idx", rows, tmp_path / "s", "--labels", labels]
    refused(capsys, tmp_path, arguments, rows, labels, f"{n_labels} labels", "12 rows", "give")


def test_bad_npy(tmp_path, capsys):
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)
    path.write_bytes(path.read_bytes()[:-1])
    refused(capsys, tmp_path, ["convert", "npy", path, tmp_path / "s"], path, "truncated")
    np.save(path, np.array([{}, []], dtype=object), allow_pickle=True)
    refused(capsys, tmp_path, ["convert", "npy", path, tmp_path / "s"], path, "object")
    np.save(path, np.array([[1.0], [np.nan]]))
    refused(capsys, tmp_path, ["convert", "npy", path, tmp_path / "s"], path, "row 1, feature 0")
    np.save(path, ROWS)
    refused(capsys, tmp_path, ["convert", "idx", path, tmp_path / "s"], path, "convert npy")


@pytest.mark.parametrize("command", ["idx", "npy"])
def test_no_file(tmp_path, capsys, command):
    (tmp_path / "folder").mkdir()
    for name, word in (("folder", "folder"), ("missing", "no such file")):
        arguments = ["convert", command, tmp_path / name, tmp_path / "s"]
        refused(capsys, tmp_path, arguments, tmp_path / name, word)


@pytest.fixture
def ready(tmp_path):
    """A folder with a store, a model and labels."""
    store = convert_idx(write_idx(tmp_path / "rows", ROWS), tmp_path / "s")
    KMeans(2, random_state=0).fit(store).save(tmp_path / "model")
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(tmp_path / "model"), store.path, str(tmp_path / "out")])
    assert caught.value.code == 0
    return tmp_path


@pytest.mark.parametrize(
    ("k", "words"), [("13", ["12", "13"]), ("0", ["0", "x>=1"]), ("-3", ["-3", "x>=1"])]
)
def test_k(ready, capsys, k, words):
    refused(capsys, ready, ["fit", ready / "s", ready / "new", "--k", k], *words)
    refused(capsys, ready, ["fit", ready / "s", ready / "model", "--overwrite", "--k", k], *words)


@pytest.mark.parametrize("k", ["x", "1.5", ""])
def test_k_that_is_no_integer(ready, capsys, k):
    refused(capsys, ready, ["fit", ready / "s", ready / "new", "--k", k], "--k", repr(k))
    refused(capsys, ready, ["fit", ready / "s", ready / "new"], "--k")


def unsealed(path):
    with building(path, n_rows=12, rows_per_chunk=32) as build:
        build.create_array(ArraySpec("data", (5,), "uint8"))


def foreign_group(path):
    zarr.create_group(str(path), attributes={"theirs": 1}).create_array("x", data=np.arange(3))


def folder_of_others(path):
    path.mkdir()
    (path / "letter.txt").write_text("dear")


def file_of_others(path):
    path.write_text("dear")


PLACES = {
    "unsealed": (unsealed, "never sealed"),
    "foreign": (foreign_group, "daskcluster convert"),
    "folder": (folder_of_others, "daskcluster convert"),
    "file": (file_of_others, "daskcluster convert"),
    "missing": (lambda path: None, "does not exist"),
}


@pytest.mark.parametrize(("make", "word"), PLACES.values(), ids=PLACES)
def test_what_is_no_store(ready, capsys, make, word):
    theirs = ready / "theirs"
    make(theirs)
    for arguments in (
        ["fit", theirs, ready / "new", "--k", "2"],
        ["predict", ready / "model", theirs, ready / "new"],
        ["evaluate", ready / "model", theirs],
        ["info", theirs],
    ):
        refused(capsys, ready, arguments, theirs, word)


@pytest.mark.parametrize(("make", "word"), PLACES.values(), ids=PLACES)
def test_what_is_no_model(ready, capsys, make, word):
    theirs = ready / "theirs"
    make(theirs)
    for arguments in (["predict", theirs, ready / "s", ready / "new"],
                      ["evaluate", theirs, ready / "s"]):  # fmt: skip
        refused(capsys, ready, arguments, theirs, "not a daskcluster model", "daskcluster fit")


def test_outputs_that_exist(ready, capsys):
    for arguments in (
        ["convert", "idx", ready / "rows", ready / "s"],
        ["fit", ready / "s", ready / "model", "--k", "2"],
        ["predict", ready / "model", ready / "s", ready / "out"],
    ):
        refused(capsys, ready, arguments, arguments[-1] if "--k" not in arguments else "model",
                "exists", "--overwrite")  # fmt: skip


@pytest.mark.parametrize("make", [foreign_group, folder_of_others, file_of_others])
def test_outputs_of_others_stay_whatever_is_said(ready, capsys, make):
    theirs = ready / "theirs"
    make(theirs)
    for arguments in (
        ["convert", "idx", ready / "rows", theirs, "--overwrite"],
        ["fit", ready / "s", theirs, "--k", "2", "--overwrite"],
        ["predict", ready / "model", ready / "s", theirs, "--overwrite"],
    ):
        refused(capsys, ready, arguments, theirs, "another place")
    if make is not file_of_others:
        refused(capsys, ready, ["demo", theirs], theirs, "another folder")
    else:
        refused(capsys, ready, ["demo", theirs], theirs, "is a file")


def test_outputs_of_another_kind_stay_whatever_is_said(ready, capsys):
    s, model, out = ready / "s", ready / "model", ready / "out"
    for arguments in (
        ["convert", "idx", ready / "rows", out, "--overwrite"],
        ["convert", "idx", ready / "rows", model, "--overwrite"],
        ["fit", s, s, "--k", "2", "--overwrite"],
        ["fit", s, out, "--k", "2", "--overwrite"],
        ["predict", model, s, s, "--overwrite"],
        ["predict", model, s, model, "--overwrite"],
    ):
        refused(capsys, ready, arguments, "another place")


def test_outputs_in_places_that_are_no_folders(ready, capsys):
    inside = ready / "rows" / "new"
    for arguments in (
        ["convert", "idx", ready / "rows", inside],
        ["fit", ready / "s", inside, "--k", "2"],
        ["predict", ready / "model", ready / "s", inside],
    ):
        refused(capsys, ready, arguments, inside)


def test_a_model_of_other_features(ready, capsys):
    write_idx(ready / "wide", np.ones((4, 6), dtype=np.uint8))
    convert_idx(ready / "wide", ready / "w")
    for arguments in (["predict", ready / "model", ready / "w", ready / "new"],
                      ["evaluate", ready / "model", ready / "w"]):  # fmt: skip
        refused(capsys, ready, arguments, ready / "w", "6 features", "the model 5")


def test_initial_centres(ready, capsys):
    fit = ["fit", ready / "s", ready / "new", "--k", "2", "--init"]
    refused(capsys, ready, [*fit, "kmeans"], "--init kmeans", "k-means++")
    refused(capsys, ready, [*fit, ready / "no.npy"], ready / "no.npy", "cannot be read")
    file = ready / "centres.npy"
    for content, words in (
        (np.ones((3, 5)), ["(3, 5)", "2"]),
        (np.ones((2, 4)), ["(2, 4)", "5"]),
        (np.ones(5), ["(5,)"]),
        (np.full((2, 5), np.nan), ["NaN"]),
        (np.array([["a"] * 5] * 2), ["init"]),
    ):
        np.save(file, content)
        refused(capsys, ready, [*fit, file], *words)
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    refused(capsys, ready, [*fit, file], file, "cannot be read")
    file.write_bytes(b"dear")
    refused(capsys, ready, [*fit, file], file, "cannot be read")
    with file.open("wb") as stream:
        np.savez(stream, a=np.ones((2, 5)))
    refused(capsys, ready, [*fit, file], file)


def test_sizes(ready, capsys):
    fit = ["fit", ready / "s", ready / "new", "--k", "2"]
    for size in ("much", "-1", "-2GB"):
        refused(capsys, ready, [*fit, f"--memory-budget={size}"], size)
        refused(capsys, ready, [*fit, "--workers", "1", f"--memory-limit={size}"], size)


def test_in_a_process_of_its_own(tmp_path):
    path = tmp_path / "rows.idx"
    path.write_bytes(GOOD[:-1])
    before = tree(tmp_path)
    for arguments, words in (
        (["convert", "idx", path, tmp_path / "s"], [path, "truncated"]),
        (["fit", tmp_path / "none", tmp_path / "m", "--k", "2"], [tmp_path / "none", "convert"]),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "daskcluster", *map(str, arguments)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1
        for word in words:
            assert str(word) in done.stderr
        assert tree(tmp_path) == before


def test_a_message_that_quotes_an_endless_name_is_cut():
    error = InputError(f"rows.csv: no label column {'x' * 70_000}: its columns are a, b")
    assert len(str(error)) < 4100
    assert str(error).startswith("rows.csv: no label column xx")
    assert str(error).endswith("x: its columns are a, b")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
