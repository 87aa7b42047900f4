"""Many models of the same rows: every pass serves all of them that still need one."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sklearn.base import clone

from daskcluster.assess.evaluate import scoring
from daskcluster.assess.separation import assessing
from daskcluster.engine import Progress, in_turns
from daskcluster.engine.tasks import versions
from daskcluster.errors import InputError, ModelError
from daskcluster.files import write_atomically
from daskcluster.fit import KMeans, SoftKMeans, load_model
from daskcluster.fit.checkpoint import FILE as CHECKPOINT
from daskcluster.fit.checkpoint import Checkpoint, Finished, remove_checkpoint
from daskcluster.fit.data import Dataset, dataset, store_dataset
from daskcluster.fit.estimator import integer
from daskcluster.fit.model import is_model_folder, model_folder, read_about
from daskcluster.fit.options import Options, describe
from daskcluster.fit.run import Fit, decided, fit_all
from daskcluster.metrics.elbow import METHOD, elbow
from daskcluster.schema import (
    anything,
    flag,
    items,
    mapping,
    maybe,
    number,
    parse_json,
    record,
    text,
    whole,
)
from daskcluster.survey import Scale

FILE = "sweep.json"
FORMAT, FORMAT_VERSION = "daskcluster-sweep", 1
SCORES = (
    "silhouette", "davies_bouldin", "calinski_harabasz", "purity", "gini", "ari", "nmi",
)  # fmt: skip

Model = KMeans | SoftKMeans

_BETA = maybe(text("[0-9a-z.+-]+", "a stiffness"))
# A name of these letters leads to no other folder.
_LINE = record({
    "model": text("k-[0-9]+(-beta-[0-9a-z.+-]+)?", "the name of a model"), "k": whole(1),
    "beta": _BETA, "seed": whole(), "inertia": number(0), "objective": maybe(number()),
    "n_iter": whole(), "converged": flag, "best": flag,
    **{name: maybe(number()) for name in SCORES},
})  # fmt: skip
_check = record({
    "table": items(_LINE),
    "elbows": items(record({"beta": _BETA, "k": maybe(whole(1)), "method": text()})),
    "facts": record({
        "n_rows": whole(1), "n_features": whole(1), "passes": number(0),
        "scoring_passes": number(0), "seconds": number(0),
    }),
    "about": mapping(mapping(anything)), "versions": mapping(text()), "created": text(),
})  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes
    ----------
    table : list of dict
        A line a model: model (its name), k, beta, restart, seed, inertia, objective, n_iter,
        converged, silhouette, davies_bouldin, calinski_harabasz, purity, gini, ari, nmi, best.
        Scores are None where they are not defined, or there are no labels; beta and objective for
        hard models.
    best : dict of str to KMeans or SoftKMeans
        Of each number of clusters, and each stiffness, the model of least cost, by its name, such
        as ``k-10``.
    elbows : list of dict
        Of each stiffness: beta, k (the number of clusters that is suggested, None where the curve
        does not bend) and method.
    facts : dict
        n_rows, n_features, passes and scoring_passes over the data, seconds.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, sweep
    >>> X = np.repeat([[0.0], [5.0], [9.0]], 4, axis=0)
    >>> found = sweep(KMeans(random_state=0), X, "sweep", n_clusters=[2, 3], restarts=2)
    >>> [(line["model"], line["seed"], line["inertia"], line["best"]) for line in found.table]
    [('k-2', 0, 32.0, True), ('k-2', 1, 32.0, False), ('k-3', 0, 0.0, True), ('k-3', 1, 0.0, False)]
    >>> found.best["k-3"].cluster_sizes_.tolist()
    [4, 4, 4]
    """

    table: list[dict[str, Any]]
    best: dict[str, Model]
    elbows: list[dict[str, Any]]
    facts: dict[str, Any]


def sweep(
    estimator: Model,
    X: Any,
    path: str | os.PathLike[str],
    *,
    n_clusters: Sequence[int],
    restarts: int = 1,
    betas: Sequence[float] | None = None,
    sample_weight: Any = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Sweep:
    """Fit a model for each number of clusters and restart, score all, and save the best of each.

    Each is to the bit what ``estimator`` with that number of clusters, ``n_init=1`` and its seed
    finds alone: restart r has the seed ``random_state + r``. Every pass over the data serves all
    models that still need one.

    Parameters
    ----------
    estimator : KMeans or SoftKMeans
        Whose other options they have.
    X : ndarray, dask Array, zarr Array, Store, path or URL
        Rows, shape (n_samples, n_features).
    path : path
        Folder of what is found: ``sweep.json`` and a model for each number of clusters.
    n_clusters : sequence of int
        Numbers of clusters, each once.
    restarts : int, default=1
        Models of each.
    betas : sequence of float, optional
        Stiffnesses of soft models; each goes with each number of clusters.
    sample_weight : array-like of shape (n_samples,), dask Array or float, optional
        As in `KMeans.fit`.
    resume : bool, default=False
        Go on from the checkpoint in ``path``, with the same bits; a sweep that is finished already
        is loaded; without either it begins.
    overwrite : bool, default=False
        Replace a sweep, or one that did not end.
    progress : Progress, optional
        Told of every iteration of every model.

    Returns
    -------
    Sweep
        The table of all, the best models, and a suggestion for the number of clusters.

    Raises
    ------
    InputError
        No number of clusters, or one twice; what `KMeans.fit` raises.
    ModelError
        What is at ``path`` may not be replaced, or is of other data or options.
    Interrupted, ClusterLost
        Ended early; ``kept`` says whether ``resume`` can go on from here.

    References
    ----------
    Satopaa, Albrecht, Irwin and Raghavan, "Finding a 'kneedle' in a haystack: detecting knee points
    in system behavior", ICDCS Workshops 2011: the suggestion, without their smoothing.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, convert_npy, sweep
    >>> np.save("rows.npy", np.repeat([[0.0], [5.0], [9.0]], 4, axis=0))
    >>> store = convert_npy("rows.npy", "rows.zarr")
    >>> found = sweep(KMeans(random_state=0), store, "sweep", n_clusters=[1, 2, 3])
    >>> [(line["k"], line["inertia"]) for line in found.table]
    [(1, 162.66666666666666), (2, 32.0), (3, 0.0)]
    >>> found.elbows[0]["k"]
    2
    """
    with model_folder(path, overwrite=overwrite, resume=resume, main=FILE) as folder:
        finished = _finished(folder) if resume and not overwrite else None
        trail = Checkpoint(folder, resume=resume, finished=finished)
        models = _models(estimator, n_clusters, restarts, betas, trail.seed)
        try:
            with dataset(X, progress) as rows:
                fits, data = _fit(models, rows.weighted(sample_weight), X, progress, trail)
                lines, passes = _score(models, rows, data, sample_weight, progress)
        except Finished:
            return load_sweep(folder)
        return _written(folder, models, fits, lines, passes)


def load_sweep(path: str | os.PathLike[str]) -> Sweep:
    """What `sweep` wrote.

    Parameters
    ----------
    path : path
        Folder of the sweep.

    Returns
    -------
    Sweep
        Its models have no ``labels_``, as those of `load_model`.

    Raises
    ------
    ModelError
        Not a sweep, or damaged.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, load_sweep, sweep
    >>> X = np.repeat([[0.0], [5.0], [9.0]], 4, axis=0)
    >>> _ = sweep(KMeans(random_state=0), X, "sweep", n_clusters=[2, 3])
    >>> sorted(load_sweep("sweep").best)
    ['k-2', 'k-3']
    """
    description = read_sweep(path)
    try:
        _check(description, "")
        names = dict.fromkeys(line["model"] for line in description["table"])
        best = {name: load_model(Path(path) / name) for name in names}
        return Sweep(description["table"], best, description["elbows"], description["facts"])
    except ValueError as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: damaged sweep ({error!r}): sweep again") from error


def read_sweep(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``sweep.json`` says, checked for its format."""
    file = Path(path) / FILE
    try:
        description = parse_json(file.read_bytes())
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} is not a sweep ({error}): write one with `sweep`") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ModelError(f"{file} is not a sweep: write one with `daskcluster sweep`")
    if description.get("format_version") != FORMAT_VERSION:
        raise ModelError(f"{file} is of another version: use the daskcluster that wrote it")
    return description


def _finished(folder: Path) -> dict[str, Any] | None:
    """What decided the sweep that is there, where none was begun later."""
    if (folder / CHECKPOINT).exists() or not (folder / FILE).exists():
        return None
    return read_about(folder, read_sweep(folder))


def _models(
    estimator: Model,
    n_clusters: Sequence[int],
    restarts: int,
    betas: Sequence[float] | None,
    seed: int | None,
) -> list[Model]:
    """An estimator for each model, in the order of the table."""
    clusters = [integer("n_clusters", k, 1) for k in n_clusters]
    if not clusters or len(set(clusters)) < len(clusters):
        raise InputError(f"n_clusters={list(n_clusters)}: give numbers of clusters, each once")
    if betas is not None and not isinstance(estimator, SoftKMeans):
        raise InputError("betas are for SoftKMeans")
    if betas is not None and (not betas or len(set(betas)) < len(betas)):
        raise InputError(f"betas={list(betas)}: give stiffnesses, each once")
    start = estimator._seed() if seed is None or estimator.random_state is not None else seed
    options = [{"beta": beta} for beta in betas] if betas is not None else [{}]
    return [
        clone(estimator).set_params(n_clusters=k, n_init=1, random_state=start + restart, **more)
        for k in sorted(clusters)
        for more in options
        for restart in range(integer("restarts", restarts, 1))
    ]


def _fit(
    models: list[Model], rows: Dataset, X: Any, progress: Progress | None, trail: Checkpoint
) -> tuple[list[Fit], Dataset]:
    """Fit all, and let each take over what was found of it; returns the rows as clustered too."""
    first = models[0]
    first.n_features_in_ = rows.n_features
    data = first._prepared(rows)
    options = [decided(data, model._options(X, None)) for model in models]
    abouts: list[dict[str, Any]] = []

    def about(scale: Scale) -> dict[str, Any]:
        abouts.extend(describe(data, scale, one) for one in options)
        return _about(abouts, options)

    fits = fit_all(data, options, about, budget=first.memory_budget, progress=progress, trail=trail)
    for model, fit, own in zip(models, fits, abouts, strict=True):
        for name in ("n_features_in_", "mean_", "scale_"):
            if hasattr(first, name):
                setattr(model, name, getattr(first, name))
        model._take(fit, data, X, model.random_state)
        model._adopt_store(rows)
        model._about = own
    return fits, data


def _about(abouts: list[dict[str, Any]], options: list[Options]) -> dict[str, Any]:
    """What decides the whole sweep."""
    runs = [[one.n_clusters, None if one.beta is None else str(one.beta)] for one in options]
    seeds = [one.seed for one in options]
    return abouts[0] | {"sweep": {"models": runs, "seeds": seeds}}


def _score(
    models: list[Model], rows: Dataset, data: Dataset, sample_weight: Any,
    progress: Progress | None,
) -> tuple[list[dict[str, Any]], float]:  # fmt: skip
    """The scores of all, in two passes that they share; and the passes."""
    if rows.store is not None:
        labelled = store_dataset(rows.store, with_labels=rows.store.has_labels)
        data = labelled.weighted(sample_weight).mapped(models[0].row_map_)
    fewest = min(len(model.cluster_centers_) for model in models)
    with assessing(data, fewest, progress) as session:
        scale = data.scale(session)
        scored = in_turns(
            session,
            {i: scoring(model, data, scale, rows.store) for i, model in enumerate(models)},
        )
        return [scored[i] for i in range(len(models))], session.passes


def _written(
    folder: Path,
    models: list[Model],
    fits: list[Fit],
    scored: list[dict[str, Any]],
    passes: float,
) -> Sweep:
    """Write the best models, then what names them."""
    table = [_line(model, scores) for model, scores in zip(models, scored, strict=True)]
    for i, line in enumerate(table):
        line["restart"] = sum(one["model"] == line["model"] for one in table[:i])
    best: dict[str, Model] = {}
    for name in dict.fromkeys(line["model"] for line in table):
        rivals = [i for i, line in enumerate(table) if line["model"] == name]
        chosen = min(rivals, key=lambda i: fits[i].best.cost)
        table[chosen]["best"] = True
        best[name] = models[chosen]
    facts = {
        "n_rows": models[0].n_samples_, "n_features": models[0].n_features_in_,
        "passes": fits[0].passes, "scoring_passes": passes, "seconds": fits[0].seconds,
    }  # fmt: skip
    found = Sweep(table, best, _elbows(table), facts)
    for name, model in best.items():
        model.save(folder / name, overwrite=True)
    text = json.dumps(_description(found, fits[0].about), indent=1, allow_nan=False)
    write_atomically(folder / FILE, text.encode())
    _drop_others(folder, set(best))
    remove_checkpoint(folder)
    return found


def _line(model: Model, scores: dict[str, Any]) -> dict[str, Any]:
    beta = str(float(model.beta)) if isinstance(model, SoftKMeans) else None
    k = len(model.cluster_centers_)
    return {
        "model": f"k-{k}" if beta is None else f"k-{k}-beta-{beta}",
        "k": k,
        "beta": beta,
        "restart": 0,
        "seed": model.seed_,
        "inertia": model.inertia_,
        "objective": getattr(model, "objective_", None),
        "n_iter": model.n_iter_,
        "converged": model.converged_,
        **{name: scores[name] for name in SCORES},
        "best": False,
    }


def _elbows(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A suggestion of each stiffness, from the least inertia of each number of clusters."""
    found = []
    for beta in dict.fromkeys(line["beta"] for line in table):
        lines = [line for line in table if line["beta"] == beta and line["best"]]
        k = elbow([line["k"] for line in lines], [line["inertia"] for line in lines])
        found.append({"beta": beta, "k": k, "method": METHOD})
    return found


def _description(found: Sweep, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "table": found.table,
        "elbows": found.elbows,
        "facts": found.facts,
        "about": about,
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _drop_others(folder: Path, names: set[str]) -> None:
    """Delete the models of a sweep that was there before."""
    for other in folder.glob("k-*"):
        if other.name in names or not is_model_folder(other):
            continue
        if other.is_symlink():  # what it leads to is somebody else's
            other.unlink()
        else:
            shutil.rmtree(other)
