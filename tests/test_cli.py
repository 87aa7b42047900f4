"""The command line: its contract of names, keys, streams and exit codes."""

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import click
import numpy as np
import pytest
from idx_files import write_idx

from daskcluster import (
    KMeans,
    SoftKMeans,
    Workers,
    __version__,
    convert_idx,
    load_model,
    open_responsibilities,
    open_store,
)
from daskcluster.cli import assessing, converting, fitting, main, planning, show
from daskcluster.convert import convert_npy
from daskcluster.engine import JsonLines, Silent

# The package's attribute of this name is the function.
commands = sys.modules["daskcluster.cli.main"]

FIT_KEYS = {
    "n_rows", "n_features", "n_clusters", "n_iter", "inertia", "objective", "converged", "passes",
    "seconds", "seed", "init", "algorithm", "cluster_sizes", "history", "build", "top_terms",
}  # fmt: skip
EVALUATE_KEYS = {
    "n_rows", "n_clusters", "inertia", "purity", "gini", "ari", "nmi", "homogeneity",
    "completeness", "v_measure", "fowlkes_mallows", "silhouette", "calinski_harabasz",
    "davies_bouldin", "contingency", "class_names", "objective", "soft_contingency", "passes",
    "top_terms",
}  # fmt: skip


def run(capsys, *arguments, code=0):
    """Run the command; what it printed on stdout and stderr."""
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert caught.value.code == code, captured.err
    return captured.out, captured.err


def strict_json(text):
    """One JSON object on one line, without NaN."""
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    return json.loads(text, parse_constant=lambda name: pytest.fail(name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with labels and one without, of three clouds in four chunks."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    centers = rng.integers(20, 230, size=(3, 16_384))
    labels = np.arange(110) % 3
    rows = centers[labels] + rng.integers(-20, 20, size=(110, 16_384))
    write_idx(folder / "rows", rows.astype(np.uint8))
    write_idx(folder / "labels", labels.astype(np.uint8))
    convert_idx(folder / "rows", folder / "s", labels=folder / "labels", rows_per_chunk=32)
    convert_idx(folder / "rows", folder / "bare", rows_per_chunk=32)
    KMeans(3, random_state=1, init="random", n_init=1).fit(str(folder / "s")).save(folder / "model")
    return folder


def test_fit_json(folder, tmp_path, capsys):
    out, err = run(capsys, "fit", folder / "s", tmp_path / "m", "--k", 3, "--seed", 7, "--json")
    facts = strict_json(out)
    assert err == ""
    assert set(facts) == FIT_KEYS
    assert (facts["n_rows"], facts["n_features"], facts["n_clusters"]) == (110, 16_384, 3)
    assert facts["seed"] == 7
    assert facts["objective"] is None
    assert facts["converged"] is True
    assert sum(facts["cluster_sizes"]) == 110
    assert len(facts["history"]) == facts["n_iter"]
    assert facts["build"] == open_store(folder / "s").info.build
    assert facts["init"] == "k-means++"
    assert facts["algorithm"] == "auto"
    loaded = load_model(tmp_path / "m")
    assert (loaded.inertia_, loaded.n_iter_) == (facts["inertia"], facts["n_iter"])


@pytest.mark.parametrize("store", ["s", "bare"])
def test_evaluate_json(folder, store, capsys):
    out, err = run(capsys, "evaluate", folder / "model", folder / store, "--json")
    facts = strict_json(out)
    assert err == ""
    assert set(facts) == EVALUATE_KEYS
    labelled = ("purity", "gini", "ari", "nmi", "contingency", "class_names", "v_measure")
    for name in labelled:
        assert (facts[name] is None) == (store == "bare")
    for name in ("silhouette", "calinski_harabasz", "davies_bouldin"):
        assert facts[name] > 0
    assert facts["objective"] is facts["soft_contingency"] is None
    assert facts["inertia"] == load_model(folder / "model").inertia_


SOFT_KEYS = {"beta", "metric", "precision", "cluster_weights"}


@pytest.mark.parametrize("beta", ["0.05", "inf"])
def test_a_soft_fit_and_what_follows(folder, tmp_path, capsys, beta):
    place, out = tmp_path / "m", tmp_path / "shares"
    given = ("--soft", "--beta", beta, "--metric", "sqeuclidean", "--precision", "float64")
    told, _ = run(capsys, "fit", folder / "s", place, "--k", 3, "--seed", 7, *given, "--json")
    facts = strict_json(told)
    assert set(facts) == FIT_KEYS | SOFT_KEYS
    assert facts["algorithm"] is None
    assert (facts["metric"], facts["precision"]) == ("sqeuclidean", "float64")
    assert facts["beta"] == (None if beta == "inf" else 0.05)
    model = load_model(place)
    assert facts["objective"] == model.objective_
    told, _ = run(capsys, "predict", place, folder / "s", out, "--proba", "--json")
    assert strict_json(told)["dtype"] == "float64"
    np.testing.assert_array_equal(
        open_responsibilities(out).compute(), model.predict_proba(str(folder / "s")).compute()
    )
    scores = strict_json(run(capsys, "evaluate", place, folder / "s", "--json")[0])
    assert set(scores) == EVALUATE_KEYS
    assert scores["objective"] == pytest.approx(model.objective_, rel=1e-12)
    assert np.sum(scores["soft_contingency"]) == pytest.approx(110)
    for words, path in (("responsibilities", out), ("objective", place)):
        assert words in run(capsys, "info", path)[0]
        strict_json(run(capsys, "info", path, "--json")[0])
    assert "objective" in run(capsys, "evaluate", place, folder / "s")[0]
    lines, _ = run(capsys, "predict", place, folder / "s", out, "--proba", "--overwrite")
    assert "110 x 3 responsibilities" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beta", "1"], "need --soft"),
        (["--metric", "sqeuclidean"], "metric='sqeuclidean' should be one of"),
        (["--metric", "cosine", "--standardize"], "choose one"),
        (["--precision", "float32"], "need --soft"),
        (["--soft", "--algorithm", "lloyd"], "not for --soft"),
        (["--soft", "--beta", "0"], "beta=0.0 should be a number > 0"),
        (["--soft", "--beta", "nan"], "beta=nan"),
        (["--soft", "--beta", "x"], "not a valid float"),
        (["--soft", "--metric", "cosine"], "metric='cosine' should be one of"),
        (["--soft", "--init", "best"], "--init best"),
    ],
)
def test_bad_soft_options(folder, tmp_path, capsys, arguments, message):
    _, err = run(capsys, "fit", folder / "s", tmp_path / "m", "--k", 3, *arguments, code=2)
    assert message in err
    assert not (tmp_path / "m").exists()


def test_a_hard_model_has_no_responsibilities(folder, tmp_path, capsys):
    _, err = run(
        capsys, "predict", folder / "model", folder / "s", tmp_path / "o", "--proba", code=2
    )
    assert "hard model" in err
    assert not (tmp_path / "o").exists()


def test_every_command_prints_one_json_object(folder, tmp_path, capsys):
    m, s = tmp_path / "m", tmp_path / "s"
    for arguments in (
        ["convert", "idx", folder / "rows", s, "--labels", folder / "labels"],
        ["fit", s, m, "--k", "2"],
        ["predict", m, s, tmp_path / "out"],
        ["info", s],
        ["info", m],
    ):
        out, err = run(capsys, *arguments, "--json")
        assert isinstance(strict_json(out), dict)
        assert err == ""


def test_lines_for_people(folder, tmp_path, capsys):
    out, err = run(capsys, "fit", folder / "s", tmp_path / "m", "--k", 3)
    assert "k=3, converged" in out
    assert "seed" in out
    assert err == ""
    for arguments, words in (
        (["evaluate", folder / "model", folder / "s"], ["purity", "clusters (rows) by classes"]),
        (["evaluate", folder / "model", folder / "bare"], ["inertia"]),
        (["info", folder / "s"], ["110", "lz4"]),
        (["info", folder / "model"], ["inertia", "seed"]),
        (["predict", folder / "model", folder / "s", tmp_path / "out"], ["110 labels"]),
    ):
        out, err = run(capsys, *arguments)
        assert err == ""
        for word in words:
            assert word in out


def test_progress_json(folder, tmp_path, capsys):
    out, err = run(
        capsys, "fit", folder / "s", tmp_path / "m", "--k", 3, "--json", "--progress", "json"
    )
    facts = strict_json(out)
    events = [json.loads(line) for line in err.splitlines()]
    iterations = [event for event in events if event["event"] == "iteration"]
    assert [event["iteration"] for event in iterations] == list(range(1, facts["n_iter"] + 1))
    for event, entry in zip(iterations, facts["history"], strict=True):
        assert entry.items() <= event.items()
        assert set(event) - set(entry) == {
            "event", "rows", "pruned", "seconds", "bytes", "bytes_per_second",
            "seconds_left_at_most",
        }  # fmt: skip
        assert event["rows"] == 110
        assert 0 <= event["pruned"] <= 1
    passes = [event["pass"] for event in events if event["event"] == "pass"]
    assert [name for name in passes if name != "labels"] == [f"k-means++ {i}" for i in (1, 2, 3)]


def test_progress_json_of_what_does_not_iterate(folder, tmp_path, capsys):
    """Each pass has its line, however the rows come."""
    for arguments, passes in (
        (["convert", "idx", folder / "rows", tmp_path / "s"], ["convert", "moments"]),
        (["predict", folder / "model", folder / "s", tmp_path / "o"], ["predict", "check"]),
    ):
        _, err = run(capsys, *arguments, "--progress", "json")
        events = [json.loads(line) for line in err.splitlines()]
        assert [(event["event"], event["pass"]) for event in events] == [
            ("pass", name) for name in passes
        ]
        assert all(event["rows"] == 110 for event in events)
        assert events[0]["bytes"] == 110 * 16_384
        assert all(event["bytes_per_second"] > 0 for event in events)


PLAN_KEYS = {
    "n_rows", "n_features", "n_clusters", "bytes", "init", "n_init", "runs_at_once", "workers",
    "threads", "n_blocks", "tasks_per_iteration", "memory_limit", "peak_memory", "memory",
    "seeding", "first_iteration", "iteration", "labels", "expected", "most", "assumption", "timed",
}  # fmt: skip


def test_plan_starts_no_workers_and_writes_nothing(folder, capsys, monkeypatch):
    monkeypatch.delattr("daskcluster.engine.connect.LocalCluster")
    before = sorted(folder.rglob("*"))
    workers = ("--workers", 8, "--threads-per-worker", 2, "--memory-limit", "4GB")
    command = ("plan", folder / "s", "--k", 3, "--seed", 0, "--max-iter", 5, *workers)
    out, err = run(capsys, *command, "--json")
    facts = strict_json(out)
    assert err == ""
    assert set(facts) == PLAN_KEYS
    assert (facts["workers"], facts["threads"], facts["memory_limit"]) == (8, 16, 4 * 10**9)
    assert facts["most"]["iterations"] == 5
    lines, err = run(capsys, *command)
    assert "expected: max_iter=5" in lines
    assert "8 processes, 16 threads" in lines
    assert err == ""
    assert sorted(folder.rglob("*")) == before


def test_plan_refuses_what_cannot_fit_and_says_what_would(folder, capsys):
    small = ("--workers", 2, "--memory-limit", "100MB")
    out, err = run(capsys, "plan", folder / "s", "--k", 3, *small, code=2)
    assert out == ""
    assert "use fewer threads per worker, more workers" in err
    _, err = run(capsys, "plan", folder / "s", "--k", 300, code=2)
    assert "n_samples=110 should be >= n_clusters=300" in err


def test_plan_hands_every_option_on(folder, tmp_path, capsys, monkeypatch):
    given = {}
    monkeypatch.setattr(planning, "plan_lines", lambda facts: [])

    class Found:
        def to_json(self):
            return {}

    def spy(estimator, X, **options):
        given.update(options, X=X, estimator=estimator)
        return Found()

    np.save(tmp_path / "w.npy", np.arange(5))
    monkeypatch.setattr(planning, "plan", spy)
    run(
        capsys, "plan", "store", "--k", 3, "--init", "random", "--n-init", 4, "--max-iter", 5,
        "--tol", 0.25, "--seed", 6, "--memory-budget", "7MB", "--standardize", "--soft",
        "--beta", 2, "--metric", "sqeuclidean", "--precision", "float64",
        "--weights", tmp_path / "w.npy", "--workers", 3,
    )  # fmt: skip
    np.testing.assert_array_equal(given.pop("sample_weight"), np.arange(5))
    expected = SoftKMeans(
        3, init="random", n_init=4, max_iter=5, tol=0.25, random_state=6, memory_budget="7MB",
        standardize=True, beta=2.0, metric="sqeuclidean", precision="float64",
    )  # fmt: skip
    assert given.pop("estimator").get_params() == expected.get_params()
    assert isinstance(given.pop("progress"), Silent)
    assert given == {"X": "store", "workers": Workers(3)}


@pytest.mark.parametrize("progress", ["json", "none"])
@pytest.mark.parametrize("link", ["http://127.0.0.1:8787/status", None])
def test_the_link_of_a_dashboard(folder, tmp_path, capsys, monkeypatch, link, progress):
    monkeypatch.setattr("daskcluster.cli.running.dashboard_link", lambda client: link)
    fit = ["fit", folder / "s", tmp_path / "m", "--k", 2]
    _, err = run(capsys, *fit, "--progress", progress)
    told = [json.loads(line) for line in err.splitlines() if "dashboard" in line]
    wanted = link is not None and progress == "json"
    assert told == [{"event": "dashboard", "dashboard": link}] * wanted


@pytest.mark.parametrize("how", [[], ["--quiet"], ["--progress", "none"], ["--progress", "auto"]])
def test_nothing_on_stderr_when_piped_or_quiet(folder, tmp_path, capsys, how):
    _, err = run(capsys, "fit", folder / "s", tmp_path / "m", "--k", 2, *how)
    assert err == ""


def test_a_live_line_at_a_terminal_only(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _, err = run(capsys, "fit", folder / "s", tmp_path / "m", "--k", 2)
    assert "iteration" in err
    assert err.endswith("\r")
    _, err = run(capsys, "fit", folder / "s", tmp_path / "m2", "--k", 2, "--quiet")
    assert err == ""


def test_max_iter_reached_is_no_failure(folder, tmp_path, capsys):
    arguments = ["--k", 3, "--max-iter", 1, "--tol", 0, "--json", "--init", "random", "--seed", 3]
    out, _ = run(capsys, "fit", folder / "s", tmp_path / "m", *arguments)
    facts = strict_json(out)
    assert facts["converged"] is False
    assert facts["n_iter"] == 1


def test_failures(folder, tmp_path, capsys, monkeypatch):
    arguments = ["fit", folder / "s", tmp_path / "m", "--k", 2]
    for error, code in (
        (OSError("disk"), 1),
        (MemoryError(), 1),
        (commands.DaskClusterError("broken"), 1),
        (commands.InputError("wrong"), 2),
        (KeyboardInterrupt(), 130),
    ):

        def fail(self, *args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(KMeans, "_fit", fail)
        out, err = run(capsys, *arguments, code=code)
        assert out == ""
        # Click ends the line of the terminal's ^C first.
        assert err.strip().startswith("daskcluster: ")
        assert len(err.strip().splitlines()) == 1
        assert str(error) in err
        assert not (tmp_path / "m").exists()


def test_ctrl_c_twice_during_an_iteration(folder, tmp_path, capsys, monkeypatch):
    """What the second Ctrl-C does, which waits for nothing."""

    def interrupt(progress, kind, facts):
        if kind == "iteration":
            raise KeyboardInterrupt

    fit = ["fit", folder / "s", tmp_path / "m", "--k", 2, "--progress", "json"]
    monkeypatch.setattr(JsonLines, "event", interrupt)
    out, err = run(capsys, *fit, "--init", "random", code=130)
    assert (out, err.strip()) == ("", "daskcluster: stopped: Ctrl-C")
    assert not (tmp_path / "m").exists()
    # k-means++ had kept a round already.
    out, err = run(capsys, *fit, "--seed", 3, code=75)
    assert out == ""
    assert err.strip().endswith("Ctrl-C; run the same command again with --resume to go on")
    monkeypatch.undo()
    out, _ = run(capsys, *fit, "--resume", "--json")
    assert strict_json(out)["seed"] == 3
    assert sorted(p.name.partition("-")[0] for p in (tmp_path / "m").iterdir()) == [
        "centers", "model.json",
    ]  # fmt: skip


def fields(facts):
    """What must not depend on how the work was done."""
    history = [{k: v for k, v in entry.items() if k != "passes"} for entry in facts["history"]]
    return {k: v for k, v in facts.items() if k not in ("passes", "seconds")} | {"history": history}


@pytest.mark.parametrize("store", ["s"])
def test_workers_give_what_threads_give(folder, tmp_path, capsys, store):
    arguments = ["--k", 3, "--seed", 5, "--tol", 0, "--json"]
    here, _ = run(capsys, "fit", folder / store, tmp_path / "a", *arguments)
    there, _ = run(capsys, "fit", folder / store, tmp_path / "b", *arguments, "--workers", 1,
                   "--threads-per-worker", 2, "--memory-limit", "2GB")  # fmt: skip
    assert fields(strict_json(here)) == fields(strict_json(there))
    a, b = load_model(tmp_path / "a"), load_model(tmp_path / "b")
    assert a.cluster_centers_.tobytes() == b.cluster_centers_.tobytes()


def test_a_drawn_seed_is_recorded_and_repeats(folder, tmp_path, capsys):
    fit = ["fit", folder / "s", tmp_path / "m", "--k", 4, "--init", "random", "--json"]
    facts = [strict_json(run(capsys, *fit, "--overwrite")[0]) for _ in range(3)]
    assert len({f["seed"] for f in facts}) > 1
    again = strict_json(run(capsys, *fit, "--overwrite", "--seed", facts[1]["seed"])[0])
    assert fields(again) == fields(facts[1])


def test_initial_centres_from_a_file(folder, tmp_path, capsys):
    rows = np.random.default_rng(1).normal(size=(2, 16_384))
    np.save(tmp_path / "start.npy", rows)
    fit = ["fit", folder / "s", tmp_path / "m", "--k", 2, "--json"]
    facts = strict_json(run(capsys, *fit, "--init", tmp_path / "start.npy")[0])
    expected = KMeans(2, init=rows).fit(str(folder / "s"))
    assert facts["init"] == "array"
    assert facts["inertia"] == expected.inertia_
    assert strict_json(run(capsys, "info", tmp_path / "m", "--json")[0])["init"] == "array"


def test_memory_budget_changes_no_result(folder, tmp_path, capsys):
    fit = ["fit", folder / "s", "--k", 3, "--seed", 2, "--json", "--memory-budget"]
    facts = [
        strict_json(run(capsys, *fit, budget, tmp_path / f"m{i}")[0])
        for i, budget in enumerate(["0", "1GB"])
    ]
    assert fields(facts[0]) == fields(facts[1])
    assert facts[0]["passes"] > facts[1]["passes"] == 1


def all_commands(group=commands.cli, path=()):
    yield path, group
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            late = command if path else commands.load_command(name)
            yield from all_commands(late, (*path, name))


@pytest.mark.parametrize("path", [path for path, _ in all_commands()])
def test_help(path, capsys):
    out, err = run(capsys, *path, "--help")
    assert err == ""
    assert "Usage: daskcluster" in out
    assert "Example:" in out
    example = out.partition("Example:")[2].split("\n\n")[0]
    assert f"daskcluster {' '.join(path)}".strip() in example
    assert run(capsys, *path, "-h")[0] == out


def test_the_commands_are_those_of_the_contract():
    assert {" ".join(path) for path, _ in all_commands()} == {
        "", "demo", "convert", "convert idx", "convert npy", "convert table", "convert text",
        "info", "fit", "sweep", "plan", "predict", "evaluate", "report",
    }  # fmt: skip


def test_the_list_of_commands_says_what_each_says_of_itself():
    for name, listed in commands.cli.commands.items():
        own = commands.load_command(name).help
        assert own[:25] == listed.short_help[:25]


def test_help_and_version_import_no_library():
    """They answer at once; what fits and reads takes seconds to import."""
    for argument in ("--help", "--version"):
        code = (
            "import sys; from daskcluster.cli import main\n"
            f"try: main([{argument!r}])\n"
            "finally: print(*{'numpy', 'sklearn', 'zarr', 'distributed'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == ""


def test_ctrl_c_during_imports():
    code = (
        "import os, signal; from daskcluster.cli import main\n"
        "commands = __import__('sys').modules['daskcluster.cli.main']\n"
        "commands.import_module = lambda name: os.kill(os.getpid(), signal.SIGINT)\n"
        "main(['info', 'store'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "daskcluster: stopped: Ctrl-C\n"


def test_version(capsys):
    assert __version__ in run(capsys, "--version")[0]


@pytest.mark.parametrize("name", ["labels.csv", "labels.npy"])
def test_labels_are_no_other_files(name, tmp_path, capsys):
    _, err = run(capsys, "predict", "model", "store", tmp_path / name, code=2)
    assert "labels are written as a Zarr store, or as FILE.parquet" in err
    assert not (tmp_path / name).exists()


def test_what_is_no_command(capsys):
    out, err = run(capsys, "cluster", code=2)
    assert out == ""
    assert re.search("[Nn]o such command", err)


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["convert"], ["fit"], ["fit", "s"], ["info"], ["convert", "idx", "a"],
        ["fit", "s", "m", "--k", "2", "--max-iter", "0"],
        ["fit", "s", "m", "--k", "2", "--n-init", "0"],
        ["fit", "s", "m", "--k", "2", "--tol", "-1"],
        ["fit", "s", "m", "--k", "2", "--tol", "nan"],
        ["fit", "s", "m", "--k", "2", "--tol", "inf"],
        ["fit", "s", "m", "--k", "2", "--seed", "-1"],
        ["fit", "s", "m", "--k", "2", "--algorithm", "magic"],
        ["fit", "s", "m", "--k", "2", "--workers", "0"],
        ["fit", "s", "m", "--k", "2", "--threads-per-worker", "2"],
        ["fit", "s", "m", "--k", "2", "--memory-limit", "2GB"],
        ["fit", "s", "m", "--k", "2", "--progress", "loud"],
        ["fit", "s", "m", "--k", "2", "--time-budget", "soon"],
        ["fit", "s", "m", "--k", "2", "--time-budget", "0s"],
        ["fit", "s", "m", "--k", "2", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"],
        ["fit", "s", "m", "--k", "2", "--scheduler-file", "f", "--scheduler", "tcp://[::1]:1"],
        ["fit", "s", "m", "--k", "2", "--tls-ca-file", "ca.pem"],
        ["fit", "s", "m", "--k", "2", "--tls-ca-file", "rows", "--tls-cert", "rows",
         "--tls-key", "rows"],
        ["fit", "s", "m", "--k", "2", "--scheduler", "tls://127.0.0.1:1", "--tls-ca-file", "ca.pem",
         "--tls-cert", "cert.pem", "--tls-key", "key.pem"],
        ["fit", "s", "m", "--k", "2", "--scheduler", "nowhere://x"],
        ["convert", "idx", "a", "b", "--codec", "brotli"],
        ["convert", "idx", "a", "b", "--rows-per-chunk", "0"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_usage(folder, arguments, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    out, err = run(capsys, *arguments, code=2)
    assert out == ""
    assert err
    assert "Traceback" not in err
    assert sorted(folder.iterdir()) == before


def test_fit_hands_every_option_on(folder, tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "start.npy", np.ones((3, 2)))
    given, fitted = {}, load_model(folder / "model")

    class Spy(KMeans):
        def __init__(self, **options):
            given.update(options)
            super().__init__(**options)

    def spy(estimator, X, path, *, progress, **options):
        given.update(options, X=X, path=path, progress=type(progress))
        return fitted

    np.save(tmp_path / "w.npy", np.arange(5))
    monkeypatch.setattr(fitting, "KMeans", Spy)
    monkeypatch.setattr(fitting, "fit_model", spy)
    run(
        capsys, "fit", "store", tmp_path / "m", "--k", 3, "--init", tmp_path / "start.npy",
        "--n-init", 4, "--max-iter", 5, "--tol", 0.25, "--seed", 6, "--algorithm", "lloyd",
        "--memory-budget", "7MB", "--progress", "json", "--resume", "--time-budget", "1h",
        "--standardize", "--metric", "euclidean", "--weights", tmp_path / "w.npy",
    )  # fmt: skip
    np.testing.assert_array_equal(given.pop("sample_weight"), np.arange(5))
    np.testing.assert_array_equal(given.pop("init"), np.ones((3, 2)))
    assert given == {
        "n_clusters": 3, "n_init": 4, "max_iter": 5, "tol": 0.25, "random_state": 6,
        "algorithm": "lloyd", "memory_budget": "7MB", "X": "store", "progress": JsonLines,
        "standardize": True, "metric": "euclidean",
        "path": str(tmp_path / "m"), "resume": True, "overwrite": False,
    }  # fmt: skip
    given.clear()
    run(capsys, "fit", "store", tmp_path / "m", "--k", 3, "--overwrite")
    defaults = KMeans(3).get_params()
    assert (given.pop("X"), given.pop("path")) == ("store", str(tmp_path / "m"))
    assert (given.pop("resume"), given.pop("overwrite")) == (False, True)
    assert given.pop("progress") is Silent
    assert given.pop("sample_weight") is None
    assert given == {name: defaults[name] for name in given}


@pytest.mark.parametrize(("command", "function"), [("idx", convert_idx), ("npy", convert_npy)])
def test_convert_hands_every_option_on(folder, capsys, monkeypatch, command, function):
    calls = []

    def spy(*args, **options):
        calls.append((args, options))
        return open_store(folder / "s")

    monkeypatch.setattr(converting, function.__name__, spy)
    run(
        capsys, "convert", command, "rows", "store", "--labels", "l", "--rows-per-chunk", 9,
        "--codec", "zstd", "--overwrite", "--resume", "--progress", "json",
    )  # fmt: skip
    run(capsys, "convert", command, "rows", "store")
    (args, options), (plain_args, plain) = calls
    assert args == plain_args == ("rows", "store")
    assert isinstance(options.pop("progress"), JsonLines)
    assert isinstance(plain.pop("progress"), Silent)
    assert options == {
        "labels": "l", "rows_per_chunk": 9, "codec": "zstd", "overwrite": True, "resume": True,
    }  # fmt: skip
    assert plain == {
        "labels": None, "rows_per_chunk": None, "codec": "lz4", "overwrite": False, "resume": False,
    }  # fmt: skip


def test_predict_hands_every_option_on(folder, capsys, monkeypatch):
    calls = []

    def spy(*args, **options):
        calls.append((args, options))
        return {"array": "a", "n_rows": 1, "cluster_sizes": [1]}

    monkeypatch.setattr(assessing, "predict_labels", spy)
    run(capsys, "predict", folder / "model", "s", "out", "--overwrite")
    run(capsys, "predict", folder / "model", "s", "out", "--resume")
    for ((model, *places), options), name in zip(calls, ("overwrite", "resume"), strict=True):
        assert isinstance(model, KMeans)
        assert places == ["s", "out"]
        assert {options.pop("overwrite"): "overwrite", options.pop("resume"): "resume"}[
            True
        ] == name
    assert set(options) == {"progress"}


def test_workers_are_handed_on(capsys, monkeypatch, folder):
    given = []

    class Cluster:
        def __init__(self, *arguments):
            given.append(arguments)

        def __enter__(self):
            return None

        def __exit__(self, *error):
            return None

    monkeypatch.setattr("daskcluster.cli.running.local_cluster", Cluster)
    command = ["evaluate", folder / "model", folder / "s"]
    run(capsys, *command, "--workers", 2)
    run(capsys, *command, "--workers", 2, "--threads-per-worker", 3, "--memory-limit", "1GiB")
    assert given == [(2, 1, "auto"), (2, 3, 2**30)]


def test_workers_too_small_to_live_are_not_started(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delattr("daskcluster.engine.connect.LocalCluster")
    workers = ("--workers", 2, "--memory-limit", "100MB")
    out, err = run(capsys, "fit", folder / "s", tmp_path / "m", "--k", 2, *workers, code=2)
    assert out == ""
    assert "a memory limit of 95 MiB is less than the 280 MiB" in err
    assert "raise it with --memory-limit" in err


def test_warnings_are_lines_of_their_own(tmp_path, capsys):
    write_idx(tmp_path / "rows", np.ones((5, 2), dtype=np.uint8))
    convert_idx(tmp_path / "rows", tmp_path / "s")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        out, err = run(capsys, "fit", tmp_path / "s", tmp_path / "m", "--k", 2, "--json")
    assert strict_json(out)["inertia"] == 0
    assert err.startswith("daskcluster: warning: Number of distinct clusters")
    assert len(err.splitlines()) == 1


def test_in_a_process_of_its_own(folder, tmp_path):
    command = [sys.executable, "-m", "daskcluster"]
    arguments = ["fit", folder / "s", tmp_path / "m", "--k", 3, "--seed", 5, "--json"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert set(strict_json(done.stdout)) == FIT_KEYS
    assert Path(tmp_path / "m/model.json").exists()
    script = Path(sys.executable).with_name("daskcluster")
    if os.access(script, os.X_OK):
        done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
        assert __version__ in done.stdout


LONG = ["talk.politics.guns", "talk.politics.mideast", "talk.politics.misc"]


@pytest.mark.parametrize("names", [LONG, ["cat", "dog", "eel"]])
def test_classes_are_told_apart(names):
    table = [[5, 0, 1], [0, 7, 2]]
    facts = {"contingency": table, "class_names": names}
    head, *lines = show._contingency_lines(facts)
    long = names is LONG
    assert head.split() == (["0", "1", "2"] if long else names)
    assert [line.split() for line in lines[:2]] == [["0", "5", "0", "1"], ["1", "0", "7", "2"]]
    assert [line.split()[-1] for line in lines[2:] if line] == ["classes", *LONG] * long


def test_many_sizes_are_summed_up():
    assert show._sizes([3, 1, 2]) == "3 1 2"
    assert show._sizes([*range(30), 0]) == "of 31: least 0, median 14, most 29, 2 empty"
    assert show._sizes([0.25, 1.0]) == "0.2 1.0"


def test_predict_names_the_place_that_the_user_named(folder, tmp_path, capsys):
    out, _ = run(capsys, "predict", folder / "model", folder / "s", tmp_path / "out")
    assert out.splitlines()[0] == f"{tmp_path / 'out'}: 110 labels"
