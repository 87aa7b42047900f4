"""The commands, and the exit codes."""

import sys
import warnings
from errno import ELOOP, ENAMETOOLONG
from pathlib import Path
from typing import Any

import click

from daskcluster import __version__
from daskcluster.assess import evaluate, predict_labels, predict_parquet, predict_responsibilities
from daskcluster.cli.common import PATH, RESUME, WEIGHTS, Output, load_array, printing
from daskcluster.cli.converting import convert
from daskcluster.cli.fitting import fit, sweep_
from daskcluster.cli.planning import plan_
from daskcluster.cli.running import running
from daskcluster.cli.show import (
    demo_lines,
    evaluate_lines,
    path_facts,
    predict_lines,
    report_lines,
    table_lines,
)
from daskcluster.demo import run_demo
from daskcluster.errors import DaskClusterError, InputError, Stopped
from daskcluster.fit import load_model
from daskcluster.report import write_report

# Of names that no file could have.
_NO_NAMES = (ENAMETOOLONG, ELOOP)
_OTHER_FILES = (".csv", ".tsv", ".txt", ".npy", ".json")
EXIT_FAILURE, EXIT_USAGE, EXIT_STOPPED, EXIT_INTERRUPTED = 1, 2, 75, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="daskcluster")
def cli() -> None:
    """Exact k-means for data that does not fit in memory.

    \b
    Example:
      daskcluster convert idx images.idx.gz mnist.zarr --labels labels.idx.gz
      daskcluster fit mnist.zarr model --k 10
      daskcluster evaluate model mnist.zarr
    """


cli.add_command(convert)


@cli.command()
@click.argument("folder", default="daskcluster-demo", type=PATH)
@printing
@running
def demo(folder: str, output: Output) -> None:
    """Run the whole job on scikit-learn's digits, in FOLDER.

    \b
    Example:
      daskcluster demo
    """
    facts = run_demo(folder, progress=output.progress)
    output.result(facts, demo_lines(facts))


@cli.command()
@click.argument("path", type=PATH)
@printing
def info(path: str, output: Output) -> None:
    """Say what the store, model or labels at PATH are.

    \b
    Example:
      daskcluster info mnist.zarr
    """
    facts = path_facts(path)
    output.result(facts, table_lines(facts))


cli.add_command(fit)
cli.add_command(sweep_)
cli.add_command(plan_)


@cli.command()
@click.argument("model", type=PATH)
@click.argument("store", type=PATH)
@click.argument("out", type=PATH)
@click.option("--proba", is_flag=True, help="Responsibilities of a soft model, not labels.")
@click.option("--overwrite", is_flag=True, help="Replace what is there of the same kind.")
@RESUME
@printing
@running
def predict(
    model: str, store: str, out: str, output: Output, proba: bool, overwrite: bool, resume: bool
) -> None:
    """Write the cluster of every row of STORE to OUT, or with --proba every cluster's share in it.

    OUT is a Zarr store, or by the name of FILE.parquet a table of ids and labels. STORE may also be
    documents, for a model of a store of text.

    \b
    Example:
      daskcluster predict model mnist.zarr labels.zarr
    """
    options: dict[str, Any] = {"overwrite": overwrite, "progress": output.progress}
    write = predict_responsibilities if proba else predict_labels
    if Path(out).suffix in _OTHER_FILES:
        raise click.UsageError(f"{out}: labels are written as a Zarr store, or as FILE.parquet")
    if not out.endswith(".parquet"):
        facts = write(load_model(model), store, out, resume=resume, **options)
    elif proba or resume:
        raise click.UsageError("--proba and --resume are for Zarr arrays: OUT names a Parquet file")
    else:
        facts = predict_parquet(load_model(model), store, out, **options)
    output.result(facts, predict_lines(facts))


@cli.command(name="evaluate")
@click.argument("model", type=PATH)
@click.argument("store", type=PATH)
@WEIGHTS
@printing
@running
def evaluate_(model: str, store: str, weights: str | None, output: Output) -> None:
    """Score MODEL on STORE, against its labels where it has some.

    \b
    Example:
      daskcluster evaluate model mnist.zarr --json
    """
    facts = evaluate(
        load_model(model), store, progress=output.progress,
        sample_weight=load_array("--weights", weights, "weights"),
    )  # fmt: skip
    output.result(facts, evaluate_lines(facts))


@cli.command()
@click.argument("model")
@click.argument("out")
@click.option("--store", help="Rows to show in place of those of the fit.")
@WEIGHTS
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@printing
@running
def report(model: str, out: str, weights: str | None, output: Output, **options: Any) -> None:
    """Write a page on MODEL, or on what `sweep` wrote, to OUT: one HTML file, for any browser.

    Where the store of the fit is gone or was written again, the page is made without what needs its
    rows, and says so.

    \b
    Example:
      daskcluster report model model.html
    """
    facts = write_report(
        model, out, progress=output.progress, **options,
        sample_weight=load_array("--weights", weights, "weights"),
    )  # fmt: skip
    output.result(facts, report_lines(facts))


def _warn(message: Any, *_: Any, **__: Any) -> None:
    click.echo(f"daskcluster: warning: {message}", err=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    The codes: 0 done, 2 bad usage or input, 1 failure, 75 ended early and ``--resume`` goes on, 130
    ended by Ctrl-C with nothing to go on from.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        return int(cli.main(arguments, prog_name="daskcluster", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        return _stopped("Ctrl-C", error.__cause__ or error)  # Click's Abort has a cause
    except Stopped as error:
        return _stopped(str(error), error)
    except InputError as error:
        return _say(f"error: {error}{_kept(error)}", EXIT_USAGE)
    except OSError as error:
        usage = error.errno in _NO_NAMES and not getattr(error, "kept", False)
        return _say(f"error: {error}{_kept(error)}", EXIT_USAGE if usage else EXIT_FAILURE)
    except (DaskClusterError, MemoryError) as error:
        return _say(f"error: {error or type(error).__name__}{_kept(error)}", EXIT_FAILURE)


def _kept(error: BaseException) -> str:
    return "; what was done is kept for --resume" if getattr(error, "kept", False) else ""


def _stopped(reason: str, error: BaseException) -> int:
    if getattr(error, "kept", False):
        advice = "run the same command again with --resume to go on"
        return _say(f"stopped: {reason}; {advice}", EXIT_STOPPED)
    code = EXIT_INTERRUPTED if reason == "Ctrl-C" else EXIT_FAILURE
    return _say(f"stopped: {reason}", code)


def _say(text: str, code: int) -> int:
    click.echo(f"daskcluster: {text}", err=True)
    return code
