"""Fitting: what may be fitted, Lloyd's loop, scikit-learn's estimator, and the model on disk."""

from daskcluster.fit.data import Dataset, dataset
from daskcluster.fit.kmeans import KMeans
from daskcluster.fit.model import read_model
from daskcluster.fit.saved import fit_model, load_model

__all__ = ["Dataset", "KMeans", "dataset", "fit_model", "load_model", "read_model"]
