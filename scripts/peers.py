"""The peers of k-means in memory, each from given centres on given float32 rows.

A peer is a call of (rows, start, max_iter) that returns what it needed and found. Those that are
not installed are left out; ``pip install '.[bench]'`` installs all but Spark, for which there is
``pip install pyspark``, and which needs Java.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.cluster import KMeans as SklearnKMeans


@dataclass(frozen=True)
class Ran:
    """What a fit took and found."""

    n_iter: int
    inertia: float


Peer = Callable[[np.ndarray, np.ndarray, int], Ran]


def _like_scikit_learn(estimator: Any, algorithm: str) -> Peer:
    def fit(rows: np.ndarray, start: np.ndarray, max_iter: int) -> Ran:
        model = estimator(
            len(start), init=start, n_init=1, tol=0, max_iter=max_iter, algorithm=algorithm
        ).fit(rows)
        return Ran(int(model.n_iter_), float(model.inertia_))

    return fit


def _intelex(rows: np.ndarray, start: np.ndarray, max_iter: int) -> Ran:
    from sklearnex.cluster import KMeans  # noqa: PLC0415 - only where it is installed

    return _like_scikit_learn(KMeans, "lloyd")(rows, start, max_iter)


def _faiss(rows: np.ndarray, start: np.ndarray, max_iter: int) -> Ran:
    """It has no test of convergence: it makes as many iterations as it is told."""
    import faiss  # noqa: PLC0415 - only where it is installed

    model = faiss.Kmeans(
        rows.shape[1], len(start), niter=max_iter, seed=1,
        max_points_per_centroid=len(rows), min_points_per_centroid=1,
    )  # fmt: skip
    model.train(rows, init_centroids=start)
    return Ran(max_iter, float(model.obj[-1]))


@cache
def _spark_context() -> Any:
    """Spark on the threads of this machine; it takes seconds to start."""
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415 - only where it is installed

    settings = {"spark.ui.enabled": "false", "spark.driver.memory": "8g"}
    return SparkContext(master="local[*]", conf=SparkConf().setAll(list(settings.items())))


_SPARK_ROWS: dict[int, Any] = {}


def _spark(rows: np.ndarray, start: np.ndarray, max_iter: int) -> Ran:
    """MLlib on rows that it has cached before; it does not say how often it iterated."""
    from pyspark.mllib.clustering import KMeans, KMeansModel  # noqa: PLC0415
    from pyspark.mllib.linalg import DenseVector  # noqa: PLC0415

    context = _spark_context()
    if id(rows) not in _SPARK_ROWS:
        parts = np.array_split(rows, 8 * context.defaultParallelism)
        cached = context.parallelize(parts, len(parts)).flatMap(lambda p: map(DenseVector, p))
        _SPARK_ROWS[id(rows)] = cached.cache()
        cached.count()
    data = _SPARK_ROWS[id(rows)]
    before = KMeansModel([DenseVector(center) for center in start])
    model = KMeans.train(data, len(start), max_iter, epsilon=0.0, initialModel=before)
    return Ran(max_iter, float(model.computeCost(data)))


_ALL: dict[str, tuple[str, Peer]] = {
    "scikit-learn": ("sklearn", _like_scikit_learn(SklearnKMeans, "lloyd")),
    "scikit-learn-elkan": ("sklearn", _like_scikit_learn(SklearnKMeans, "elkan")),
    "scikit-learn-intelex": ("sklearnex", _intelex),
    "faiss": ("faiss", _faiss),
    "spark": ("pyspark", _spark),
}
NAMES = tuple(_ALL)
# They are told how many iterations to make.
COUNTED = ("faiss", "spark")


def installed(names: list[str]) -> dict[str, Peer]:
    """Those of the peers named that are there."""
    return {name: _ALL[name][1] for name in names if find_spec(_ALL[name][0])}
