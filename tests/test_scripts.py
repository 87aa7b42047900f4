"""Every script runs at toy size, in seconds, on data that scikit-learn ships."""

import importlib.util
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_idx
from scipy import ndimage

from daskcluster import open_store
from daskcluster.sources import open_source

SCRIPTS = Path(__file__).parents[1] / "scripts"
NAMES = (
    "bench_checkpoint", "bench_cluster", "bench_codecs", "bench_engine", "bench_fit",
    "bench_s3", "bench_scheduler", "bench_seeding", "bench_soft", "bench_sparse", "bench_sweep",
    "fuzz", "load",
    "make_store", "measure_memory", "notebook", "soak",
)  # fmt: skip


@pytest.fixture(scope="module")
def make_store():
    """The script of that name as a module."""
    path = SCRIPTS / "make_store.py"
    spec = importlib.util.spec_from_file_location("make_store", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(SCRIPTS))
    sys.modules["make_store"] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in ("make_store", "benchlib"):
            sys.modules.pop(name, None)


def run(name, *arguments):
    """The JSON lines of a script by event, and its last line."""
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    events = {}
    for line in lines:
        facts = json.loads(line, parse_constant=refuse)
        events.setdefault(facts.pop("event"), []).append(facts)
    check_run(name, events)
    return events, last


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def check_run(name, events):
    """The first line says on what and how large."""
    (facts,) = events["run"]
    assert facts["script"] == f"{name}.py"
    assert facts["machine"]["cpu"]
    assert facts["machine"]["memory_bytes"] > 0
    assert {"daskcluster", "dask", "numpy", "zarr", "scikit-learn"} <= facts["versions"].keys()
    assert facts["sizes"]


def check_spread(facts, repeats):
    assert facts["repeats"] == repeats
    assert 0 < facts["min"] <= facts["median"] <= facts["max"]


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    monkeypatch.syspath_prepend(SCRIPTS)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    assert stop.value.code == 0
    assert f"python scripts/{name}.py" in capsys.readouterr().out


def test_bench_fit():
    peers = ("scikit-learn", "scikit-learn-elkan")
    small = ("--rows", 3000, "--k", 4, "--repeats", 2, "--sgemm-size", 128, "--peers", *peers)
    events, last = run("bench_fit", *small, "--numpy")
    assert [fit["name"] for fit in events["fit"]] == ["daskcluster", "numpy", *peers]
    for fit in events["fit"]:
        check_spread(fit["seconds"], 2)
        check_spread(fit["ms_per_iteration"], 2)
        assert fit["n_iter"] >= 1
    (floor,) = events["floor"]
    check_spread(floor["read_and_decode_seconds"], 2)
    n_iter = events["fit"][0]["n_iter"]
    assert floor["gflop_of_products"] == round(2e-9 * 3000 * 64 * 4 * n_iter, 3)
    (result,) = events["result"]
    for ratios in (result["ratio_total"], result["ratio_per_iteration"]):
        assert set(ratios) == {"numpy", *peers}
        assert min(ratios.values()) > 0
        assert f"{result['ratio_total'][peers[0]]:.2f}x" in last


def test_bench_fit_takes_a_store(tmp_path):
    run("make_store", tmp_path / "digits.zarr", "--rows", 1000)
    small = ("--k", 3, "--repeats", 1, "--sgemm-size", 128, "--memory-budget", 0)
    events, _ = run("bench_fit", "--store", tmp_path / "digits.zarr", *small)
    assert events["run"][0]["sizes"]["n_rows"] == 1000
    assert 1 <= events["fit"][0]["passes"] <= events["fit"][0]["n_iter"] + 2


def test_bench_fit_of_reals():
    small = ("--rows", 2000, "--k", 3, "--repeats", 1, "--sgemm-size", 128, "--data", "blobs")
    events, _ = run("bench_fit", *small)
    assert events["run"][0]["sizes"]["dtype"] == "float32"
    ours, peer = events["fit"]
    assert ours["inertia"] == pytest.approx(peer["inertia"], rel=1e-5)


def test_bench_cluster():
    small = ("--rows", 2000, "--k", 3, "--max-iter", 2, "--repeats", 1, "--workers", 1)
    events, last = run("bench_cluster", *small)
    names = [fit["name"] for fit in events["fit"]]
    assert names[:2] == ["budget 0", "its own budget"]
    for fit in events["fit"]:
        check_spread(fit["seconds"], 1)
    assert "targets 10 and 20" in last


def test_bench_engine():
    events, last = run("bench_engine", "--repeats", 2, "--batch", 2, "--chunks", 8)
    measured = {(line["where"], line["name"]) for line in events["measure"]}
    names = ("base", "count", "settled", "assign")
    assert measured == {(where, name) for where in ("threads", "processes") for name in names}
    for line in events["measure"]:
        check_spread(line["ms"], 2)
        assert 1 <= line["tasks"] <= 8
    (result,) = events["result"]
    for where in ("threads", "processes"):
        assert min(result[where].values()) > 0
    assert "target 1.3" in last


def test_bench_s3():
    small = ("--rows", 64, "--columns", 512, "--rows-per-chunk", 16, "--repeats", 1)
    events, last = run("bench_s3", *small)
    for fit in events["fit"]:
        check_spread(fit["seconds"], 1)
    (result,) = events["result"]
    assert result["requests"] >= 4 * 4  # the chunks, for each restart
    assert f"{result['requests']:g} requests" in last


def test_bench_scheduler():
    events, last = run("bench_scheduler", "--workers", 1, 2, "--repeats", 2, "--rows", 256)
    assert [line["workers"] for line in events["pass"]] == [1, 2]
    for line in events["pass"]:
        check_spread(line["ms_per_task"], 2)
        assert line["tasks"] == line["workers"]
    assert last.endswith("ms a task")


def test_bench_codecs():
    events, last = run("bench_codecs", "--rows", 9000, "--rows-per-chunk", 1, "--repeats", 2)
    assert [line["codec"] for line in events["codec"]] == ["lz4", "zstd", "none"]
    for line in events["codec"]:
        assert line["compression"] > 0
        for action in ("write", "read"):
            for threads in (1, 2):
                check_spread(line[f"{action}_mb_per_s_{threads}_threads"], 2)
    assert "zstd" in last


def test_measure_memory():
    events, last = run("measure_memory", "--k", 3, "--workers", 1, "--max-iter", 2)
    (idle,), (fit,) = events["idle"], events["fit"]
    assert len(idle["peak_mb"]) == len(fit["peak_mb"]) == 1
    assert events["account"][0]["fit_bytes"] > 0
    (result,) = events["result"]
    assert result["over_idle_mb"] == pytest.approx(result["fit_mb"] - result["idle_mb"], abs=0.2)
    # 256 MB, and 16 bytes for each of 20,000 rows.
    assert result["target_over_idle_mb"] == 256.3
    assert "target 256" in last


def test_measure_memory_of_a_soft_fit():
    options = ("--soft", "--k", 3, "--workers", 1, "--max-iter", 2, "--init", "random")
    events, last = run("measure_memory", *options)
    (result,), (account,) = events["result"], events["account"]
    assert result["fit_mb"] * 1e6 < account["bound_bytes"]
    assert "target 350" in last


def test_notebook(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name in ("mnist", "fashion-mnist"):
        (tmp_path / name).mkdir()
        write_idx(
            tmp_path / name / "train-images-idx3-ubyte",
            rng.integers(0, 255, (80, 4, 4), dtype=np.uint8),
        )
        write_idx(
            tmp_path / name / "train-labels-idx1-ubyte", rng.integers(0, 9, 80, dtype=np.uint8)
        )
    for i in range(40):
        category = tmp_path / "news" / "20news-bydate-train" / f"topic{i % 2}"
        category.mkdir(parents=True, exist_ok=True)
        words = rng.choice(["space", "orbit", "car", "wheel", "moon"], 6)
        (category / str(i)).write_text(" ".join(words))
    (tmp_path / ".env").write_text(
        "# where the data is\nMNIST_DATA_PATH=mnist\nFASHION_MNIST_DATA_PATH='fashion-mnist'\n"
        f"TWENTY_NEWSGROUPS_PATH={tmp_path / 'news'}\n"
    )
    for variable in ("MNIST_DATA_PATH", "FASHION_MNIST_DATA_PATH", "TWENTY_NEWSGROUPS_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, str(SCRIPTS / "notebook.py"), "--max-iter", "5", "--soft-iter", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    lines = [line for line in lines if line["event"] == "fit"]
    table = done.stdout.splitlines()[-len(lines) - 1 :]
    assert table[0].split()[:4] == ["data", "k", "beta", "iter"]
    assert [row.split()[0] for row in table[1:]] == [line["data"] for line in lines]
    fits = [(line["data"], line["k"], line["beta"]) for line in lines]
    soft = (0.1, 1.0, 10.0)
    assert fits == [
        *((name, k, None if k != 10 or beta is None else beta)
          for name in ("mnist", "fashion-mnist")
          for k, beta in [(5, None), (10, None), (20, None), *((10, beta) for beta in soft)]),
        ("20newsgroups", 20, None), *(("20newsgroups", 20, beta) for beta in soft),
    ]  # fmt: skip
    assert all(0 < line["purity"] <= 1 for line in lines)


def test_bench_sparse():
    small = ("--rows", 400, "--terms", 2000, "--k", 4, "--max-iter", 10, "--repeats", 2)
    events, last = run("bench_sparse", *small)
    assert events["run"][0]["sizes"]["n_features"] == 2000
    assert [fit["name"] for fit in events["fit"]] == ["daskcluster", "scikit-learn"]
    for fit in (*events["fit"], *events["floor"]):
        check_spread(fit["seconds"], 2)
    ours, theirs = events["fit"]
    assert ours["inertia"] == pytest.approx(theirs["inertia"], rel=1e-9)
    (result,) = events["result"]
    assert result["same_labels"]
    assert f"{result['times_as_fast']:.2f} times as fast as scikit-learn" in last


def test_bench_soft():
    events, last = run("bench_soft", "--rows", 3000, "--k", 4, "--passes", 3, "--repeats", 2)
    names = ["soft, float32", "soft, float64", "hard, unpruned", "notebook"]
    assert [line["name"] for line in events["pass"]] == names
    for line in events["pass"]:
        check_spread(line["seconds"], 2)
    (result,) = events["result"]
    assert sorted(result["ratios"]) == sorted(names[1:])
    assert result["floor_seconds"] > 0
    assert "target 2.5" in last


def test_bench_seeding():
    events, last = run("bench_seeding", "--rows", 3000, "--k", 5, "--seeds", 2)
    assert [start["init"] for start in events["start"]] == ["refined", "k-means||"]
    assert len(events["fit"]) == 4
    for start in events["start"]:
        assert 1 < start["near_median"] <= start["near_worst"] <= start["passes_mean"] * 2
        assert 0.8 < start["of_scikit_learns"] < 1.2
    assert last.startswith("refined: near after ")


def test_bench_sweep():
    events, last = run("bench_sweep", "--rows", 3000, "--k", 2, 4, "--restarts", 2, "--repeats", 1)
    assert len(events["fit"]) == 4
    assert [line["name"] for line in events["time"]] == ["slowest", "sweep", "with scores"]
    (result,) = events["result"]
    # Each draw of each model reads the one chunk there is.
    assert 1 <= result["bytes_of_most"] < 2
    assert last.startswith("4 models take ")


def test_bench_checkpoint():
    events, last = run("bench_checkpoint", "--k", 5, "--repeats", 2, "--max-iter", 3)
    assert [fit["name"] for fit in events["fit"]] == ["without", "with"]
    for fit in events["fit"]:
        check_spread(fit["seconds"], 2)
    (result,) = events["result"]
    assert result["writes"] >= 1
    assert result["bytes"] > 5 * 64 * 8
    assert 0 < result["share_of_writing"] < 1
    assert "target 1 %" in last


def test_soak():
    events, last = run("soak", "--kills", 1, "--rows", 2000, "--seed", 5)
    assert [kill["number"] for kill in events["kill"]] == [1]
    (result,) = events["result"]
    assert sum(result["kills"].values()) == 1
    assert last == f"1 kills in {result['rounds']} rounds: all results equal"


def test_fuzz():
    events, last = run("fuzz", "--target", "npy", "model", "--cases", 4, "--seed", 2)
    assert [result["target"] for result in events["result"]] == ["npy", "model"]
    for result in events["result"]:
        assert result["accepted"] + result["refused"] == result["cases"] == 4
        assert result["largest_bytes"] > 0
    assert last == "8 cases of seed 2: 0 findings"


def test_load():
    small = ("--at-once", 2, "--rows", 500, "--fits", 10, "--chunks", 20, "--clusters", 50)
    events, last = run("load", *small, "--features", 2000)
    found = {result.pop("part"): result for result in events["result"]}
    assert list(found) == ["eight", "many", "chunks", "clusters", "features"]
    assert len(events["memory"]) == 10
    assert found["chunks"]["chunks"] == 20
    assert found["clusters"]["k"] == 50
    assert found["features"]["refused"] is None  # so few features fit
    assert last.startswith("5 parts of seed 0")


def test_make_store_does_not_depend_on_the_number_of_rows(tmp_path):
    stores = [tmp_path / "short.zarr", tmp_path / "long.zarr"]
    for path, rows in zip(stores, (2000, 20_001), strict=True):
        run("make_store", path, "--rows", rows)
    short, long = (open_store(path) for path in stores)
    assert (short.info.n_rows, long.info.n_rows) == (2000, 20_001)
    np.testing.assert_array_equal(short.labels(), long.labels()[:2000])


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_deformed_rows(tmp_path, make_store, compress):
    """Row i is image i mod n, deformed in the way of turn i div n, whichever way it is read."""
    n, total = 7, 7 * 11 + 3
    images = np.random.default_rng(0).integers(1, 256, (n, 5, 4), dtype=np.uint8)
    source = open_source(write_idx(tmp_path / "images", images, compress=compress))
    rows = make_store.Deformed(source, total)
    expected = np.stack(
        [deformed_by_hand(make_store, images[i % n], i // n) for i in range(total)]
    ).reshape(total, 20)
    for size in (1, 4, 7, 10, 100):
        blocks = list(rows.blocks(size))
        assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
        # The rows are rounded to whole pixels: half of one, and float32's own rounding.
        np.testing.assert_allclose(np.concatenate(blocks), expected, atol=0.501)
    if rows.seekable:
        np.testing.assert_array_equal(rows.read(3, total - 1), np.concatenate(blocks)[3:-1])


def deformed_by_hand(make_store, image, turn):
    if turn < len(make_store.SHIFTS):
        return by_hand(image, make_store.SHIFTS[turn])
    places = make_store.places(turn, *image.shape)
    pixels = ndimage.map_coordinates(image.astype(float), places, order=1, mode="grid-constant")
    return pixels.reshape(image.shape)


def by_hand(image, shift):
    """One image shifted pixel by pixel."""
    out = np.zeros_like(image)
    for (y, x), value in np.ndenumerate(image):
        to = (y + shift[0], x + shift[1])
        if 0 <= to[0] < image.shape[0] and 0 <= to[1] < image.shape[1]:
            out[to] = value
    return out


def test_shifts_are_ten_and_differ(make_store):
    shifts = make_store.SHIFTS
    assert shifts[0] == (0, 0)
    assert len(set(shifts)) == 10
    assert max(abs(by) for shift in shifts for by in shift) <= 2


def test_labels_repeat_as_they_are(tmp_path, make_store):
    labels = np.arange(6, dtype=np.uint8)
    rows = make_store.Deformed(open_source(write_idx(tmp_path / "labels", labels)), 20)
    np.testing.assert_array_equal(rows.read(0, 20)[:, 0], np.arange(20) % 6)
