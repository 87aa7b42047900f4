"""`KMeans`: scikit-learn's estimator over rows of any size."""

import numbers
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from daskcluster.engine import Progress, TextLine
from daskcluster.engine.lazy import is_dask_array, lazy_rows, map_rows
from daskcluster.errors import InputError
from daskcluster.fit.checkpoint import Checkpoint, remove_checkpoint
from daskcluster.fit.data import Dataset, array_dataset, dataset, is_array_like, view
from daskcluster.fit.inertia import inertia_of
from daskcluster.fit.model import SAVED, model_folder, write_model
from daskcluster.fit.run import Fit, Options, run_fit
from daskcluster.kernels.outputs import Apply, Distance, Label
from daskcluster.plan import ROW_TYPES

INITS = ("k-means++", "random")
ALGORITHMS = ("auto", "lloyd", "hamerly", "projection")

# The first is what lists and unsupported types become; all others stay as they are.
_ARRAY_TYPES = ["float64", *(name for name in ROW_TYPES if name != "float64")]


class KMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Exact k-means by Lloyd's algorithm, in memory, out of core, or on a Dask cluster.

    A row's label is the lowest index among the centres nearest to it in exact arithmetic. The same
    rows, options and seed give the same bits whatever the chunks, workers, scheduler and budget.

    Parameters
    ----------
    n_clusters : int, default=8
    init : {'k-means++', 'random'}, array of shape (n_clusters, n_features) or callable, \
            default='k-means++'
        A callable is given ``(X, n_clusters, random_state)`` and returns centres.
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
    history_ : list of dict
        Per iteration: iteration, inertia, shift, changed, empty, passes.
    passes_ : float
        Bytes decoded / bytes of the data; 0 for arrays in memory.
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
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        algorithm: str = "auto",
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
        self.memory_budget = memory_budget

    def fit(self, X: Any, y: Any = None, *, progress: Progress | None = None) -> Self:
        """Compute the clusters of ``X``.

        Parameters
        ----------
        X : array-like, DataFrame, dask Array, zarr Array, `Store`, path or URL
            Shape (n_samples, n_features). Arrays are fitted on this process's threads, all else on
            the active Dask client where there is one.
        y : ignored
        progress : Progress, optional
            Told of every iteration; takes the place of ``verbose``.
        """
        return self._fit(X, progress, None)

    def _fit(self, X: Any, progress: Progress | None, trail: Checkpoint | None) -> Self:
        options = self._options(X, None if trail is None else trail.seed)
        progress = progress or (TextLine() if self.verbose else None)
        if is_array_like(X):
            X = self._validated(X, reset=True)
            return self._adopt(array_dataset(X), X, options, progress, trail)
        with dataset(X, progress) as data:
            self.n_features_in_ = data.n_features
            self.__dict__.pop("feature_names_in_", None)
            return self._adopt(data, X, options, progress, trail)

    def _adopt(
        self, data: Dataset, X: Any, options: Options, progress: Progress | None,
        trail: Checkpoint | None,
    ) -> Self:  # fmt: skip
        fit: Fit = run_fit(data, options, budget=self.memory_budget, progress=progress, trail=trail)
        best = fit.best
        self.cluster_centers_ = best.centers
        self.inertia_ = best.inertia
        self.n_iter_ = best.n_iter
        self.converged_ = best.converged
        self.cluster_sizes_ = best.cluster_sizes
        self.history_ = best.history
        self.passes_ = fit.passes
        self.seconds_ = fit.seconds
        self.seed_ = options.seed
        self._about = fit.about
        self.build_ = data.build
        self.dtype_ = data.dtype
        self.n_samples_ = data.n_rows
        self.sample_shape_ = data.sample_shape
        self.source_ = None if data.reader.in_memory or is_dask_array(X) else data.name
        self._n_features_out = len(best.centers)
        self.labels_ = self._apply(X, Label(best.centers), np.int32, None)
        return self

    def predict(self, X: Any) -> Any:
        """Label of the nearest centre for each row; int32, lazy unless ``X`` is an array."""
        X = self._checked(X)
        return self._apply(X, Label(self.cluster_centers_), np.int32, None)

    def transform(self, X: Any) -> Any:
        """Euclidean distances to all centres, shape (n_samples, n_clusters), float64."""
        X = self._checked(X)
        return self._apply(X, Distance(self.cluster_centers_), np.float64, self._n_features_out)

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the inertia of ``X`` against the fitted centres, in exact arithmetic."""
        X = self._checked(X)
        if isinstance(X, np.ndarray):
            return -inertia_of(array_dataset(X), self.cluster_centers_)
        with dataset(X) as data:
            return -inertia_of(data, self.cluster_centers_)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted model as a folder of JSON and NPY; read back by `load_model`."""
        check_is_fitted(self)
        with model_folder(path, overwrite=overwrite) as folder:
            self._save(folder)

    def _save(self, folder: Path) -> None:
        names = getattr(self, "feature_names_in_", None)
        fitted = {name: getattr(self, name) for name in SAVED} | {
            "cluster_sizes_": self.cluster_sizes_.tolist(),
            "sample_shape_": None if self.sample_shape_ is None else list(self.sample_shape_),
            "feature_names_in_": None if names is None else list(names),
        }
        about = getattr(self, "_about", None)
        write_model(folder, self._plain_params(), fitted, self.cluster_centers_, about)
        remove_checkpoint(folder)

    def _plain_params(self) -> dict[str, Any]:
        """Options as JSON; initial centres and callables are named, not stored."""
        params = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        params["random_state"] = int(self.seed_)
        if not isinstance(self.init, str):
            params["init"] = "callable" if callable(self.init) else "array"
        return params

    def _apply(self, X: Any, function: Label | Distance, dtype: Any, width: int | None) -> Any:
        """``function`` of all rows: at once for arrays, lazily for all else."""
        if isinstance(X, np.ndarray):
            data = array_dataset(X)
            with data.session() as session:
                parts = sorted(session.reduce(Apply(function), "labels"), key=lambda part: part[0])
            return np.concatenate([rows for _, rows in parts])
        if is_dask_array(X):
            return map_rows(X, function, dtype, width)
        data = view(X)
        return lazy_rows(data.reader, data.cut, function, dtype, width)

    def _checked(self, X: Any) -> Any:
        """``X`` with the number of features that was fitted."""
        check_is_fitted(self)
        if is_array_like(X):
            return self._validated(X, reset=False)
        n_features = int(np.prod(X.shape[1:])) if is_dask_array(X) else view(X).n_features
        if n_features != self.n_features_in_:
            raise InputError(
                f"X has {n_features} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        return X

    def _validated(self, X: Any, *, reset: bool) -> npt.NDArray[Any]:
        rows = validate_data(
            self, X, reset=reset, dtype=_ARRAY_TYPES, order="C", accept_sparse=False
        )
        array: npt.NDArray[Any] = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("="))
        return array

    def _options(self, X: Any, seed: int | None) -> Options:
        n_clusters = _integer("n_clusters", self.n_clusters, 1)
        init = self._init(X, n_clusters)
        drawn = (isinstance(init, str) and init == "random") or callable(init)
        n_init = self.n_init
        if n_init == "auto" or isinstance(init, np.ndarray):
            n_init = 10 if drawn else 1
        tol = self.tol
        if not _is_number(tol) or not 0 <= tol < np.inf:
            raise InputError(f"tol={tol!r} should be a number >= 0")
        if self.algorithm not in ALGORITHMS:
            raise InputError(f"algorithm={self.algorithm!r} should be one of {ALGORITHMS}")
        return Options(
            n_clusters=n_clusters,
            init=init,
            n_init=_integer("n_init", n_init, 1),
            max_iter=_integer("max_iter", self.max_iter, 1),
            tol=float(tol),
            seed=self._seed() if seed is None or self.random_state is not None else seed,
            algorithm=self.algorithm,
        )

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            if not 0 <= int(self.random_state) < 2**63:
                raise InputError(f"random_state={self.random_state} should be >= 0 and below 2**63")
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _init(self, X: Any, n_clusters: int) -> Any:
        if isinstance(self.init, str):
            if self.init not in INITS:
                raise InputError(
                    f"init={self.init!r} should be one of {INITS}, an array or a callable"
                )
            return self.init
        if callable(self.init):
            return lambda seed, restart: self.init(
                X, n_clusters, random_state=np.random.RandomState(_bits(seed, restart))
            )
        try:
            return np.array(self.init, dtype=np.float64, order="C")
        except (TypeError, ValueError) as error:
            raise InputError(
                f"init={self.init!r} should be one of {INITS}, an array or a callable"
            ) from error

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


def _bits(seed: int, restart: int) -> np.random.MT19937:
    """A restart's own stream: one that is gone on with, or done again, draws the same."""
    return np.random.MT19937(np.random.SeedSequence([seed, restart]))


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _integer(name: str, value: Any, lowest: int) -> int:
    if not _is_number(value) or not isinstance(value, numbers.Integral) or value < lowest:
        raise InputError(f"{name}={value!r} should be an integer >= {lowest}")
    return int(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
