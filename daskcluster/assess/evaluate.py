"""All scores of a model on a store: against its classes, and those that need none."""

import math
import os
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from daskcluster.assess.predict import check_features
from daskcluster.assess.separation import Gather, assessing, gather_of, separation_scores
from daskcluster.engine import Ask, Asking, Progress, alone
from daskcluster.fit import KMeans, SoftKMeans
from daskcluster.fit.data import Dataset, store_dataset
from daskcluster.fit.estimator import top_terms
from daskcluster.fit.soft import energy_job, finish_energy
from daskcluster.fit.weights import in_units
from daskcluster.kernels import exact
from daskcluster.kernels.softtable import SoftTable
from daskcluster.kernels.spread import Labelling
from daskcluster.kernels.together import Together
from daskcluster.metrics import score_table
from daskcluster.metrics.soft import soft_adjusted_rand, soft_scores
from daskcluster.store import Store, open_store
from daskcluster.survey import Scale


def evaluate(
    model: KMeans | SoftKMeans,
    store: str | os.PathLike[str] | Store,
    *,
    sample_weight: Any = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores of a model on a store; the rows are read once where they fit the memory, else twice.

    For a soft model gini, nmi, homogeneity, completeness and v_measure are those of its
    responsibilities (see `metrics.soft_scores`), ari is Brouwer's; purity, fowlkes_mallows,
    contingency and the scores without classes are of the clusters of largest responsibility.

    Parameters
    ----------
    model : KMeans, SoftKMeans or MiniBatchKMeans
        Fitted, or loaded.
    store : Store, path or URL
        Rows of as many features as the model was fitted to: those, or others such as a test set.
    sample_weight : array-like of shape (n_samples,), dask Array or float, optional
        A row of weight w counts as w rows.
    progress : Progress, optional
        Told of the rows that are through.

    Returns
    -------
    dict
        n_rows, n_clusters, inertia; purity, gini, ari, nmi, homogeneity, completeness, v_measure,
        fowlkes_mallows, contingency (clusters x classes) and class_names where the store has
        labels, else None; silhouette (for squared Euclidean distance), calinski_harabasz and
        davies_bouldin, None where they are not defined; objective and soft_contingency of a soft
        model; top_terms of each cluster, the largest weights first, where the store holds text;
        passes.

    Raises
    ------
    InputError
        The model is of other features, or weights cannot be used.
    StoreError
        The store is missing or damaged.
    NotFittedError
        The model is not fitted.

    References
    ----------
    Hubert and Arabie, "Comparing partitions", Journal of Classification 2, 1985: ari.

    Vinh, Epps and Bailey, "Information theoretic measures for clusterings comparison", Journal of
    Machine Learning Research 11, 2010: nmi, over the arithmetic mean of the entropies.

    Rosenberg and Hirschberg, "V-measure: a conditional entropy-based external cluster evaluation
    measure", EMNLP-CoNLL 2007: homogeneity, completeness and v_measure.

    Fowlkes and Mallows, "A method for comparing two hierarchical clusterings", Journal of the
    American Statistical Association 78, 1983.

    Brouwer, "Extending the Rand, adjusted Rand and Jaccard indices to fuzzy partitions", Journal of
    Intelligent Information Systems 32, 2009: ari of a soft model.

    The others are those of `purity_score`, `gini_index`, `silhouette_score`,
    `calinski_harabasz_score` and `davies_bouldin_score`.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, convert_npy, evaluate
    >>> np.save("rows.npy", np.array([[0.0], [1.0], [2.0], [9.0]]))
    >>> np.save("classes.npy", [0, 0, 1, 1])
    >>> store = convert_npy("rows.npy", "rows.zarr", labels="classes.npy")
    >>> model = KMeans(2, init=[[0.0], [9.0]]).fit(store)
    >>> scores = evaluate(model, store)
    >>> scores["contingency"], scores["purity"], scores["inertia"]
    ([[2, 1], [0, 1]], 0.75, 2.0)
    """
    check_is_fitted(model)
    store = open_store(store)
    rows = store_dataset(store, with_labels=store.has_labels)
    data = rows.weighted(sample_weight).mapped(model.row_map_)
    n_clusters = check_features(model, data)
    with assessing(data, n_clusters, progress) as session:
        scale = data.scale(session)
        facts = alone(session, scoring(model, data, scale, store))
        return facts | {"passes": session.passes}


def scoring(
    model: KMeans | SoftKMeans, data: Dataset, scale: Scale, store: Store | None
) -> Asking[dict[str, Any]]:
    """What `evaluate` says of a model, but for the passes; in two of them."""
    names = None if store is None else store.info.class_names
    n_clusters = len(model.cluster_centers_)
    labelling = Labelling(model.cluster_centers_, scale.frame)
    job = gather_of(data, scale, labelling, n_clusters, len(names or ()))
    more = _soft_jobs(model, data, scale, len(names or ()))
    found, *soft = yield Ask(Together((job, *more)), "evaluate")
    separation = yield from separation_scores(data, scale, job, found)
    table = found.table
    scores = score_table(np.zeros((1, 1), np.int64) if table is None else table).as_dict()
    return {
        "n_rows": data.n_rows,
        "n_clusters": n_clusters,
        "inertia": _inertia(scale, job, found),
        **scores,
        **separation,
        "contingency": None if table is None else in_units(table, data.weight_unit).tolist(),
        "class_names": None if names is None else list(names),
        **_soft_facts(more, soft, table, scale),
        "top_terms": _top_terms(model, store),
    }


def _top_terms(model: KMeans | SoftKMeans, store: Store | None) -> list[list[str]] | None:
    """Of each cluster, by the store's vocabulary."""
    terms = None if store is None else store.terms
    return None if terms is None else top_terms(model.cluster_centers_, terms)


def _inertia(scale: Scale, job: Gather, found: Any) -> float:
    centers = job.labelling.centers
    assert centers is not None
    hard = found.hard
    units = exact.inertia(scale.total_squares, hard.sums, hard.counts, centers, job.grid)
    return math.ldexp(units, scale.weight_unit)


def _soft_jobs(
    model: KMeans | SoftKMeans, data: Dataset, scale: Scale, n_classes: int
) -> list[Any]:
    """The objective of a soft model, and its responsibilities by class."""
    if not isinstance(model, SoftKMeans):
        return []
    centers, softness = model.cluster_centers_, model.softness_
    jobs: list[Any] = [energy_job(scale, centers, softness)]
    if n_classes:
        jobs.append(SoftTable(centers, softness, scale.frame, data.population, n_classes))
    return jobs


def _soft_facts(jobs: list[Any], found: list[Any], table: Any, scale: Scale) -> dict[str, Any]:
    facts: dict[str, Any] = {"objective": None, "soft_contingency": None}
    if jobs:
        facts["objective"] = finish_energy(jobs[0], scale, found[0])
    if len(jobs) > 1 and table.any():
        shares, bonds = jobs[1].finish(found[1])
        facts |= soft_scores(shares)
        facts["ari"] = soft_adjusted_rand(bonds, table.sum(axis=0))
        facts["soft_contingency"] = np.ldexp(shares, scale.weight_unit).tolist()
    return facts
