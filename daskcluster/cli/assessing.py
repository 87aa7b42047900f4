"""The commands on what there is already: what it is, what it is worth, and a page on it."""

from pathlib import Path
from typing import Any

import click

from daskcluster.assess import evaluate, predict_labels, predict_parquet, predict_responsibilities
from daskcluster.cli.common import PATH, RESUME, WEIGHTS, Output, load_array, printing
from daskcluster.cli.facts import path_facts
from daskcluster.cli.running import running
from daskcluster.cli.show import evaluate_lines, info_lines, predict_lines, report_lines
from daskcluster.fit import load_model
from daskcluster.report import write_report

_OTHER_FILES = (".csv", ".tsv", ".txt", ".npy", ".json")


@click.command()
@click.argument("path", type=PATH)
@printing
def info(path: str, output: Output) -> None:
    """Say what the store, model or labels at PATH are.

    \b
    Example:
      daskcluster info mnist.zarr
    """
    facts = path_facts(path)
    output.result(facts, info_lines(facts))


@click.command()
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
    output.result(facts, predict_lines(facts, out))


@click.command(name="evaluate")
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


@click.command()
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
