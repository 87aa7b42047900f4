"""What the README says is what happens: its Python runs, its shell commands too."""

import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from daskcluster.cli import main
from daskcluster.demo import run_demo, write_idx

README = Path(__file__).parent.parent / "README.md"


# Of the sections whose commands are run one after the other in one folder.
SECTIONS = (
    "Quick start", "Your own files", "Soft clusters", "Texts and tables", "Many models at once",
    "Before a long fit",
    "A page to show",
    "A hundred gigabytes",
)  # fmt: skip


def _fenced(language, heading=""):
    """Blocks of a language, of the whole README or of what a heading is above."""
    text = README.read_text()
    if heading:
        (text,) = re.findall(rf"^##+ {heading}\n(.*?)(?=^##|\Z)", text, flags=re.DOTALL | re.M)
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def _named(word):
    """What a shell makes of a word."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


def _lines(heading):
    return [line for block in _fenced("sh", heading) for line in block.splitlines() if line]


def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (text,) = _fenced("python")
    test = doctest.DocTestParser().get_doctest(text, {}, "README", str(README), 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """A folder with the files that the README speaks of, smaller."""
    monkeypatch.chdir(tmp_path)
    run_demo(tmp_path / "daskcluster-demo")
    images = rng.integers(0, 255, (100, 4, 4), dtype=np.uint8)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", rng.integers(0, 9, 100, dtype=np.uint8))
    with tarfile.open(tmp_path / "20news-bydate.tar.gz", "w:gz") as tar:
        for i in range(60):
            words = " ".join(rng.choice(["space", "orbit", "car", "wheel", "moon", "caf\xe9"], 6))
            member = tarfile.TarInfo(f"20news-bydate-train/topic{i % 2}/{i}")
            member.size = len(words)
            tar.addfile(member, io.BytesIO(words.encode("latin-1")))
    table = {"id": [f"row {i}" for i in range(90)], "kind": ["a", "b", "c"] * 30}
    table |= {name: [*rng.random(89), None] for name in ("x", "y", "z")}
    (tmp_path / "folder").mkdir()
    for path in ("rows.parquet", "folder/rows.parquet"):
        pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / path)
    return tmp_path


def test_its_commands_run(folder, capsys):
    commands = [line for heading in SECTIONS for line in _lines(heading)]
    assert len(commands) == 5 + 3 + 3 + 6 + 2 + 1 + 2 + 4
    for command in commands:
        program, *words = shlex.split(command)
        arguments = [name for word in words for name in _named(word)]
        assert program == "daskcluster"
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        printed = capsys.readouterr()
        assert stop.value.code == 0, printed.err
        if command == "daskcluster evaluate model digits.zarr":
            (shown,) = _fenced("text", "Quick start")
            assert printed.out.startswith(shown)


def test_its_three_uses_run(folder):
    """Word for word, in a shell that has job control as a terminal's has."""
    convert = _lines("Your own files")[0]
    laptop, cluster = _fenced("sh", "On a laptop") + _fenced("sh", "On a Dask cluster")
    job, scripts = _fenced("sh", "In batch jobs")
    batch, sbatch, ssh = scripts.splitlines()  # all three are run in test_batch.py
    assert "scripts/batch.sh " in batch
    assert sbatch.startswith("sbatch ")
    assert "scripts/ssh.sh " in ssh
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = "\n".join(["set -em", convert, laptop, cluster, job])
    done = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for model in ("model-5", "model-20", "model-12"):
        assert (folder / model / "model.json").exists()


def test_its_completion_completes(folder):
    """The line of the README in a shell: then what that would offer after some words."""
    (line,) = re.findall(r"`(eval .*?)`", README.read_text())
    offer = (
        "COMPREPLY=(); COMP_WORDS=({}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ));"
        '_daskcluster_completion daskcluster; echo "${{COMPREPLY[@]}}"'
    )
    words = ("daskcluster pl", "daskcluster fit m --init k-")
    # The builtin works while the shell completes only.
    begin = ["set -e", "compopt() { :; }", line]
    script = "\n".join([*begin, *map(offer.format, words), "complete -p daskcluster"])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *offered, registered = done.stdout.splitlines()
    assert offered == ["plan", "k-means++ k-means||"]
    assert registered.endswith("_daskcluster_completion daskcluster")


def test_both_commands_set_everything_up():
    demo, tests = (block.strip() for block in _fenced("sh")[:2])
    assert demo.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert demo.endswith(".venv/bin/daskcluster demo")
    assert tests.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert tests.endswith("pytest -q")
