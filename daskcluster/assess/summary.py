"""All that there is to say of a model or a sweep, as plain values: what a report shows."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from daskcluster.assess.evaluate import scoring
from daskcluster.assess.examples import (
    Example,
    choosing,
    examples,
    in_units_of_data,
    shown_clusters,
)
from daskcluster.assess.predict import check_features
from daskcluster.assess.reproduce import commands
from daskcluster.assess.separation import assessing
from daskcluster.assess.sweep import FILE as SWEEP
from daskcluster.assess.sweep import Sweep, load_sweep, read_sweep
from daskcluster.engine import Progress, in_turns
from daskcluster.engine.machine import machine
from daskcluster.errors import StoreError
from daskcluster.fit import SoftKMeans, load_model, read_model
from daskcluster.fit.data import store_dataset
from daskcluster.fit.estimator import top_terms
from daskcluster.fit.model import outcome
from daskcluster.kernels.frame import Floats
from daskcluster.store import Store, open_store


@dataclass(frozen=True)
class Assessed:
    """What the rows of a store say of a model."""

    scores: dict[str, Any]
    """As `evaluate` returns them."""
    examples: dict[int, tuple[list[Example], list[Example]]]
    """Of each cluster that is shown the least and the most certain rows."""


@dataclass(frozen=True)
class ModelSummary:
    """A model, and what the rows say of it where they are at hand."""

    path: str
    kind: str
    """Name of the estimator."""
    facts: dict[str, Any]
    """n_rows, n_features, n_clusters, n_iter, inertia, objective, converged, passes, seconds, seed,
    init, dtype, metric, standardize, weighted, created."""
    options: dict[str, Any]
    history: list[dict[str, Any]]
    sizes: list[float]
    """What the rows of each cluster weigh."""
    weights: list[float] | None
    """Sums of responsibilities, of a soft model."""
    shown: tuple[int, ...]
    """The clusters that are shown one by one."""
    centers: Floats
    """Of those, in the units of the data, shape (len(shown), n_features)."""
    middle: Floats
    """Mean of all centres by their sizes, shape (n_features,); and how far they differ."""
    spread: Floats
    sample_shape: tuple[int, ...] | None
    names: list[str] | None
    """Of the features, where they have some."""
    terms: list[str] | None
    """The vocabulary, where features are terms."""
    top_terms: list[list[str]] | None
    """Of all clusters."""
    assessed: Assessed | None
    notes: list[str]
    """What is missing, and why."""
    provenance: dict[str, Any]
    """store, build, created, sources; None where nobody knows."""
    versions: dict[str, Any]
    machine: dict[str, Any]
    commands: list[str]
    passes: float


@dataclass(frozen=True)
class SweepSummary:
    """A sweep, and the model it suggests."""

    path: str
    table: list[dict[str, Any]]
    elbows: list[dict[str, Any]]
    facts: dict[str, Any]
    versions: dict[str, Any]
    created: str
    best: dict[str, str]
    """Paths of the best models, by name."""
    suggested: ModelSummary | None
    """The model at the first elbow."""


def summarize(
    path: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | Store | None = None,
    sample_weight: Any = None,
    progress: Progress | None = None,
) -> ModelSummary | SweepSummary:
    """What there is to say of the model or sweep at ``path``; see `daskcluster.write_report`."""
    if not (Path(path) / SWEEP).exists():
        return _of_model(path, store, sample_weight, progress)
    found, description = load_sweep(path), read_sweep(path)
    name = _suggested(found)
    place = Path(path) / name if name else None
    return SweepSummary(
        path=os.fspath(path),
        table=found.table,
        elbows=found.elbows,
        facts=found.facts,
        versions=description.get("versions", {}),
        created=str(description.get("created")),
        best={name: str(Path(path) / name) for name in found.best},
        suggested=None if place is None else _of_model(place, store, sample_weight, progress),
    )


def _suggested(found: Sweep) -> str | None:
    """Name of the best model at the first elbow there is; of the only model where there is one."""
    for elbow in found.elbows:
        for line in found.table:
            if line["best"] and (line["k"], line["beta"]) == (elbow["k"], elbow["beta"]):
                return str(line["model"])
    return next(iter(found.best)) if len(found.best) == 1 else None


def _of_model(
    path: str | os.PathLike[str], store: Any, sample_weight: Any, progress: Progress | None
) -> ModelSummary:
    model, description = load_model(path), read_model(path)
    weighted = _is_weighted(description)
    opened, notes = _rows_of(model, store)
    shown = shown_clusters(model.cluster_sizes_, _row_bytes(model, opened))
    assessed, passes = None, 0.0
    if opened is not None:
        assessed, passes = _assess(model, opened, shown, sample_weight, progress)
        if weighted and sample_weight is None:
            notes.append(
                "The fit weighed its rows. Here scores and classes count each row once: give the "
                "weights to count as the fit did."
            )
    centers = in_units_of_data(model, model.cluster_centers_)
    middle, spread = _between(centers, model.cluster_sizes_)
    terms = None if opened is None else opened.terms
    return ModelSummary(
        path=os.fspath(path),
        kind=type(model).__name__,
        facts=_facts(model) | {"weighted": weighted, "created": description.get("created")},
        options=description["params"],
        history=model.history_,
        sizes=model.cluster_sizes_.tolist(),
        weights=model.cluster_weights_.tolist() if isinstance(model, SoftKMeans) else None,
        shown=shown,
        centers=centers[list(shown)],
        middle=middle,
        spread=spread,
        sample_shape=model.sample_shape_ or (None if opened is None else opened.info.sample_shape),
        names=_names(model, opened),
        terms=terms,
        top_terms=model.top_terms_ if terms is None else top_terms(model.cluster_centers_, terms),
        assessed=assessed,
        notes=notes,
        provenance=_provenance(model, opened),
        versions=description.get("versions", {}),
        machine={"fit": description.get("machine"), "report": machine()},
        commands=commands(model, os.fspath(path), opened, weighted=weighted),
        passes=passes,
    )


def _row_bytes(model: Any, store: Store | None) -> int:
    """Of a row that is kept as an example."""
    if store is None or store.info.sparse is None:
        return 8 * int(model.n_features_in_)
    return 16 * (store.info.sparse["stored"] // store.info.n_rows + 1)


def _is_weighted(description: dict[str, Any]) -> bool:
    """Whether the rows of a fit had weights; older models do not say."""
    about = description.get("about")
    data = about.get("data") if isinstance(about, dict) else None
    return isinstance(data, dict) and "weights" in data


def _rows_of(model: Any, store: Any) -> tuple[Store | None, list[str]]:
    """The rows to assess the model by, where they are at hand; and what is to be said of them."""
    if store is not None:
        opened = open_store(store)
        other = model.build_ is not None and opened.info.build != model.build_
        return opened, [f"The rows shown are those of {opened.path}, not of the fit."] * other
    missing = "so there are no scores, classes and samples here: name a store with --store."
    if model.source_ is None:
        return None, [f"The model was fitted to an array in memory, {missing}"]
    try:
        opened = open_store(model.source_)
    except StoreError as error:
        return None, [f"The rows of the fit are not at hand ({error}), {missing}"]
    if opened.info.build == model.build_:
        return opened, []
    return None, [
        f"{opened.path} was written again since the fit (build {model.build_} then, "
        f"{opened.info.build} now), {missing}"
    ]


def _assess(
    model: Any, store: Store, shown: tuple[int, ...], sample_weight: Any,
    progress: Progress | None,
) -> tuple[Assessed, float]:  # fmt: skip
    """Scores and samples, in passes that they share."""
    rows = store_dataset(store, with_labels=store.has_labels)
    data = rows.weighted(sample_weight).mapped(model.row_map_)
    with assessing(data, check_features(model, data), progress) as session:
        scale = data.scale(session)
        wanted: dict[int, Any] = {
            0: scoring(model, data, scale, store), 1: choosing(model, data, scale, shown),
        }  # fmt: skip
        found = in_turns(session, wanted)
        return Assessed(found[0], examples(model, store, found[1])), session.passes


def _facts(model: Any) -> dict[str, Any]:
    return {
        **outcome(model),
        "dtype": model.dtype_,
        "metric": getattr(model, "metric", None),
        "standardize": model.standardize,
    }


def _between(centers: Floats, sizes: Any) -> tuple[Floats, Floats]:
    """Mean of the centres by their sizes, and their standard deviations."""
    weights = sizes if sizes.sum() > 0 else None
    middle = np.average(centers, axis=0, weights=weights)
    return middle, np.sqrt(np.average(np.square(centers - middle), axis=0, weights=weights))


def _names(model: Any, store: Store | None) -> list[str] | None:
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return [str(name) for name in names]
    return None if store is None or store.info.columns is None else list(store.info.columns)


def _provenance(model: Any, store: Store | None) -> dict[str, Any]:
    known = {"store": model.source_, "build": model.build_, "assessed": None}
    if store is None:
        return known | {"created": None, "sources": [], "text": None}
    info = store.info
    here = {"assessed": f"{store.path} (build {info.build})"}
    same = info.build == model.build_
    return known | ({} if same else here) | {
        "created": info.created, "sources": list(info.sources), "text": info.text,
    }  # fmt: skip


def made_at() -> str:
    """Now, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
