"""What ``model.json`` must look like."""

import math
from collections.abc import Callable
from typing import Any

from daskcluster.fit.kmeans import ALGORITHMS, HARD_METRICS
from daskcluster.fit.softkmeans import PRECISIONS
from daskcluster.kernels.responsibilities import METRICS
from daskcluster.schema import (
    Check,
    anything,
    either,
    flag,
    items,
    mapping,
    maybe,
    number,
    one_of,
    record,
    text,
    whole,
)
from daskcluster.sizing import ROW_TYPES

_POSITIVE = number(math.ulp(0.0))
_ANY_INTEGER = whole(-(2**63))

_PARAMS = record(
    {"n_clusters": whole(1), "init": text()},
    # Where one is missing its default stands in: a later version may have added it.
    {
        "max_iter": whole(1), "random_state": whole(), "standardize": flag,
        "verbose": either(flag, _ANY_INTEGER),
        "n_init": either(whole(1), one_of("auto")), "tol": number(0),
        "warm_start": flag, "memory_budget": maybe(either(whole(), text())),
        "algorithm": one_of(*ALGORITHMS), "precision": one_of(*PRECISIONS),
        "batch_size": whole(1),
        "beta": either(number(0), one_of("inf")),
        "metric": one_of(*dict.fromkeys((*HARD_METRICS, *METRICS))),
    },
)  # fmt: skip

_TOP = record({
    "estimator": one_of("KMeans", "SoftKMeans", "MiniBatchKMeans"), "params": _PARAMS,
    "fitted": record({"n_features_in_": whole(1)}),
    "centers": record({"file": text(), "sha256": text("[0-9a-f]{64}", "a SHA-256")}),
    "versions": mapping(text()), "created": text(),
    "about": maybe(mapping(mapping(anything))),
})  # fmt: skip


def check_model(description: dict[str, Any]) -> None:
    """Raise `ValueError` for what no fit has written."""
    _TOP(description, "")
    params, fitted = description["params"], description["fitted"]
    numbers = params["n_clusters"], fitted["n_features_in_"]
    more = _MORE[description["estimator"]]
    # Before 0.5 a name said what was done.
    record(_fitted(*numbers) | more(*numbers), {"init_": text()})(fitted, "fitted")
    if params.get("standardize"):
        # Rows are divided by the scale, so it is not 0.
        standards = {"mean_": items(number(), numbers[1]), "scale_": items(_POSITIVE, numbers[1])}
        record(standards)(fitted, "fitted")


def _fitted(k: int, d: int) -> dict[str, Check]:
    return {
        "inertia_": number(0), "n_iter_": whole(), "converged_": flag,
        "history_": items(mapping(number())), "passes_": number(0), "seconds_": number(0),
        "seed_": whole(), "build_": maybe(text()), "dtype_": one_of(*ROW_TYPES),
        "n_samples_": whole(1), "n_features_in_": whole(1), "source_": maybe(text()),
        "top_terms_": maybe(items(items(text()), k)), "sample_shape_": maybe(items(whole())),
        "feature_names_in_": maybe(items(text(), d)), "cluster_sizes_": items(number(0), k),
    }  # fmt: skip


_MORE: dict[str, Callable[[int, int], dict[str, Check]]] = {
    "KMeans": lambda k, d: {},
    "SoftKMeans": lambda k, d: {
        "objective_": number(), "precision_": one_of("float32", "float64"),
        "cluster_weights_": items(number(0), k),
    },
    "MiniBatchKMeans": lambda k, d: {"n_steps_": whole(), "counts_": items(number(0), k)},
}  # fmt: skip
