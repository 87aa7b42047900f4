"""`SoftKMeans`: the estimator of soft k-means over rows of any size."""

from typing import Any, ClassVar

from daskcluster.errors import InputError
from daskcluster.fit.data import Dataset
from daskcluster.fit.estimator import Clusterer, is_number, one_of
from daskcluster.fit.options import Options
from daskcluster.fit.run import Fit
from daskcluster.fit.soft import SoftFit, objective_of
from daskcluster.kernels.outputs import Membership
from daskcluster.kernels.responsibilities import METRICS, Softness
from daskcluster.sizing import Cut

PRECISIONS = ("auto", "float32", "float64")


class SoftKMeans(Clusterer):
    """Soft k-means: every row belongs to every cluster, by ``softmax(-beta * distance)``.

    A centre is the mean of all rows, weighted by their responsibilities. The same rows, options
    and seed give the same bits whatever the chunks, workers, scheduler and budget, on machines
    with the same NumPy, BLAS and instructions.

    Parameters
    ----------
    n_clusters : int, default=8
        Clusters, and centres. Several may come to lie in one place, where ``beta`` is small.
    beta : float, default=1.0
        Stiffness, above 0, in units of 1 / distance: the larger, the harder. ``inf`` is hard
        k-means, in which a cluster without rows keeps its centre.
    metric : {'euclidean', 'sqeuclidean'}, default='euclidean'
        The distance; for its square the objective never rises.
    init : str, array of shape (n_clusters, n_features) or callable, default='auto'
        How initial centres are found. 'k-means++' (Arthur and Vassilvitskii 2007) takes a pass over
        the data a cluster, 'k-means||' (Bahmani et al. 2012) six in all. 'refined' (after Bradley
        and Fayyad 1998) clusters two nested samples in memory, after one pass that gathers them.
        'random' takes rows. 'auto' is 'k-means++', but 'refined' from 100,000 rows on. A callable
        is given ``(X, n_clusters, random_state)`` and returns centres.
    n_init : 'auto' or int, default='auto'
        Restarts, of which the one with the least objective is kept. 'auto' is 10 for 'random' and
        callables and 1 for the others.
    max_iter : int, default=300
        Iterations at most.
    tol : float, default=1e-4
        Stop when the Frobenius norm of the centres' shift is below ``tol``, in the unit of the
        data; with 0, only when the centres repeat.
    verbose : int, default=0
        1 shows progress on stderr.
    random_state : int, RandomState instance or None, default=None
        An int, which becomes ``seed_``, makes fits repeatable; None draws one.
    standardize : bool, default=False
        Cluster columns of mean 0 and standard deviation 1, which the model keeps; centres are in
        these units. Not for sparse rows, whose zeros would not stay zeros.
    precision : {'auto', 'float32', 'float64'}, default='auto'
        Of products and exponentials. 'auto' is float32 where the first step of the first rows
        stays within 1e-6 of that of float64. Sparse rows have float64 alone.
    warm_start : bool, default=False
        Begin with the centres of the fit before, where there is one of as many clusters.
    memory_budget : int, str or None, default=None
        Bytes of decoded blocks that each process may keep between passes, such as ``"2GB"``; 0
        reads every block anew, None takes a share of the memory. No result depends on it.

    Attributes
    ----------
    cluster_centers_ : float64 ndarray of shape (n_clusters, n_features)
        Means of all rows, weighted by their responsibilities.
    labels_ : int32 ndarray or dask Array of shape (n_samples,)
        Clusters of the largest responsibility: the nearest centres. Lazy unless fitted to an array.
    objective_ : float
        Free energy of the rows for ``cluster_centers_``:
        ``-1/beta * sum(log(sum(exp(-beta * distance))))``.
    inertia_ : float
        Sum of squared distances of the rows to their nearest centres, rounded once.
    cluster_weights_ : float64 ndarray of shape (n_clusters,)
        Sums of responsibilities.
    cluster_sizes_ : int64 ndarray of shape (n_clusters,)
        Rows of each label; of weighted rows what they weigh, float64 where weights are no whole
        numbers.
    precision_ : str
        The precision that was used.
    n_iter_ : int
    converged_ : bool
        False when ``max_iter`` ended the fit.
    history_ : list of dict
        Per iteration: iteration, objective (for the centres before), shift (Frobenius norm), passes
        (so far).
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
    MacKay, *Information Theory, Inference, and Learning Algorithms*, Cambridge 2003, section 20.2.

    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable k-means++", Proceedings of the
    VLDB Endowment 5, 2012.

    Bradley and Fayyad, "Refining initial points for k-means clustering", ICML 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import SoftKMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> soft = SoftKMeans(n_clusters=2, beta=1.0, random_state=0).fit(X)
    >>> sorted(soft.cluster_centers_[:, 0].round(2).tolist())
    [1.0, 10.0]
    >>> soft.predict_proba([[5.5, 2.0]]).round(2).tolist()
    [[0.5, 0.5]]
    """

    _saved: ClassVar[tuple[str, ...]] = (*Clusterer._saved, "objective_", "precision_")
    _arrays: ClassVar[dict[str, str]] = Clusterer._arrays | {"cluster_weights_": "float64"}

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        beta: float = 1.0,
        metric: str = "euclidean",
        init: Any = "auto",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        standardize: bool = False,
        precision: str = "auto",
        warm_start: bool = False,
        memory_budget: int | str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.beta = beta
        self.metric = metric
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.standardize = standardize
        self.precision = precision
        self.warm_start = warm_start
        self.memory_budget = memory_budget

    def predict_proba(self, X: Any) -> Any:
        """Responsibilities of all clusters for each row: ``softmax(-beta * distance)``.

        Parameters
        ----------
        X : as in `fit`
            Rows of as many features as were fitted, shape (n_samples, n_features).

        Returns
        -------
        ndarray or dask Array of shape (n_samples, n_clusters)
            Each row sums to 1. In the precision of the fit, ``precision_``; an ndarray for arrays,
            else lazy.

        Raises
        ------
        ValueError
            Another number of features.
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> from daskcluster import SoftKMeans
        >>> X = [[0.0], [1.0], [9.0], [10.0]]
        >>> soft = SoftKMeans(n_clusters=2, beta=1.0, random_state=0).fit(X)
        >>> shares = soft.predict_proba([[0.0], [5.0], [9.5]])
        >>> shares.shape, shares[1].round(2).tolist()
        ((3, 2), [0.5, 0.5])
        """
        X = self._checked(X)
        function = self._mapped(Membership(self.cluster_centers_, self.softness_))
        dtype = self.softness_.dtype
        return self._apply(X, function, dtype, len(self.cluster_centers_), self._recut)

    def _recut(self, data: Dataset) -> Cut:
        """Blocks of whole runs of rows, which one product covers."""
        return data.aligned(len(self.cluster_centers_))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the free energy of ``X`` for the fitted centres.

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
            In units of ``metric``; more is better. It may be above 0: the free energy of n rows is
            less than the sum of their distances from their nearest centres, by at most ``n *
            log(n_clusters) / beta``.

        Raises
        ------
        ValueError
            Another number of features.
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from daskcluster import SoftKMeans
        >>> X = np.array([[0.0], [1.0], [9.0], [10.0]])
        >>> soft = SoftKMeans(n_clusters=2, beta=1.0, random_state=0).fit(X)
        >>> bool(np.isclose(soft.score(X), -soft.objective_))
        True
        """
        with self._rows_of(X, sample_weight) as data:
            return -objective_of(data, self.cluster_centers_, self.softness_)

    @property
    def softness_(self) -> Softness:
        """How the model turns distances into responsibilities: beta, metric and precision."""
        return Softness(float(self.beta), self.metric, self.precision_)

    def _options(self, X: Any, seed: int | None) -> Options:
        if not is_number(self.beta) or not self.beta > 0:
            raise InputError(f"beta={self.beta!r} should be a number > 0, or inf")
        return Options(
            **self._shared_options(X, seed),
            beta=float(self.beta),
            metric=one_of("metric", self.metric, METRICS),
            precision=one_of("precision", self.precision, PRECISIONS),
        )

    def _adopt_more(self, fit: Fit) -> None:
        assert isinstance(fit.best, SoftFit)
        assert fit.precision is not None
        self.objective_ = fit.best.objective
        self.cluster_weights_ = fit.best.weights
        self.precision_ = fit.precision
