"""`MiniBatchKMeans`: an approximate model from one pass, or from blocks as they come."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from daskcluster.engine import Ask, Asking, Progress, alone, stream
from daskcluster.errors import InputError
from daskcluster.fit.checkpoint import Checkpoint
from daskcluster.fit.data import Dataset, array_dataset, dataset, is_array_like
from daskcluster.fit.estimator import Clusterer, integer
from daskcluster.fit.inertia import inertia_of
from daskcluster.fit.lloyd import Lloyd
from daskcluster.fit.options import (
    Options,
    check_centers,
    check_n_clusters,
    describe,
    given_centers,
    init_name,
)
from daskcluster.fit.run import Fit
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.minibatch import minibatch_step
from daskcluster.kernels.outputs import Label
from daskcluster.kernels.sampling import Sample, gathered, stacked
from daskcluster.kernels.sparse import is_sparse
from daskcluster.seeding import Population, kmeans_plusplus, random_rows

# Rows that initial centres are drawn from: so many batches, from places spread over the data.
_INIT_BATCHES, _PLACES = 3, 16


class MiniBatchKMeans(Clusterer):
    """Approximate k-means from one pass: centres move after every batch of rows.

    Rows are read once, in their order, by this process; centres depend on that order, so rows that
    are sorted by class should be shuffled before. For exact clusters go on from them with
    ``KMeans(init=model.cluster_centers_)``, or ``daskcluster fit --init MODEL``.

    Parameters
    ----------
    n_clusters : int, default=8
        Clusters, and centres.
    init : str, array of shape (n_clusters, n_features) or callable, default='k-means++'
        'k-means++' (Arthur and Vassilvitskii 2007) or 'random' among the rows of three batches,
        which are taken from places spread over the data; a callable as for `KMeans`.
    max_iter : int, default=1
        Passes over the data.
    batch_size : int, default=1024
        Rows after which centres move.
    verbose : int, default=0
        1 shows progress on stderr.
    random_state : int, RandomState instance or None, default=None
        An int, which becomes ``seed_``, makes fits repeatable; None draws one.
    standardize : bool, default=False
        Cluster columns of mean 0 and standard deviation 1, which are found in a pass of their own
        where nobody knows them; not with `partial_fit`.

    Attributes
    ----------
    cluster_centers_ : float64 ndarray of shape (n_clusters, n_features)
        Each the mean of all rows it was ever the nearest to.
    counts_ : float64 ndarray of shape (n_clusters,)
        What the rows that each centre has seen weigh.
    n_steps_ : int
        Batches so far.
    labels_ : int32 ndarray or dask Array of shape (n_samples,)
        Nearest of the final centres, as in `KMeans`; of the last rows given to `partial_fit`.
    inertia_ : float
        Of the last pass, or of the last rows given to `partial_fit`, each row against the centres
        that its batch was labelled by.
    cluster_sizes_ : int64 ndarray of shape (n_clusters,)
        What the rows weigh that each centre was given in the last pass, or call of `partial_fit`.
    n_iter_ : int
        Passes.
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
    Sculley, "Web-scale k-means clustering", WWW 2010.

    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, MiniBatchKMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> rough = MiniBatchKMeans(n_clusters=2, random_state=0).fit(X)
    >>> KMeans(n_clusters=2, init=rough.cluster_centers_).fit(X).inertia_
    16.0
    """

    _inits: ClassVar[tuple[str, ...]] = ("k-means++", "random")
    _saved: ClassVar[tuple[str, ...]] = (*Clusterer._saved, "n_steps_")
    _arrays: ClassVar[dict[str, str]] = Clusterer._arrays | {"counts_": "float64"}

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 1,
        batch_size: int = 1024,
        verbose: int = 0,
        random_state: Any = None,
        standardize: bool = False,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.random_state = random_state
        self.standardize = standardize

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Move the centres towards the rows of one batch.

        The first call draws initial centres from its rows, so that it needs at least ``n_clusters``
        of them. Lazy arrays and stores are streamed in batches of ``batch_size``, arrays in memory
        are one batch.

        Parameters
        ----------
        X : as in `fit`
            Rows, shape (n_samples, n_features).
        y : ignored
        sample_weight : array-like of shape (n_samples,), dask Array or float, optional
            A row of weight w counts as w rows.

        Returns
        -------
        self

        Raises
        ------
        InputError
            ``standardize=True``, which needs all rows; fewer rows than clusters in the first call.
        ValueError
            Another number of features than before.

        Examples
        --------
        >>> import numpy as np
        >>> from daskcluster import MiniBatchKMeans
        >>> rough = MiniBatchKMeans(n_clusters=2, init=np.array([[0.0], [9.0]]))
        >>> for batch in ([[1.0], [8.0]], [[3.0], [6.0]]):
        ...     rough = rough.partial_fit(batch)
        >>> rough.cluster_centers_
        array([[2.],
               [7.]])
        >>> rough.counts_
        array([2., 2.])
        """
        if self._flag("standardize"):
            raise InputError("standardize=True needs all rows: scale them before partial_fit")
        self._options(X, None)
        first = not hasattr(self, "cluster_centers_")
        if is_array_like(X):
            X = self._validated(X, reset=first)
            return self._take_in(array_dataset(X).weighted(sample_weight), X, len(X))
        with dataset(X) as data:
            if first:
                self.n_features_in_ = data.n_features
            self._checked_width(data.n_features)
            return self._take_in(data.weighted(sample_weight), X, self._batch_size())

    def _take_in(self, data: Dataset, X: Any, batch_size: int) -> Self:
        began = time.perf_counter()
        options = self._options(X, getattr(self, "seed_", None))
        if not hasattr(self, "cluster_centers_"):
            self._begin(data, options)
        inertia = self._one_pass(data, batch_size, None, "partial fit")
        self._adopt_pass(data, X, options, inertia, time.perf_counter() - began, passes=1)
        return self

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the inertia of ``X`` against the centres, in exact arithmetic.

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
            At most 0, in squared units of the data (or of standardized columns). Unlike
            ``inertia_``, all rows are compared with the centres as they are now.

        Raises
        ------
        ValueError
            Another number of features.
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> from daskcluster import MiniBatchKMeans
        >>> MiniBatchKMeans(n_clusters=1, random_state=0).fit([[1.0], [3.0]]).score([[2.0], [5.0]])
        -9.0
        """
        with self._rows_of(X, sample_weight) as data:
            return -inertia_of(data, self.cluster_centers_)

    def _adopt(
        self, data: Dataset, X: Any, options: Options, progress: Progress | None,
        trail: Checkpoint | None,
    ) -> Self:  # fmt: skip
        began = time.perf_counter()
        if trail is not None:
            trail.begin(self._described(data, options))
        self._begin(data, options)
        for i in range(options.max_iter):
            inertia = self._one_pass(data, self._batch_size(), progress, f"pass {i + 1}")
        seconds = time.perf_counter() - began
        self._adopt_pass(data, X, options, inertia, seconds, passes=options.max_iter)
        return self

    def _begin(self, data: Dataset, options: Options) -> None:
        check_n_clusters(options.n_clusters, data.n_rows, data.name)
        if isinstance(options.init, np.ndarray):
            check_centers(options.init, options.n_clusters, data.n_features)
        with data.session() as session:
            self.cluster_centers_ = alone(session, self._initial(data, options))
        self.counts_ = np.zeros(options.n_clusters)
        self.n_steps_ = 0

    def _initial(self, data: Dataset, options: Options) -> Asking[Floats]:
        if (centers := given_centers(options, data.n_features)) is not None:
            return centers
        k = options.n_clusters
        wanted = max(_INIT_BATCHES * self._batch_size(), _INIT_BATCHES * k)
        indices = spread_rows(data.n_rows, wanted)
        blocks = sorted({i // data.cut.rows_per_block for i in indices.tolist()})
        rows, weights = gathered((yield Ask(Sample(indices), "sample", blocks)))
        weights = weights if weights is not None and weights.any() else None
        sample = array_dataset(rows).weighing(weights, data.weight_unit)
        rng = np.random.Generator(np.random.Philox(key=[options.seed, 0]))
        with sample.session() as session:
            population = Population(session.cut, weights, data.weight_unit == 0)
            if options.init == "random":
                return alone(session, random_rows(population, k, rng))
            scale = sample.scale(session)
            return alone(session, kmeans_plusplus(population, scale, sample.dtype, k, rng))

    def _one_pass(self, data: Dataset, size: int, progress: Progress | None, title: str) -> float:
        inertia, before = 0.0, self.counts_
        for rows, weights in batches(data, size, progress, title):
            self.cluster_centers_, self.counts_, _, own = minibatch_step(
                rows, weights, self.cluster_centers_, self.counts_
            )
            self.n_steps_ += 1
            inertia += own
        self._seen = self.counts_ - before
        return inertia

    def _adopt_pass(
        self, data: Dataset, X: Any, options: Options, inertia: float, seconds: float, *,
        passes: int,
    ) -> None:  # fmt: skip
        sizes = np.rint(np.ldexp(self._seen, -data.weight_unit)).astype(np.int64)
        found = Lloyd(self.cluster_centers_, inertia, passes, False, sizes, [])
        decoded = 0.0 if data.reader.in_memory else float(passes)
        init = init_name(options)
        fit = Fit(found, decoded, seconds, 0, self._described(data, options), None, init)
        self._take(fit, data, X, options.seed)
        self.labels_ = self._apply(X, self._mapped(Label(self.cluster_centers_)), np.int32, None)

    def _described(self, data: Dataset, options: Options) -> dict[str, dict[str, Any]]:
        about = describe(data, None, options)
        return about | {"options": about["options"] | {"batch_size": self._batch_size()}}

    def _adopt_more(self, fit: Fit) -> None:
        """There is nothing more."""

    def _batch_size(self) -> int:
        return integer("batch_size", self.batch_size, 1)

    def _options(self, X: Any, seed: int | None) -> Options:
        self._batch_size()
        n_clusters = integer("n_clusters", self.n_clusters, 1)
        return Options(
            n_clusters=n_clusters,
            init=self._init(X, n_clusters),
            n_init=1,
            max_iter=integer("max_iter", self.max_iter, 1),
            tol=0.0,
            standardize=self._flag("standardize"),
            seed=self._seed() if seed is None or self.random_state is not None else seed,
        )


def spread_rows(n_rows: int, wanted: int) -> npt.NDArray[np.int64]:
    """Ascending rows from places spread over all, at most ``wanted``."""
    if wanted >= n_rows:
        return np.arange(n_rows)
    run = -(-wanted // _PLACES)
    starts = np.arange(_PLACES) * (n_rows - run) // max(_PLACES - 1, 1)
    return np.unique(starts[:, np.newaxis] + np.arange(run))


def batches(
    data: Dataset, size: int, progress: Progress | None, title: str
) -> Iterator[tuple[Any, Floats | None]]:
    """Runs of ``size`` rows in their order, whatever the blocks, with their weights."""
    kept: list[Any] = []
    for batch in stream(data.reader, data.cut, title, progress):
        start = 0
        while start < len(batch.rows):
            missing = size - sum(len(part.rows) for part in kept)
            end = min(start + missing, len(batch.rows))
            own = None if batch.weights is None else batch.weights[start:end]
            kept.append(replace(batch, rows=batch.rows[start:end], weights=own))
            start = end
            if sum(len(part.rows) for part in kept) == size:
                yield _joined(kept, data.weight_unit)
                kept = []
    if kept:
        yield _joined(kept, data.weight_unit)


def _joined(parts: list[Any], unit: int) -> tuple[Any, Floats | None]:
    rows = [part.rows for part in parts]
    if len(rows) == 1:
        joined = rows[0]
    else:
        joined = stacked(rows) if is_sparse(rows[0]) else np.concatenate(rows)
    if parts[0].weights is None:
        return joined, None
    weights = np.concatenate([part.weights for part in parts])
    return joined, np.ldexp(weights.astype(np.float64), unit)
