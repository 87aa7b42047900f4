"""The page: what the templates are filled with. Rendered from finished values alone.

All text that comes from files is escaped by the templates, and the page's policy forbids scripts
and whatever would be fetched.
"""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from daskcluster.assess.summary import ModelSummary, SweepSummary
from daskcluster.report import charts, wording
from daskcluster.report.clusters import cards, classes_of, facts_of_features

MOST_BARS = 40
"""Clusters that have a line each in the table of sizes; more become a chart."""
MOST_CLASSES = 40
"""Columns of the heat map; the smallest classes beyond are added up."""

SCORES = (
    ("purity", "Purity", "more", "share of rows in the largest class of their cluster"),
    ("ari", "Adjusted Rand index", "more", "pairs of rows kept together or apart as the classes "
     "do, above chance"),
    ("nmi", "Normalized mutual information", "more", "what clusters and classes say of each other"),
    ("homogeneity", "Homogeneity", "more", "clusters hold rows of one class"),
    ("completeness", "Completeness", "more", "classes lie in one cluster"),
    ("v_measure", "V-measure", "more", "harmonic mean of the two above"),
    ("fowlkes_mallows", "Fowlkes-Mallows index", "more", "precision and recall of pairs of rows"),
    ("gini", "Gini impurity", "less", "how mixed the classes of a cluster are"),
    ("silhouette", "Silhouette", "more", "how much nearer rows are to their own cluster than to "
     "the next, by squared distance"),
    ("calinski_harabasz", "Calinski-Harabasz index", "more", "scatter between clusters over that "
     "within"),
    ("davies_bouldin", "Davies-Bouldin index", "less", "how alike the most alike clusters are"),
)  # fmt: skip
_SHORT = {"ari": "ARI", "nmi": "NMI", "davies_bouldin": "Davies-Bouldin",
          "calinski_harabasz": "Calinski-Harabasz"}  # fmt: skip


# What is said more exactly elsewhere, or decides nothing.
_RECORDED = {"n_clusters", "random_state", "verbose"}


def page(summary: ModelSummary | SweepSummary, made: str, command: str) -> str:
    """The page as HTML.

    Parameters
    ----------
    summary : ModelSummary or SweepSummary
    made : str
        When the page was made.
    command : str
        The command that makes it.
    """
    # Escaped whatever the names of templates: nothing that a file says may become markup.
    environment = Environment(
        loader=PackageLoader("daskcluster.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": wording.number, "share": wording.share, "size": wording.size,
        "plain": wording.plain, "when": wording.when,
    }  # fmt: skip
    sweep = isinstance(summary, SweepSummary)
    view = sweep_view(summary) if isinstance(summary, SweepSummary) else model_view(summary)
    name = "sweep.html" if sweep else "model.html"
    return environment.get_template(name).render(view=view, made=made, command=command)


def model_view(summary: ModelSummary) -> dict[str, Any]:
    """What the template of a model shows."""
    scores = {} if summary.assessed is None else summary.assessed.scores
    shown = cards(summary)
    return {
        "summary": summary,
        "facts": summary.facts,
        "title": f"{_kind(summary)}, {_many(summary.facts['n_clusters'], 'cluster')}",
        "scores": [(title, scores[name], way, words) for name, title, way, words in SCORES
                   if scores.get(name) is not None],
        "cards": shown,
        "options": {k: v for k, v in summary.options.items() if k not in _RECORDED},
        "samples": any(card.least for card in shown),
        "sizes": _sizes(summary),
        "table": _table(summary, scores),
        "history": _history(summary),
        **facts_of_features(summary),
    }  # fmt: skip


def sweep_view(summary: SweepSummary) -> dict[str, Any]:
    """What the template of a sweep shows."""
    first = summary.table[0]
    columns = [("inertia", "Inertia"), ("objective", "Objective")]
    columns += [(name, _SHORT.get(name, title)) for name, title, *_ in SCORES if name in first]
    columns = [(n, t) for n, t in columns if any(line[n] is not None for line in summary.table)]
    ways = {name: way for name, _, way, _ in SCORES}
    return {
        "summary": summary,
        "example": next(iter(summary.best.values())),
        "stiffness": [f"beta {b}" for b in dict.fromkeys(line["beta"] for line in summary.table)],
        "elbows": [(f"Elbow{'' if e['beta'] is None else ' of beta ' + e['beta']}",
                    _many(e["k"], "cluster")) for e in summary.elbows if e["k"] is not None],
        "title": f"Sweep of {_many(len(summary.table), 'model')}",
        "columns": columns,
        "betas": any(line["beta"] is not None for line in summary.table),
        "figures": [
            (title, f"{ways.get(name, 'less')} is better", _score_curve(summary, name, title))
            for name, title in columns
        ],
        "model": None if summary.suggested is None else model_view(summary.suggested),
    }  # fmt: skip


def _score_curve(summary: SweepSummary, name: str, title: str) -> charts.Chart | None:
    """The best model of each k on a curve, all models as dots; a curve each stiffness."""
    series = []
    for beta in dict.fromkeys(line["beta"] for line in summary.table):
        lines = [x for x in summary.table if x["beta"] == beta and x[name] is not None]
        best = [(float(x["k"]), float(x[name])) for x in lines if x["best"]]
        label = "" if beta is None else f"beta {beta}"
        series.append((label, best, [(float(x["k"]), float(x[name])) for x in lines]))
    marks = []
    if name == "inertia":
        marks = [(float(e["k"]), "elbow") for e in summary.elbows if e["k"] is not None]
    return charts.curves(series, "clusters", title, marks=marks)


def _kind(summary: ModelSummary) -> str:
    names = {"SoftKMeans": "Soft k-means", "MiniBatchKMeans": "Mini-batch k-means"}
    spherical = summary.facts["metric"] == "cosine"
    return names.get(summary.kind, "Spherical k-means" if spherical else "k-means")


def _many(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _sizes(summary: ModelSummary) -> dict[str, Any]:
    total, largest = sum(summary.sizes) or 1.0, max(summary.sizes) or 1.0
    few = len(summary.sizes) <= MOST_BARS
    lines = [
        {
            "index": j,
            "rows": size,
            "share": size / total,
            "length": round(100 * size / largest, 2),
            "weight": None if summary.weights is None else summary.weights[j],
            "classes": classes_of(summary, j),
        }
        for j, size in enumerate(summary.sizes)
    ]
    chart = None if few else charts.bars(summary.sizes, "cluster", "rows")
    return {"lines": lines, "chart": chart, "unit": "rows"}


def _table(summary: ModelSummary, scores: dict[str, Any]) -> dict[str, Any] | None:
    """The contingency table of the clusters that are shown and the largest classes."""
    if scores.get("contingency") is None:
        return None
    table, names = scores["contingency"], scores["class_names"]
    totals = [sum(row[c] for row in table) for c in range(len(names))]
    order = sorted(range(len(names)), key=lambda c: (-totals[c], c))[:MOST_CLASSES]
    kept = sorted(order)
    others = len(names) - len(kept)
    lines = []
    for j in summary.shown:
        row, total = table[j], sum(table[j])
        counts = [row[c] for c in kept]
        counts += [total - sum(counts)] * bool(others)
        lines.append((j, [(n, round(100 * n / total, 1) if total else 0.0) for n in counts]))
    return {
        "names": [names[c] for c in kept] + [f"{others} other classes"] * bool(others),
        "lines": lines,
        "wide": len(kept) > 12,
        "slanted": len(kept) > 12 or max(map(len, names)) > 6,
    }


def _history(summary: ModelSummary) -> list[dict[str, Any]]:
    """A chart each of the cost, of what it still lost, and of the rows that changed cluster."""
    steps = summary.history
    cost = "objective" if steps and "objective" in steps[0] else "inertia"
    costs, changed = _points(steps, cost), _points(steps, "changed")
    above = [(x, abs(y - costs[-1][1])) for x, y in costs]
    wanted = (
        (cost, costs, False), (f"{cost} above its last value", above, True),
        ("rows that changed cluster", changed, True),
    )  # fmt: skip
    charted = [
        (label, charts.curves([("", points, [])], "iteration", label, log=log), points, log)
        for label, points, log in wanted
        if sum(y > 0 or not log for _, y in points) > 1
    ]
    return [
        {"label": label, "chart": chart, "log": log, "first": points[0][1], "last": points[-1][1]}
        for label, chart, points, log in charted
        if chart is not None
    ]


def _points(steps: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(float(s["iteration"]), float(s[name])) for s in steps if name in s]
