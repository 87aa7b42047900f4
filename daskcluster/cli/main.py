"""The commands, and the exit codes."""

import sys
import warnings
from typing import Any

import click
import numpy as np

from daskcluster import __version__
from daskcluster.assess import evaluate, predict_labels, predict_parquet, predict_responsibilities
from daskcluster.cli.common import RESUME, Output, printing
from daskcluster.cli.converting import convert
from daskcluster.cli.running import running
from daskcluster.cli.show import (
    demo_lines,
    evaluate_lines,
    fit_facts,
    fit_lines,
    path_facts,
    predict_lines,
    table_lines,
)
from daskcluster.demo import run_demo
from daskcluster.engine import parse_bytes
from daskcluster.errors import DaskClusterError, InputError, Stopped
from daskcluster.fit import KMeans, SoftKMeans, fit_model, load_model
from daskcluster.fit.kmeans import ALGORITHMS
from daskcluster.fit.model import is_model_folder
from daskcluster.fit.options import INITS
from daskcluster.fit.softkmeans import PRECISIONS

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
@click.argument("folder", default="daskcluster-demo")
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
@click.argument("path")
@printing
def info(path: str, output: Output) -> None:
    """Say what the store, model or labels at PATH are.

    \b
    Example:
      daskcluster info mnist.zarr
    """
    facts = path_facts(path)
    output.result(facts, table_lines(facts))


@cli.command()
@click.argument("store")
@click.argument("model")
@click.option(
    "--k", "n_clusters", type=click.IntRange(1), required=True, help="Number of clusters."
)
@click.option("--soft", is_flag=True, help="Soft k-means: rows belong to clusters by degrees.")
@click.option("--beta", type=float, help="With --soft: its stiffness, in 1 / distance; default 1.")
@click.option(
    "--metric",
    type=click.Choice(("euclidean", "sqeuclidean", "cosine")),
    help="Default euclidean; sqeuclidean is for --soft, cosine (spherical k-means) without.",
)
@click.option("--standardize", is_flag=True, help="Columns of mean 0 and standard deviation 1.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="With --soft; default auto.")
@click.option(
    "--init", default="auto", show_default=True, metavar="NAME|FILE.npy|MODEL",
    help=f"{', '.join(INITS)}; or centres in a file, or those of a model.",
)  # fmt: skip
@click.option("--weights", metavar="FILE.npy", help="A row of weight w counts as w rows.")
@click.option("--n-init", type=click.IntRange(1), help="Restarts; default 1, or 10 for random.")
@click.option(
    "--max-iter", type=click.IntRange(1), default=300, show_default=True,
    help="Iterations after which a fit ends all the same.",
)  # fmt: skip
@click.option(
    "--tol", type=click.FloatRange(0), default=1e-4, show_default=True,
    help="Squared shift, in mean variances, that ends a fit; with --soft the shift, as the data "
    "is; 0: when centres repeat.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), help="Drawn, and recorded, if not given."
)
@click.option("--algorithm", type=click.Choice(ALGORITHMS), help="Default auto; not with --soft.")
@click.option(
    "--memory-budget", metavar="SIZE", help="Decoded blocks each process keeps; 0 for none."
)
@click.option(
    "--time-budget", metavar="T", help="Stop with a checkpoint after T, such as 90s, 45m or 2h."
)
@click.option("--overwrite", is_flag=True, help="Replace a model that is there.")
@RESUME
@printing
@running
def fit(
    store: str,
    model: str,
    output: Output,
    init: str,
    n_init: int | None,
    seed: int | None,
    weights: str | None,
    overwrite: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Fit k-means to STORE and save it as MODEL.

    On the way a checkpoint lies in MODEL: after Ctrl-C, SIGTERM, the end of the time budget or a
    crash, the same command with --resume goes on from it, on any number of workers.

    \b
    Example:
      daskcluster fit mnist.zarr model --k 10 --seed 0 --workers 2
      daskcluster fit mnist.zarr soft --k 10 --soft --beta 0.1 --max-iter 100
      daskcluster fit more.zarr again --k 10 --init model
    """
    if options["memory_budget"] is not None:
        parse_bytes(options["memory_budget"])
    kind = _kind(options)
    estimator = kind(init=_init(init), n_init=n_init or "auto", random_state=seed, **options)
    fitted = fit_model(
        estimator, store, model, resume=resume, overwrite=overwrite, progress=output.progress,
        sample_weight=None if weights is None else load_array("--weights", weights, "weights"),
    )  # fmt: skip
    facts = fit_facts(fitted)
    output.result(facts, fit_lines(facts, model))


@cli.command()
@click.argument("model")
@click.argument("store")
@click.argument("out")
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
    if not out.endswith(".parquet"):
        facts = write(load_model(model), store, out, resume=resume, **options)
    elif proba or resume:
        raise click.UsageError("--proba and --resume are for Zarr arrays: OUT names a Parquet file")
    else:
        facts = predict_parquet(load_model(model), store, out, **options)
    output.result(facts, predict_lines(facts))


@cli.command(name="evaluate")
@click.argument("model")
@click.argument("store")
@click.option("--weights", metavar="FILE.npy", help="A row of weight w counts as w rows.")
@printing
@running
def evaluate_(model: str, store: str, weights: str | None, output: Output) -> None:
    """Score MODEL on STORE, against its labels where it has some.

    \b
    Example:
      daskcluster evaluate model mnist.zarr --json
    """
    sample_weight = None if weights is None else load_array("--weights", weights, "weights")
    facts = evaluate(
        load_model(model), store, sample_weight=sample_weight, progress=output.progress
    )
    output.result(facts, evaluate_lines(facts))


def _kind(options: dict[str, Any]) -> type[Any]:
    """The estimator that the options are of; they are left with what it takes."""
    soft = options.pop("soft")
    others = ("algorithm",) if soft else ("beta", "precision")
    if any([options.pop(name) is not None for name in others]):
        raise click.UsageError(
            "--algorithm is not for --soft" if soft
            else "--beta and --precision need --soft"
        )  # fmt: skip
    for name in [name for name, value in options.items() if value is None]:
        del options[name]
    return SoftKMeans if soft else KMeans


def _init(init: str) -> Any:
    if init in INITS:
        return init
    if init.endswith(".npy"):
        return load_array("--init", init, "centres")
    if not is_model_folder(init):
        raise InputError(
            f"--init {init}: give one of {', '.join(INITS)}, a .npy file of centres, or a model"
        )
    return load_model(init).cluster_centers_


def load_array(option: str, path: str, what: str) -> Any:
    """An array in a file that an option names."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{option} {path} cannot be read as {what}: {error}") from error


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
    except (DaskClusterError, OSError, MemoryError) as error:
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
