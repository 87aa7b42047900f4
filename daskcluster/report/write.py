"""A report as one file."""

import os
import shlex
import time
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from daskcluster.assess.summary import ModelSummary, SweepSummary, made_at, summarize
from daskcluster.engine import Progress
from daskcluster.errors import InputError, ModelError
from daskcluster.files import write_atomically
from daskcluster.report.page import page
from daskcluster.store import Store


def write_report(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | Store | None = None,
    sample_weight: Any = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a page on a model or a sweep: one HTML file that needs nothing else, nor a network.

    Where the store of the fit is at hand its rows are read once where they fit the memory, else
    twice, for scores, classes and the least and most certain rows of each cluster. Where it is gone
    or was written again, the page says so and is made without these.

    Parameters
    ----------
    path : path
        A model, or what `sweep` wrote.
    out : path
        The HTML file.
    store : store, path or URL, optional
        Rows to show in place of those of the fit.
    sample_weight : array-like of shape (n_samples,), optional
        What the rows weigh in scores and classes.
    overwrite : bool, default=False
        Replace a file that is there; it stays until the new one is whole.
    progress : Progress, optional

    Returns
    -------
    dict
        kind ('model' or 'sweep'), out, bytes, n_models, n_clusters (of the model shown; None where
        a sweep suggests none), notes (what is missing, and why), passes, seconds.

    Raises
    ------
    InputError
        A file is at ``out``, or there is no folder for it.
    ModelError
        Neither a model nor a sweep, or a damaged one.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, convert_npy, write_report
    >>> folder = getfixture("tmp_path")
    >>> np.save(folder / "rows.npy", np.array([[0.0, 1.0], [9.0, 1.0], [8.0, 0.0]]))
    >>> store = convert_npy(folder / "rows.npy", folder / "rows.zarr")
    >>> KMeans(2, random_state=0).fit(store).save(folder / "model")
    >>> write_report(folder / "model", folder / "page.html")["notes"]
    []
    """
    began, place = time.perf_counter(), Path(out)
    _check_place(place, overwrite)
    summary = summarize(path, store=store, sample_weight=sample_weight, progress=progress)
    content = _rendered(summary, path, _command(path, out, store, sample_weight)).encode()
    write_atomically(place, content)
    model = summary if isinstance(summary, ModelSummary) else summary.suggested
    return {
        "kind": "sweep" if isinstance(summary, SweepSummary) else "model",
        "out": os.fspath(out),
        "bytes": len(content),
        "n_models": len(summary.table) if isinstance(summary, SweepSummary) else 1,
        "n_clusters": None if model is None else model.facts["n_clusters"],
        "notes": [] if model is None else model.notes,
        "passes": 0.0 if model is None else model.passes,
        "seconds": time.perf_counter() - began,
    }


def _rendered(summary: ModelSummary | SweepSummary, path: Any, command: str) -> str:
    try:
        return page(summary, made_at(), command)
    # What a model says of its fit is checked by those who use it, which here is the page.
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, TemplateError) as error:
        raise ModelError(f"{path}: damaged ({error!r}): fit again") from error


def _check_place(place: Path, overwrite: bool) -> None:
    """Before anything is read."""
    if place.is_dir():
        raise InputError(f"{place} is a folder: give the name of an HTML file")
    if not place.parent.is_dir():
        raise InputError(f"{place.parent} is no folder, so {place.name} cannot be written there")
    if place.exists() and not overwrite:
        raise InputError(f"{place} exists: choose another place, or replace it with --overwrite")


def _command(path: Any, out: Any, store: Any, sample_weight: Any) -> str:
    words = ["daskcluster", "report", os.fspath(path), os.fspath(out)]
    if store is not None:
        words += ["--store", store.path if isinstance(store, Store) else os.fspath(store)]
    words += ["--weights", "WEIGHTS.npy"] if sample_weight is not None else []
    return shlex.join(words)
