"""Exact out-of-core, distributed clustering of chunked Zarr stores on Dask."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from daskcluster.settings import register

if TYPE_CHECKING:
    from daskcluster.assess import (
        Sweep,
        calinski_harabasz_score,
        davies_bouldin_score,
        evaluate,
        load_sweep,
        open_labels,
        open_responsibilities,
        predict_labels,
        predict_parquet,
        predict_responsibilities,
        silhouette_score,
        sweep,
    )
    from daskcluster.convert import convert_idx, convert_npy, convert_table, convert_text
    from daskcluster.engine import Workers
    from daskcluster.errors import (
        BudgetError,
        ClusterLost,
        DaskClusterError,
        EngineError,
        InputError,
        Interrupted,
        ModelError,
        StoreError,
    )
    from daskcluster.fit import (
        KMeans,
        MiniBatchKMeans,
        Plan,
        SoftKMeans,
        fit_model,
        load_model,
        plan,
    )
    from daskcluster.metrics import contingency_matrix, gini_index, purity_score
    from daskcluster.report import write_report
    from daskcluster.store import Store, open_store

__version__ = version("daskcluster")

register()

__all__ = [
    "BudgetError",
    "ClusterLost",
    "DaskClusterError",
    "EngineError",
    "InputError",
    "Interrupted",
    "KMeans",
    "MiniBatchKMeans",
    "ModelError",
    "Plan",
    "SoftKMeans",
    "Store",
    "StoreError",
    "Sweep",
    "Workers",
    "calinski_harabasz_score",
    "contingency_matrix",
    "convert_idx",
    "convert_npy",
    "convert_table",
    "convert_text",
    "davies_bouldin_score",
    "evaluate",
    "fit_model",
    "gini_index",
    "load_model",
    "load_sweep",
    "open_labels",
    "open_responsibilities",
    "open_store",
    "plan",
    "predict_labels",
    "predict_parquet",
    "predict_responsibilities",
    "purity_score",
    "silhouette_score",
    "sweep",
    "write_report",
]

# Imported when asked for: a worker needs the kernels, and neither the estimators nor scikit-learn.
_HOMES = {
    "daskcluster.assess": (
        "Sweep calinski_harabasz_score davies_bouldin_score evaluate load_sweep open_labels "
        "open_responsibilities predict_labels predict_parquet predict_responsibilities "
        "silhouette_score sweep"
    ),
    "daskcluster.convert": "convert_idx convert_npy convert_table convert_text",
    "daskcluster.errors": (
        "BudgetError ClusterLost DaskClusterError EngineError "
        "InputError Interrupted ModelError StoreError"
    ),
    "daskcluster.engine": "Workers",
    "daskcluster.fit": "KMeans MiniBatchKMeans Plan SoftKMeans fit_model load_model plan",
    "daskcluster.metrics": "contingency_matrix gini_index purity_score",
    "daskcluster.report": "write_report",
    "daskcluster.store": "Store open_store",
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
