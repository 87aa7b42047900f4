"""Exact out-of-core, distributed clustering of chunked Zarr stores on Dask."""

from importlib.metadata import version

from daskcluster.assess import evaluate, open_labels, predict_labels
from daskcluster.convert import convert_idx, convert_npy
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
from daskcluster.fit import KMeans, fit_model, load_model
from daskcluster.metrics import contingency_matrix, gini_index, purity_score
from daskcluster.store import Store, open_store

__version__ = version("daskcluster")

__all__ = [
    "BudgetError",
    "ClusterLost",
    "DaskClusterError",
    "EngineError",
    "InputError",
    "Interrupted",
    "KMeans",
    "ModelError",
    "Store",
    "StoreError",
    "contingency_matrix",
    "convert_idx",
    "convert_npy",
    "evaluate",
    "fit_model",
    "gini_index",
    "load_model",
    "open_labels",
    "open_store",
    "predict_labels",
    "purity_score",
]
