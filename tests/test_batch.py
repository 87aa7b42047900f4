"""The batch scripts run as they would be submitted, with stand-ins for srun, scontrol and ssh."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_idx

from daskcluster import KMeans, load_model, open_labels
from daskcluster.assess import evaluate

SCRIPTS = Path(__file__).parents[1] / "scripts"
SUBMITTED = ("batch.sh", "slurm.sh", "ssh.sh")


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(6).integers(0, 255, (6000, 8, 4), dtype=np.uint8)


@pytest.fixture
def files(rows, tmp_path):
    write_idx(tmp_path / "images", rows)
    write_idx(tmp_path / "labels", (np.arange(len(rows)) % 4).astype(np.uint8))
    return [str(tmp_path / name) for name in ("images", "labels", "out")]


@pytest.fixture
def env(tmp_path):
    """An environment in which the commands are found, Slurm's and SSH's stand-ins too."""
    shims = tmp_path / "shims"
    shims.mkdir()
    stand_ins = {
        # srun starts the command on each node: here on one, after its own options.
        "srun": 'echo "$@" >"$0.log"; while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
        "scontrol": 'echo "$@" >>"$0.log"',
        # ssh joins its arguments and gives them to a shell.
        "ssh": 'echo "$@" >>"$0.log"; shift; [ "$1" != -x ] || shift; exec sh -c "exec $*"',
    }
    for name, text in stand_ins.items():
        (shims / name).write_text(f"#!/bin/sh\n{text}\n")
        (shims / name).chmod(0o755)
    path = f"{shims}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {
        "PATH": path, "FIT_OPTIONS": "--tol 0 --seed 4", "SSH": "ssh", "NTHREADS": "1",
        "ADDRESS": "127.0.0.1", "INTERFACE": "lo", "TMPDIR": str(tmp_path),
        "SLURM_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_CPU": "2000",
        "SLURM_SUBMIT_DIR": str(SCRIPTS.parent), "DASK_DASKCLUSTER__CHECKPOINT_INTERVAL": "0s",
    }  # fmt: skip


def run(script, *arguments, env, code=0):
    command = ["bash", str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def check_results(out, rows):
    """What the scripts collected is what the library finds."""
    expected = KMeans(6, tol=0, random_state=4).fit(rows.reshape(len(rows), -1))
    results = json.loads(Path(out, "results.json").read_text())
    assert set(results) == {"convert", "fit", "evaluate", "predict"}
    assert results["convert"]["n_rows"] == len(rows)
    assert (results["fit"]["inertia"], results["fit"]["n_iter"]) == (
        expected.inertia_, expected.n_iter_,
    )  # fmt: skip
    assert results["predict"]["cluster_sizes"] == expected.cluster_sizes_.tolist()
    assert results["evaluate"]["purity"] == evaluate(expected, f"{out}/rows.zarr")["purity"]
    np.testing.assert_array_equal(open_labels(f"{out}/labels.zarr"), expected.labels_)
    assert load_model(f"{out}/model").inertia_ == expected.inertia_


def test_batch_stopped_by_its_time_budget_and_run_again(files, rows, env):
    budget = env | {"FIT_OPTIONS": f"{env['FIT_OPTIONS']} --time-budget 0.01s"}
    said = run("batch.sh", *files, 6, env=budget, code=75)
    assert "fit: daskcluster fit" in said
    assert "run the same command again with --resume" in said
    assert not Path(files[2], "fit.json").exists()
    store = Path(files[2], "rows.zarr/zarr.json").read_bytes()
    run("batch.sh", *files, 6, "--workers", 1, env=env)
    check_results(files[2], rows)
    # What was converted was not converted again.
    assert Path(files[2], "rows.zarr/zarr.json").read_bytes() == store


def test_ssh(files, rows, env, tmp_path):
    run("ssh.sh", *files, 6, env=env | {"HOSTS": "one two"})
    check_results(files[2], rows)
    asked = (tmp_path / "shims/ssh.log").read_text().splitlines()
    assert {line.split()[0] for line in asked} == {"one", "two"}
    assert not Path(files[2], "scheduler.json").exists()


def test_slurm_stops_before_its_time_is_over_and_goes_on(files, rows, env, tmp_path):
    """As Slurm does it: SIGTERM to the batch script alone, then the same job once more."""
    command = ["bash", str(SCRIPTS / "slurm.sh"), *files, "6"]
    model = Path(files[2], "model")
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as job:
        while not (model / "checkpoint.npz").exists():
            assert job.poll() is None
            time.sleep(0.01)
        job.send_signal(signal.SIGTERM)
        _, said = job.communicate(timeout=60)
    assert job.returncode == 75, said
    assert "stopped: SIGTERM" in said
    assert (tmp_path / "shims/scontrol.log").read_text() == "requeue 77\n"
    run("slurm.sh", *files, 6, env=env)
    check_results(files[2], rows)
    started = (tmp_path / "shims/srun.log").read_text()
    assert "dask worker --scheduler-file" in started
    assert "--nthreads 1 --memory-limit 2000MiB" in started
    assert not list(Path(files[2]).glob("scheduler-*.json"))


def test_slurms_own_options():
    """sbatch reads them up to the first command, and they must agree with what the script does."""
    head, _, body = (SCRIPTS / "slurm.sh").read_text().partition("set -euo pipefail")
    asked = [line.split()[1] for line in head.splitlines() if line.startswith("#SBATCH")]
    options = dict(option.removeprefix("--").partition("=")[::2] for option in asked)
    assert options["signal"].startswith("B:TERM@")
    assert "requeue" in options
    assert options["ntasks-per-node"] == "1"
    for variable, option in (("CPUS_PER_TASK", "cpus-per-task"), ("MEM_PER_CPU", "mem-per-cpu")):
        assert f"SLURM_{variable}" in body
        assert option in options


@pytest.mark.parametrize("script", SUBMITTED)
def test_without_arguments_they_say_how(script, env):
    said = run(script, env=env, code=2)
    assert f"scripts/{script}" in said
    assert "Example" in said
