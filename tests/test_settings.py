"""Dask's configuration, its defaults and variables; what is said to loggers."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import dask
import pytest
import yaml

import daskcluster
from daskcluster import InputError, KMeans, fit_model, settings

SOURCES = Path(daskcluster.__file__).parent
DEFAULTS = yaml.safe_load(settings.FILE.read_text())["daskcluster"]


def test_the_package_alone_registers_its_defaults():
    code = (
        "import dask, daskcluster; get = dask.config.get;"
        f"print({{name: get(f'daskcluster.{{name}}') for name in {list(DEFAULTS)}}})"
    )
    changed = {"DASK_DASKCLUSTER__SILENT_TIMEOUT": "3s"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | changed, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert yaml.safe_load(done.stdout) == DEFAULTS | {"silent-timeout": "3s"}


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_setting_is_used_and_explained(name):
    assert settings.seconds(name) > 0
    used = [path for path in SOURCES.rglob("*.py") if f'seconds("{name}")' in path.read_text()]
    assert [path for path in used if path.name != "settings.py"]
    variable = f"DASK_DASKCLUSTER__{name.upper().replace('-', '_')}"
    readme = (SOURCES.parent / "README.md").read_text()
    assert f"| `{variable}` | {DEFAULTS[name]} |" in readme


def test_what_is_no_time_is_refused():
    with (
        dask.config.set({"daskcluster.silent-timeout": "soon"}),
        pytest.raises(InputError, match=r"daskcluster\.silent-timeout: 'soon' is not a time"),
    ):
        settings.seconds("silent-timeout")


def test_a_fit_says_what_it_does_to_the_loggers_that_ask(tmp_path, rng, caplog):
    X = rng.normal(size=(50, 3))
    with caplog.at_level(logging.DEBUG, "daskcluster"):
        model = fit_model(KMeans(3, random_state=0, max_iter=4), X, tmp_path / "m")
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    iterations = [text for level, text in said if text.startswith("iteration ")]
    assert len([text for text in iterations if "'inertia'" in text]) == model.n_iter_
    assert any("1 runs" in text for level, text in said if level == logging.INFO)
    assert any("checkpoint of" in text for level, text in said if level == logging.DEBUG)
    names = {record.name for record in caplog.records}
    assert names <= {
        f"daskcluster.{path}" for path in ("engine.session", "fit.checkpoint", "fit.run")
    }


def test_no_logger_has_handlers():
    assert [n for n in logging.root.manager.loggerDict
            if n.startswith("daskcluster") and logging.getLogger(n).handlers] == []  # fmt: skip
