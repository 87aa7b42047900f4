"""Results as JSON facts and as lines for people."""

import os
from typing import Any

import numpy as np

from daskcluster.fit import KMeans, load_model, read_model
from daskcluster.store import Store

MIB = 2**20
_SCORES = (
    "purity", "gini", "ari", "nmi", "homogeneity", "completeness", "v_measure", "fowlkes_mallows",
    "silhouette", "calinski_harabasz", "davies_bouldin",
)  # fmt: skip


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
        "n_chunks": -(-info.n_rows // info.rows_per_chunk),
        "grain": info.grain,
        "codec": info.codec,
        "bytes": info.nbytes,
        "class_names": None if info.class_names is None else list(info.class_names),
        "sources": list(info.sources),
        "created": info.created,
        "versions": info.versions,
    }


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


def fit_facts(model: KMeans) -> dict[str, Any]:
    """The contract of ``fit --json``."""
    init = model.init
    if not isinstance(init, str):
        init = "callable" if callable(init) else "array"
    return {
        "n_rows": model.n_samples_,
        "n_features": model.n_features_in_,
        "n_clusters": len(model.cluster_centers_),
        "n_iter": model.n_iter_,
        "inertia": model.inertia_,
        "objective": None,
        "converged": model.converged_,
        "passes": model.passes_,
        "seconds": model.seconds_,
        "seed": model.seed_,
        "init": init,
        "algorithm": model.algorithm,
        "cluster_sizes": model.cluster_sizes_.tolist(),
        "history": model.history_,
        "build": model.build_,
    }


def convert_lines(store: Store) -> list[str]:
    info = store.info
    return [
        f"{store.path}: {info.n_rows:,} rows of {info.n_features:,} {info.dtype}, "
        f"{-(-info.n_rows // info.rows_per_chunk):,} chunks of {info.rows_per_chunk:,} rows, "
        f"{info.nbytes / MIB:,.1f} MiB before compression ({info.codec})"
    ]


def fit_lines(facts: dict[str, Any], model: str) -> list[str]:
    end = "converged" if facts["converged"] else "stopped at --max-iter"
    return [
        f"{model}: k={facts['n_clusters']}, {end} after {facts['n_iter']} iterations, "
        f"{facts['passes']:.1f} passes, {facts['seconds']:.2f} s",
        f"inertia {facts['inertia']!r}, seed {facts['seed']}",
        f"cluster sizes {' '.join(str(n) for n in facts['cluster_sizes'])}",
    ]


def predict_lines(facts: dict[str, Any]) -> list[str]:
    sizes = " ".join(str(n) for n in facts["cluster_sizes"])
    return [f"{facts['array']}: {facts['n_rows']:,} labels", f"cluster sizes {sizes}"]


def evaluate_lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{'inertia':20}{facts['inertia']!r}"]
    lines += [f"{name:20}{facts[name]:.6f}" for name in _SCORES if facts[name] is not None]
    if facts["contingency"] is not None:
        lines += ["", "clusters (rows) by classes (columns)", *_contingency_lines(facts)]
    return lines


def _contingency_lines(facts: dict[str, Any]) -> list[str]:
    table = np.array(facts["contingency"])
    names = [name[:12] for name in facts["class_names"]]
    width = max(len(str(table.max(initial=0))), *(len(name) for name in names)) + 2
    head = " " * 6 + "".join(name.rjust(width) for name in names)
    return [head] + [
        f"{i:<6}" + "".join(str(n).rjust(width) for n in row)
        for i, row in enumerate(table.tolist())
    ]


def demo_lines(facts: dict[str, Any]) -> list[str]:
    return [*evaluate_lines(facts), "", *facts["files"]]


def table_lines(facts: dict[str, Any]) -> list[str]:
    return [f"{name:16}{_brief(value)}" for name, value in facts.items() if name != "history"]


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 400 else text[:397] + "..."
