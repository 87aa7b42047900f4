"""What the README says is what happens: its Python runs, its shell commands too."""

import doctest
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from daskcluster.cli import main
from daskcluster.demo import write_idx

README = Path(__file__).parent.parent / "README.md"


def _fenced(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (text,) = _fenced("python")
    test = doctest.DocTestParser().get_doctest(text, {}, "README", str(README), 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_its_commands_run(tmp_path, monkeypatch, rng, capsys):
    monkeypatch.chdir(tmp_path)
    write_idx(
        tmp_path / "train-images-idx3-ubyte.gz", rng.integers(0, 255, (60, 4, 4), dtype=np.uint8)
    )
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", rng.integers(0, 9, 60, dtype=np.uint8))
    commands = [line for line in _fenced("sh")[2].splitlines() if line]
    assert len(commands) == 5
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "daskcluster"
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0, capsys.readouterr().err
    assert "purity" in capsys.readouterr().out


def test_both_commands_set_everything_up():
    demo, tests = (block.strip() for block in _fenced("sh")[:2])
    assert demo.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert demo.endswith(".venv/bin/daskcluster demo")
    assert tests.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert tests.endswith("pytest -q")
