"""Results as facts, which ``--json`` prints."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from daskcluster.assess import Sweep, load_sweep
from daskcluster.assess.sweep import FILE as SWEEP
from daskcluster.assess.written import LABELS_FORMAT, RESPONSIBILITIES_FORMAT, describe_prediction
from daskcluster.fit import SoftKMeans, load_model, read_model
from daskcluster.fit.model import is_model_folder, outcome
from daskcluster.store import Store, open_store
from daskcluster.store.reading import root_attributes

_TABLE = ("columns_left_out", "rows_dropped", "values_imputed")


def store_facts(store: Store) -> dict[str, Any]:
    """What `info` prints of a store; the moments are left to the library."""
    info = store.info
    return {
        "kind": "store",
        "path": store.path,
        "build": info.build,
        "n_rows": info.n_rows,
        "n_features": info.n_features,
        "dtype": info.dtype,
        "sample_shape": list(info.sample_shape),
        "rows_per_chunk": info.rows_per_chunk,
        "n_chunks": info.n_chunks,
        "grain": info.grain,
        "codec": info.codec,
        "bytes": info.nbytes,
        "stored": None if info.sparse is None else info.sparse["stored"],
        "text": info.text,
        "columns": None if info.columns is None else list(info.columns),
        "ids": info.ids,
        "class_names": None if info.class_names is None else list(info.class_names),
        "sources": list(info.sources),
        "created": info.created,
        "versions": info.versions,
    }


def prediction_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `info` prints of what `predict` wrote."""
    facts = describe_prediction(path)
    kind = facts["format"].removeprefix("daskcluster-")
    array = f"{os.fspath(path)}/build-{facts['build']}/{kind}"
    plain = {k: v for k, v in facts.items() if not k.startswith("format")}
    return {"kind": kind, "path": os.fspath(path), "array": array, **plain}


def model_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `info` prints of a model."""
    description = read_model(path)
    return {
        "kind": "model",
        "path": os.fspath(path),
        **fit_facts(load_model(path)),
        "source": description["fitted"]["source_"],
        "created": description["created"],
        "versions": description["versions"],
    }


def path_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `info` prints of whatever is at ``path``."""
    if is_model_folder(path):
        return model_facts(path)
    if (Path(path) / SWEEP).exists():
        return {"kind": "sweep", "path": os.fspath(path), **sweep_facts(load_sweep(path))}
    attributes = root_attributes(os.fspath(path))
    kinds = (LABELS_FORMAT, RESPONSIBILITIES_FORMAT)
    if isinstance(attributes, dict) and attributes.get("format") in kinds:
        return prediction_facts(path)
    return store_facts(open_store(path))


def fit_facts(model: Any) -> dict[str, Any]:
    """The contract of ``fit --json``."""
    return {
        **outcome(model),
        "algorithm": getattr(model, "algorithm", None),
        **_soft_facts(model),
        "cluster_sizes": model.cluster_sizes_.tolist(),
        "history": model.history_,
        "build": model.build_,
        "top_terms": model.top_terms_,
    }


def sweep_facts(found: Sweep) -> dict[str, Any]:
    """The contract of ``sweep --json``."""
    return {**found.facts, "models": found.table, "elbows": found.elbows}


def _soft_facts(model: Any) -> dict[str, Any]:
    if not isinstance(model, SoftKMeans):
        return {}
    softness = model.softness_
    return {
        "beta": None if np.isinf(softness.beta) else softness.beta,  # JSON has no infinity
        "metric": softness.metric,
        "precision": softness.precision,
        "cluster_weights": model.cluster_weights_.tolist(),
    }


def table_facts(store: Store) -> dict[str, Any]:
    """What `convert table` prints: those of the store, and what of the table is not in it."""
    header = store.info.sources[0]["header"]
    return store_facts(store) | {name: header.get(name) for name in _TABLE}
