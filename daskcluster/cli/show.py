"""Results as lines for people."""

from statistics import median_low
from typing import Any

import numpy as np

from daskcluster.sources.columns import named
from daskcluster.store import Store

MIB = 2**20
_LONGEST_NAME, _MOST_SIZES = 12, 20
_SCORES = (
    "purity", "gini", "ari", "nmi", "homogeneity", "completeness", "v_measure", "fowlkes_mallows",
    "silhouette", "calinski_harabasz", "davies_bouldin",
)  # fmt: skip


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
        f"cluster sizes {_sizes(facts['cluster_sizes'])}",
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


def _sizes(sizes: list[int] | list[float]) -> str:
    """Of each cluster; of many clusters what a line has room for."""
    how = ".1f" if any(isinstance(size, float) for size in sizes) else ""
    if len(sizes) <= _MOST_SIZES:
        return " ".join(format(size, how) for size in sizes)
    least, middle, most = (format(f(sizes), how) for f in (min, median_low, max))
    empty = sum(size == 0 for size in sizes)
    return f"of {len(sizes):,}: least {least}, median {middle}, most {most}, {empty:,} empty"


def predict_lines(facts: dict[str, Any], out: str) -> list[str]:
    if "cluster_weights" in facts:
        weights = _sizes(facts["cluster_weights"])
        shape = f"{facts['n_rows']:,} x {facts['n_clusters']:,} responsibilities"
        return [f"{out}: {shape}, {facts['dtype']}", f"cluster weights {weights}"]
    sizes = _sizes(facts["cluster_sizes"])
    return [f"{out}: {facts['n_rows']:,} labels", f"cluster sizes {sizes}"]


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
    names, legend = facts["class_names"], []
    # Cut short, names that begin alike would be one.
    if max(map(len, names)) > _LONGEST_NAME:
        legend = ["", "classes", *(f"{i:<6}{name}" for i, name in enumerate(names))]
        names = [str(i) for i in range(len(names))]
    width = max(len(str(table.max(initial=0))), *(len(name) for name in names)) + 2
    head = " " * 6 + "".join(name.rjust(width) for name in names)
    rows = [
        f"{i:<6}" + "".join(str(n).rjust(width) for n in row)
        for i, row in enumerate(table.tolist())
    ]
    return [head, *rows, *legend]


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
        if name in ("cluster_sizes", "cluster_weights"):
            lines.append(f"{name:16}{_sizes(value)}")
            continue
        several = value if isinstance(value, list) and name == "sources" else [value]
        lines += [f"{name:16}{_plain(one)}" for one in several]
    return lines


def info_lines(facts: dict[str, Any]) -> list[str]:
    """What `info` found, as the command that wrote it would tell of it."""
    if facts["kind"] != "sweep":
        return table_lines(facts)
    head = {name: facts[name] for name in ("kind", "path", "n_rows", "n_features")}
    return [*table_lines(head), "", *sweep_lines(facts, facts["path"])]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def _many(n: int, word: str) -> str:
    many = "es" if word.endswith("s") else "s"
    return f"{n:,} {word}{'' if n == 1 else many}"
