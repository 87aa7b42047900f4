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
        Clusters, and centres.
    init : str, array of shape (n_clusters, n_features) or callable, default='auto'
        How initial centres are found. 'k-means++' (Arthur and Vassilvitskii 2007) takes a pass over
        the data a cluster, 'k-means||' (Bahmani et al. 2012) six in all. 'refined' (after Bradley
        and Fayyad 1998) clusters two nested samples in memory, after one pass that gathers them.
        'random' takes rows. 'auto' is 'k-means++', but 'refined' from 100,000 rows on. A callable
        is given ``(X, n_clusters, random_state)`` and returns centres.
    n_init : 'auto' or int, default='auto'
        Restarts, of which the one with the least inertia is kept. 'auto' is 10 for 'random' and
        callables and 1 for the others.
    max_iter : int, default=300
        Iterations at most.
    tol : float, default=1e-4
        Stop when the sum of the centres' squared shifts is at most ``tol`` times the mean variance
        of the columns; with 0, only when the centres repeat.
    verbose : int, default=0
        1 shows progress on stderr.
    random_state : int, RandomState instance or None, default=None
        An int, which becomes ``seed_``, makes fits repeatable; None draws one.
    algorithm : {'auto', 'lloyd', 'hamerly', 'projection'}, default='auto'
        'lloyd' compares every row with every centre. 'hamerly' (after Hamerly 2010) keeps 16 bytes
        a row, which prove of most that they keep their label; 'projection' proves it of more from
        coordinates in a few directions (Hwang and Ahn 2011), and with numba from a bound for each
        of up to 128 centres (as Elkan 2003), where the memory budget has room for them and they
        tell rows apart. 'auto' is 'projection', but 'hamerly' for fewer than 16 centres where numba
        is installed. No result depends on it.
    metric : {'euclidean', 'cosine'}, default='euclidean'
        'cosine' is spherical k-means (Dhillon and Modha 2001): rows and centres are of unit length;
        inertia is twice the sum of ``1 - cos``.
    standardize : bool, default=False
        Cluster columns of mean 0 and standard deviation 1, which the model keeps; centres are in
        these units. Not for sparse rows, whose zeros would not stay zeros.
    warm_start : bool, default=False
        Begin with the centres of the fit before, where there is one of as many clusters.
    memory_budget : int, str or None, default=None
        Bytes of decoded blocks that each process may keep between passes, such as ``"2GB"``; 0
        reads every block anew, None takes a share of the memory. No result depends on it.

    Attributes
    ----------
    cluster_centers_ : float64 ndarray of shape (n_clusters, n_features)
        Each the mean of its rows in the last iteration; of unit length with ``metric='cosine'``.
    labels_ : int32 ndarray or dask Array of shape (n_samples,)
        An ndarray for arrays, else lazy: computed from centres and rows when asked for. A loaded
        model has none.
    inertia_ : float
        Sum of squared distances of the rows to ``cluster_centers_`` by ``labels_``, rounded once.
    n_iter_ : int
    converged_ : bool
        False when ``max_iter`` ended the fit.
    cluster_sizes_ : int64 ndarray of shape (n_clusters,)
        Rows of each label; of weighted rows what they weigh, float64 where weights are no whole
        numbers.
    history_ : list of dict
        Per iteration: iteration, inertia (of its labels against the centres before), shift (sum of
        squares), changed (rows), empty (clusters, which were refilled), passes (so far).
    passes_ : float
        Bytes decoded / bytes of the data; 0 for arrays in memory.
    seconds_ : float
        Time that the fit took.
    init_ : str
        How initial centres were found: a name, 'array' or 'callable'.
    seed_ : int
        What the random draws were keyed by.
    mean_, scale_ : float64 ndarray of shape (n_features,)
        Of the columns, in the unit of the data; with ``standardize`` only.
    top_terms_ : list of list of str, or None
        Up to ten terms of largest weight of each centre, where the rows are a store of text.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where ``X`` has column names that are strings.

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28, 1982.

    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable k-means++", Proceedings of the
    VLDB Endowment 5, 2012.

    Bradley and Fayyad, "Refining initial points for k-means clustering", ICML 1998.

    Hamerly, "Making k-means even faster", SDM 2010.

    Elkan, "Using the triangle inequality to accelerate k-means", ICML 2003.

    Hwang and Ahn, "Convergent bounds on the Euclidean distance", NIPS 2011.

    Dhillon and Modha, "Concept decompositions for large sparse text data using clustering",
    Machine Learning 42, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, convert_npy
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> sorted(kmeans.cluster_centers_.tolist())
    [[1.0, 2.0], [10.0, 2.0]]
    >>> kmeans.inertia_
    16.0

    Of data on disk the same, to the bit:

    >>> np.save("rows.npy", X)
    >>> store = convert_npy("rows.npy", "rows.zarr")
    >>> same = KMeans(n_clusters=2, random_state=0).fit("rows.zarr")
    >>> np.array_equal(same.cluster_centers_, kmeans.cluster_centers_)
    True
    >>> np.array_equal(same.labels_.compute(), kmeans.labels_)
    True
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
        """Minus the inertia of ``X`` against the fitted centres, in exact arithmetic.

        Parameters
        ----------
        X : as in `fit`
            Rows of as many features as were fitted, shape (n_samples, n_features).
        y : ignored
        sample_weight : array-like of shape (n_samples,), dask Array or float, optional
            A row of weight w counts as w rows.

        Returns
        -------
        float
            At most 0, in squared units of the data (or of what the model makes of it).

        Raises
        ------
        ValueError
            Another number of features.
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> from daskcluster import KMeans
        >>> kmeans = KMeans(n_clusters=1).fit([[1.0], [3.0]])
        >>> kmeans.score([[2.0], [5.0]])
        -9.0
        >>> kmeans.score([[1.0], [3.0]]) == -kmeans.inertia_
        True
        """
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
