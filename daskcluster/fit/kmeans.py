"""`KMeans`: scikit-learn's estimator over rows of any size."""

from typing import Any

from daskcluster.errors import InputError
from daskcluster.fit.estimator import Clusterer, one_of
from daskcluster.fit.inertia import inertia_of
from daskcluster.fit.options import Options
from daskcluster.fit.run import Fit

ALGORITHMS = ("auto", "lloyd", "hamerly", "projection")
HARD_METRICS = ("euclidean", "cosine")


class KMeans(Clusterer):
    """Exact k-means by Lloyd's algorithm, in memory, out of core, or on a Dask cluster.

    A row's label is the lowest index among the centres nearest to it in exact arithmetic. The same
    rows, options and seed give the same bits whatever the chunks, workers, scheduler and budget.

    Parameters
    ----------
    n_clusters : int, default=8
    init : {'auto', 'refined', 'k-means++', 'k-means||', 'random'}, array of shape \
            (n_clusters, n_features) or callable, default='auto'
        'refined' clusters two nested samples in memory, after one pass that gathers them;
        'k-means||' (Bahmani et al., VLDB 2012) takes six passes, 'k-means++' one a cluster.
        'auto' is 'k-means++', but 'refined' from 100,000 rows on. A callable is given
        ``(X, n_clusters, random_state)`` and returns centres.
    n_init : 'auto' or int, default='auto'
        Restarts, of which the one with the least inertia is kept. 'auto' is 10 for 'random' and
        callables and 1 for the others.
    max_iter : int, default=300
    tol : float, default=1e-4
        Stop when the sum of the centres' squared shifts is at most ``tol`` times the mean variance
        of the columns; with 0, only when the centres repeat.
    verbose : int, default=0
        1 shows progress on stderr.
    random_state : int, RandomState instance or None, default=None
    algorithm : {'auto', 'lloyd', 'hamerly', 'projection'}, default='auto'
        'lloyd' compares every row with every centre. 'hamerly' keeps 16 bytes a row, which prove
        of most that they keep their label; 'projection' proves it of more from coordinates in a
        few directions, and with numba from a bound for each of up to 128 centres, where the memory
        budget has room for them and they tell rows apart. 'auto' is 'projection', but 'hamerly'
        for fewer than 16 centres where numba is installed. No result depends on it.
    metric : {'euclidean', 'cosine'}, default='euclidean'
        'cosine' is spherical k-means (Dhillon and Modha, Machine Learning 42, 2001): rows and
        centres are of unit length; inertia is twice the sum of ``1 - cos``.
    standardize : bool, default=False
        Cluster columns of mean 0 and standard deviation 1, which the model keeps; centres are in
        these units.
    warm_start : bool, default=False
        Begin with the centres of the fit before, where there is one of as many clusters.
    memory_budget : int, str or None, default=None
        Bytes of decoded blocks that each process may keep between passes, such as ``"2GB"``; 0
        reads every block anew, None takes a share of the memory. No result depends on it.

    Attributes
    ----------
    cluster_centers_ : float64 ndarray of shape (n_clusters, n_features)
    labels_ : int32 ndarray or dask Array of shape (n_samples,)
        An ndarray for arrays, else lazy: computed from centres and rows when asked for.
    inertia_ : float
        Sum of squared distances of the rows to ``cluster_centers_`` by ``labels_``, rounded once.
    n_iter_ : int
    converged_ : bool
        False when ``max_iter`` ended the fit.
    cluster_sizes_ : int64 ndarray of shape (n_clusters,)
        What their rows weigh; float64 where weights are no whole numbers.
    history_ : list of dict
        Per iteration: iteration, inertia, shift, changed, empty, passes.
    passes_ : float
        Bytes decoded / bytes of the data; 0 for arrays in memory.
    init_ : str
        How initial centres were found: a name, 'array' or 'callable'.
    seed_ : int
        What the random draws were keyed by.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where ``X`` has column names that are strings.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> sorted(kmeans.cluster_centers_[:, 0].tolist())
    [1.0, 10.0]
    >>> kmeans.inertia_
    16.0
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "auto",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        algorithm: str = "auto",
        metric: str = "euclidean",
        standardize: bool = False,
        warm_start: bool = False,
        memory_budget: int | str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.algorithm = algorithm
        self.metric = metric
        self.standardize = standardize
        self.warm_start = warm_start
        self.memory_budget = memory_budget

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the inertia of ``X`` against the fitted centres, in exact arithmetic."""
        with self._rows_of(X, sample_weight) as data:
            return -inertia_of(data, self.cluster_centers_)

    def _options(self, X: Any, seed: int | None) -> Options:
        algorithm = one_of("algorithm", self.algorithm, ALGORITHMS)
        metric = one_of("metric", self.metric, HARD_METRICS)
        if metric == "cosine" and self.standardize:
            raise InputError("metric='cosine' and standardize=True: choose one")
        return Options(**self._shared_options(X, seed), algorithm=algorithm, metric=metric)

    def _adopt_more(self, fit: Fit) -> None:
        """There is nothing more."""
