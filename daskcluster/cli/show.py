"""Results as JSON facts and as lines for people."""

import os
from typing import Any

import numpy as np

from daskcluster.assess import LABELS_FORMAT, describe_labels
from daskcluster.fit import KMeans, load_model, read_model
from daskcluster.fit.model import is_model_folder
from daskcluster.store import Store, open_store
from daskcluster.store.reading import root_attributes

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
        "n_chunks": info.n_chunks,
        "grain": info.grain,
        "codec": info.codec,
        "bytes": info.nbytes,
        "class_names": None if info.class_names is None else list(info.class_names),
        "sources": list(info.sources),
        "created": info.created,
        "versions": info.versions,
    }


def labels_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `info` prints of labels that `predict` wrote."""
    facts = describe_labels(path)
    array = f"{os.fspath(path)}/build-{facts['build']}/labels"
    plain = {k: v for k, v in facts.items() if not k.startswith("format")}
    return {"kind": "labels", "path": os.fspath(path), "array": array, **plain}


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
    attributes = root_attributes(os.fspath(path))
    if isinstance(attributes, dict) and attributes.get("format") == LABELS_FORMAT:
        return labels_facts(path)
    return store_facts(open_store(path))


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
    lines = [
        f"{store.path}: {_many(info.n_rows, 'row')} of {info.n_features:,} {info.dtype}, "
        f"{_many(info.n_chunks, 'chunk')} of {info.rows_per_chunk:,} rows, "
        f"{info.nbytes / MIB:,.1f} MiB before compression ({info.codec})"
    ]
    if info.n_features == 1:
        lines.append("one number a row: were these the labels, to be given with --labels?")
    return lines


def fit_lines(facts: dict[str, Any], model: str) -> list[str]:
    end = "converged" if facts["converged"] else "stopped at --max-iter"
    return [
        f"{model}: k={facts['n_clusters']}, {end} after {_many(facts['n_iter'], 'iteration')}, "
        f"data decoded {facts['passes']:.1f} times, {facts['seconds']:.2f} s",
        f"inertia {facts['inertia']!r}, seed {facts['seed']}",
        f"cluster sizes {' '.join(str(n) for n in facts['cluster_sizes'])}",
    ]


def predict_lines(facts: dict[str, Any]) -> list[str]:
    sizes = " ".join(str(n) for n in facts["cluster_sizes"])
    return [f"{facts['array']}: {facts['n_rows']:,} labels", f"cluster sizes {sizes}"]


def evaluate_lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{'inertia':20}{facts['inertia']!r}"]
    lines += [f"{name:20}{facts[name]:.6f}" for name in _SCORES if facts[name] is not None]
    if facts["contingency"] is None:
        return [*lines, "no labels in this store, so no other scores: convert with --labels FILE"]
    lines[0] += "   (less is better, as for gini; for the others more is)"
    return [*lines, "", "clusters (rows) by classes (columns)", *_contingency_lines(facts)]


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
    head = (
        f"scikit-learn's digits: {_many(facts['n_rows'], 'image')}, k={facts['n_clusters']}, "
        f"{_many(facts['n_iter'], 'iteration')}"
    )
    lines = [head, "", *evaluate_lines(facts), "", "made here:", *facts["files"]]
    if not any(name.endswith(".png") for name in facts["files"]):
        lines.append("no pictures, they need matplotlib: pip install matplotlib")
    return lines


def table_lines(facts: dict[str, Any]) -> list[str]:
    """One fact a line, and one line for each source."""
    lines = []
    for name, value in facts.items():
        if name == "history" or value is None:
            continue
        several = value if isinstance(value, list) and name == "sources" else [value]
        lines += [f"{name:16}{_plain(one)}" for one in several]
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def _many(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"
