"""What a fitted model is worth: labels and responsibilities written out, and scores."""

from daskcluster.assess.evaluate import evaluate
from daskcluster.assess.predict import predict_labels, predict_responsibilities
from daskcluster.assess.separation import (
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_score,
)
from daskcluster.assess.sweep import Sweep, load_sweep, sweep
from daskcluster.assess.table import predict_parquet
from daskcluster.assess.written import open_labels, open_responsibilities

__all__ = [
    "Sweep",
    "calinski_harabasz_score",
    "davies_bouldin_score",
    "evaluate",
    "load_sweep",
    "open_labels",
    "open_responsibilities",
    "predict_labels",
    "predict_parquet",
    "predict_responsibilities",
    "silhouette_score",
    "sweep",
]
