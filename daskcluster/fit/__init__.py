"""Fitting: what may be fitted, the loops, scikit-learn's estimators, and the model on disk."""

from daskcluster.fit.data import Dataset, dataset
from daskcluster.fit.kmeans import KMeans
from daskcluster.fit.minibatch import MiniBatchKMeans
from daskcluster.fit.model import read_model
from daskcluster.fit.planning import Plan, plan
from daskcluster.fit.saved import fit_model, load_model
from daskcluster.fit.softkmeans import SoftKMeans

__all__ = [
    "Dataset", "KMeans", "MiniBatchKMeans", "Plan", "SoftKMeans", "dataset", "fit_model",
    "load_model", "plan", "read_model",
]  # fmt: skip
