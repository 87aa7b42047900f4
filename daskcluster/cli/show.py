"""Results as JSON facts and as lines for people."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from daskcluster.assess import Sweep, load_sweep
from daskcluster.assess.sweep import FILE as SWEEP
from daskcluster.assess.written import LABELS_FORMAT, RESPONSIBILITIES_FORMAT, describe_prediction
from daskcluster.fit import SoftKMeans, load_model, read_model
from daskcluster.fit.model import is_model_folder
from daskcluster.sources.columns import named
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
        "n_rows": model.n_samples_,
        "n_features": model.n_features_in_,
        "n_clusters": len(model.cluster_centers_),
        "n_iter": model.n_iter_,
        "inertia": model.inertia_,
        "objective": getattr(model, "objective_", None),
        "converged": model.converged_,
        "passes": model.passes_,
        "seconds": model.seconds_,
        "seed": model.seed_,
        "init": model.init_,
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


_COLUMNS = (
    ("k", ""), ("beta", ""), ("restart", ""), ("seed", ""),
    ("inertia", ".6g"), ("objective", ".6g"), ("n_iter", ""),
    ("silhouette", ".4f"), ("davies_bouldin", ".4f"), ("calinski_harabasz", ".1f"),
    ("purity", ".4f"), ("gini", ".4f"), ("ari", ".4f"), ("nmi", ".4f"),
)  # fmt: skip


def sweep_lines(facts: dict[str, Any], out: str) -> list[str]:
    """A table of all models, the best of each marked."""
    models = facts["models"]
    columns = [
        (name, how) for name, how in _COLUMNS if any(m.get(name) is not None for m in models)
    ]
    cells = [[name for name, _ in columns]]
    for model in models:
        values = [(model.get(name), how) for name, how in columns]
        cells.append(["-" if value is None else format(value, how) for value, how in values])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    marks = [" ", *("*" if model["best"] else " " for model in models)]
    lines = [
        f"{mark} " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True))
        for mark, row in zip(marks, cells, strict=True)
    ]
    lines.append(f"* the best of its kind, saved in {out}")
    for found in facts["elbows"]:
        if found["k"] is not None:
            of = "" if found["beta"] is None else f" of beta {found['beta']}"
            lines.append(f"elbow{of} at k={found['k']}: {found['method']}")
    reads = f"data decoded {facts['passes']:.1f} times for all fits, {facts['scoring_passes']:.1f}"
    return [*lines, f"{reads} for their scores, {facts['seconds']:.2f} s"]


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


def convert_lines(store: Store) -> list[str]:
    info = store.info
    kind = "" if info.sparse is None else f", {info.sparse['stored']:,} stored"
    lines = [
        f"{store.path}: {_many(info.n_rows, 'row')} of {info.n_features:,} {info.dtype}{kind}, "
        f"{_many(info.n_chunks, 'chunk')} of {info.rows_per_chunk:,} rows, "
        f"{info.nbytes / MIB:,.1f} MiB before compression ({info.codec})"
    ]
    if info.n_features == 1:
        lines.append("one number a row: were these the labels, to be given with --labels?")
    return lines


_TABLE = ("columns_left_out", "rows_dropped", "values_imputed")


def table_facts(store: Store) -> dict[str, Any]:
    """What `convert table` prints: those of the store, and what of the table is not in it."""
    header = store.info.sources[0]["header"]
    return store_facts(store) | {name: header.get(name) for name in _TABLE}


def left_lines(facts: dict[str, Any]) -> list[str]:
    """What of a table is not in its store, or was not in the table."""
    lines = []
    if columns := facts["columns_left_out"]:
        cure = "encode them as numbers to cluster by them"
        lines.append(f"left out, as columns of no numbers: {named(columns)}; {cure}")
    if rows := facts["rows_dropped"]:
        lines.append(f"{_many(rows, 'row')} with missing values dropped")
    if values := facts["values_imputed"]:
        lines.append(f"{_many(values, 'missing value')} set to the mean of the column")
    return lines


def fit_lines(facts: dict[str, Any], model: str) -> list[str]:
    end = "converged" if facts["converged"] else "stopped at --max-iter"
    return [
        f"{model}: k={facts['n_clusters']}, {end} after {_many(facts['n_iter'], 'iteration')}, "
        f"data decoded {facts['passes']:.1f} times, {facts['seconds']:.2f} s",
        f"{_cost(facts)}, seed {facts['seed']}",
        f"cluster sizes {' '.join(str(n) for n in facts['cluster_sizes'])}",
    ]


def plan_lines(facts: dict[str, Any]) -> list[str]:
    """What a fit would take, as a table of its parts."""
    mib = {name: f"{size / MIB:,.0f} MiB" for name, size in facts["memory"].items()}
    peak, limit = (f"{facts[name] / MIB:,.0f} MiB" for name in ("peak_memory", "memory_limit"))
    timed = facts["timed"]
    rows = [("", "iterations", "passes", "decoded", "time")]
    for name in ("seeding", "first_iteration", "iteration", "labels", "expected", "most"):
        part = facts[name]
        many = f"{part['iterations']:,}" if name in ("expected", "most") else ""
        decoded = f"{part['bytes_decoded'] / 1e6:,.0f} MB"
        passes = f"{part['passes']:,.1f}"
        rows.append((name.replace("_", " "), many, passes, decoded, f"{part['seconds']:,.1f} s"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{_many(facts['n_rows'], 'row')} of {facts['n_features']:,}, "
        f"{facts['bytes'] / 1e6:,.1f} MB a pass; k={facts['n_clusters']}, init {facts['init']}, "
        f"{_many(facts['n_init'], 'run')}",
        f"{_many(facts['workers'], 'process')}, {_many(facts['threads'], 'thread')}: "
        f"{_many(facts['n_blocks'], 'block')}, "
        f"{_many(facts['tasks_per_iteration'], 'task')} a pass",
        f"memory of each: at most {peak} of {limit} ({mib['needed']} to work, {mib['state']} of "
        f"state, {mib['budget']} kept)",
        *(
            f"{row[0]:<{widths[0]}}" + "".join(
                f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)
            )
            for row in rows
        ),
        f"expected: {facts['assumption']}",
        f"told from {timed['rows']:,} rows on {_many(timed['threads'], 'thread')} in "
        f"{timed['seconds']:.1f} s",
    ]  # fmt: skip


def _cost(facts: dict[str, Any]) -> str:
    inertia = f"inertia {facts['inertia']!r}"
    return inertia if facts["objective"] is None else f"objective {facts['objective']!r}, {inertia}"


def predict_lines(facts: dict[str, Any]) -> list[str]:
    if "cluster_weights" in facts:
        weights = " ".join(f"{weight:.1f}" for weight in facts["cluster_weights"])
        shape = f"{facts['n_rows']:,} x {facts['n_clusters']:,} responsibilities"
        return [f"{facts['array']}: {shape}, {facts['dtype']}", f"cluster weights {weights}"]
    sizes = " ".join(str(n) for n in facts["cluster_sizes"])
    place = facts["array"] or facts["out"]
    return [f"{place}: {facts['n_rows']:,} labels", f"cluster sizes {sizes}"]


def report_lines(facts: dict[str, Any]) -> list[str]:
    head = f"{facts['out']}: a page of {facts['bytes'] / MIB:.1f} MiB on the {facts['kind']}"
    return [f"{head}, {facts['seconds']:.2f} s", *facts["notes"]]


def evaluate_lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{'inertia':20}{facts['inertia']!r}"]
    if facts["objective"] is not None:
        lines.append(f"{'objective':20}{facts['objective']!r}")
    lines += [f"{name:20}{facts[name]:.6f}" for name in _SCORES if facts[name] is not None]
    if facts["top_terms"] is not None:
        lines += ["", "terms of each cluster"]
        lines += [f"{i:<6}{' '.join(terms)}" for i, terms in enumerate(facts["top_terms"])]
    lines[0] += "   (less is better, as for gini and davies_bouldin; for other scores more is)"
    if facts["contingency"] is None:
        return [*lines, "no labels in this store, so no other scores: convert with --labels FILE"]
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
        if name == "top_terms":
            lines += [f"{f'cluster {i}':16}{' '.join(terms)}" for i, terms in enumerate(value)]
            continue
        several = value if isinstance(value, list) and name in ("sources", "models") else [value]
        lines += [f"{name:16}{_plain(one)}" for one in several]
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def _many(n: int, word: str) -> str:
    many = "es" if word.endswith("s") else "s"
    return f"{n:,} {word}{'' if n == 1 else many}"
