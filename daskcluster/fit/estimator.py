"""What the estimators share: scikit-learn's ways over rows of any size."""

import numbers
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, TypeGuard

import numpy as np
import numpy.typing as npt
from scipy import sparse
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
from daskcluster.fit.model import model_folder, write_model
from daskcluster.fit.options import INITS, Options
from daskcluster.fit.run import Fit, run_fit
from daskcluster.fit.weights import in_units
from daskcluster.kernels.outputs import Apply, Distance, Label
from daskcluster.kernels.rowmaps import Mapped, RowMap, Standardized, UnitLength
from daskcluster.kernels.sparse import SparseRows
from daskcluster.sizing import ROW_TYPES, Cut

_STANDARDS = ("mean_", "scale_")

# The first is what lists and unsupported types become; all others stay as they are.
_ARRAY_TYPES = ["float64", *(name for name in ROW_TYPES if name != "float64")]

Function = Callable[[Any], npt.NDArray[Any]]


class Clusterer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators: what is fitted, and what a fitted model says of rows."""

    _inits: ClassVar[tuple[str, ...]] = INITS
    """Names of ways to find initial centres."""
    _saved: ClassVar[tuple[str, ...]] = (
        "inertia_", "n_iter_", "converged_", "init_", "history_", "passes_", "seconds_", "seed_",
        "build_", "dtype_", "n_samples_", "n_features_in_", "source_", "top_terms_",
    )  # fmt: skip
    """Attributes that are JSON as they are."""
    _arrays: ClassVar[dict[str, str]] = {"cluster_sizes_": "int64"}
    """Attributes of a number a cluster, and their types."""

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        progress: Progress | None = None,
    ) -> Self:
        """Compute the clusters of ``X``.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame, dask Array, zarr Array, Store, path or URL
            Rows, shape (n_samples, n_features), of integers, float32 or float64; lists and arrays
            of other types become float64. Arrays are fitted on this process's threads, all else on
            the active Dask client where there is one.
        y : ignored
        sample_weight : array-like of shape (n_samples,), dask Array or float, optional
            A row of weight w counts as w rows. Weights that are no whole numbers are rounded to
            2**-37 of the largest, or 2**-52 times the number of rows.
        progress : Progress, optional
            Told of every iteration; takes the place of ``verbose``. `daskcluster.engine` has
            ``TextLine()`` for people and ``JsonLines()`` for programs.

        Returns
        -------
        self

        Raises
        ------
        InputError
            An option, the shape of the data or a weight cannot be used, or there are fewer rows
            than clusters. For arrays with NaN or infinity a ValueError, as of scikit-learn's
            estimators.
        StoreError
            The store is missing, unsealed or damaged.
        BudgetError
            The fit does not fit in a worker's memory.
        EngineError, ClusterLost, Interrupted
            The work could not be finished; `fit_model` leaves a checkpoint to go on from.

        Examples
        --------
        >>> import numpy as np
        >>> from daskcluster import KMeans
        >>> X = np.array([[0.0], [1.0], [9.0]])
        >>> KMeans(n_clusters=2, random_state=0).fit(X).cluster_sizes_
        array([2, 1])
        >>> KMeans(n_clusters=1).fit(X, sample_weight=[1, 1, 8]).cluster_centers_
        array([[7.3]])
        """
        return self._fit(X, progress, None, sample_weight)

    def _fit(
        self,
        X: Any,
        progress: Progress | None,
        trail: Checkpoint | None,
        sample_weight: Any = None,
    ) -> Self:
        options = self._options(X, None if trail is None else trail.seed)
        progress = progress or (TextLine() if self.verbose else None)
        if is_array_like(X):
            X = self._validated(X, reset=True)
            data = self._prepared(array_dataset(X).weighted(sample_weight))
            return self._adopt(data, X, options, progress, trail)
        with dataset(X, progress) as data:
            self.n_features_in_ = data.n_features
            self.__dict__.pop("feature_names_in_", None)
            rows = self._prepared(data.weighted(sample_weight))
            found = self._adopt(rows, X, options, progress, trail)
            self._adopt_store(data)
            return found

    def _prepared(self, data: Dataset) -> Dataset:
        """The rows as they are clustered; finds means and deviations where they are asked for."""
        if self.standardize:
            with data.session() as session:
                moments = data.known_moments(session)
            self.mean_, self.scale_ = moments.means(), moments.deviations()
        return data.mapped(self.row_map_)

    @property
    def row_map_(self) -> RowMap | None:
        """What becomes of rows before they are compared with the centres; None if nothing does."""
        if getattr(self, "metric", None) == "cosine":
            return UnitLength()
        return Standardized(self.mean_, self.scale_) if self.standardize else None

    def _mapped(self, function: Function) -> Function:
        """A function of mapped rows, as one of rows as they are."""
        return function if self.row_map_ is None else Mapped(self.row_map_, function)

    def _adopt_store(self, data: Dataset) -> None:
        terms = None if data.store is None else data.store.terms
        self.top_terms_ = None if terms is None else top_terms(self.cluster_centers_, terms)

    def _adopt(
        self, data: Dataset, X: Any, options: Options, progress: Progress | None,
        trail: Checkpoint | None,
    ) -> Self:  # fmt: skip
        fit = run_fit(data, options, budget=self.memory_budget, progress=progress, trail=trail)
        self._take(fit, data, X, options.seed)
        labels = getattr(fit.best, "labels", None)
        if labels is None:
            labels = self._apply(X, self._mapped(Label(fit.best.centers)), np.int32, None)
        self.labels_ = labels
        return self

    def _take(self, fit: Fit, data: Dataset, X: Any, seed: int) -> None:
        """Take over what a fit of some rows found."""
        best = fit.best
        self.cluster_centers_ = best.centers
        self.inertia_ = best.inertia
        self.n_iter_ = best.n_iter
        self.converged_ = best.converged
        self.cluster_sizes_ = in_units(best.cluster_sizes, data.weight_unit)
        self.history_ = best.history
        self.passes_ = fit.passes
        self.seconds_ = fit.seconds
        self.seed_ = seed
        self.init_ = fit.init
        self._about = fit.about
        self.build_ = data.build
        self.dtype_ = data.dtype
        self.n_samples_ = data.n_rows
        self.sample_shape_ = data.sample_shape
        self.source_ = None if data.reader.in_memory or is_dask_array(X) else data.name
        self.top_terms_ = None
        self._n_features_out = len(best.centers)
        self._adopt_more(fit)

    @abstractmethod
    def _adopt_more(self, fit: Fit) -> None:
        """Take over what only this kind of fit finds."""

    @abstractmethod
    def _options(self, X: Any, seed: int | None) -> Options:
        """The options, checked."""

    def predict(self, X: Any) -> Any:
        """Label of the nearest centre for each row; the lowest of several that are equally near.

        Parameters
        ----------
        X : as in `fit`
            Rows of as many features as were fitted, shape (n_samples, n_features), as they are: the
            model standardizes them, or scales them to unit length, itself.

        Returns
        -------
        int32 ndarray or dask Array of shape (n_samples,)
            An ndarray for arrays, else lazy: rows are read when it is computed.

        Raises
        ------
        ValueError
            Another number of features.
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from daskcluster import KMeans, convert_npy
        >>> kmeans = KMeans(n_clusters=2, init=[[0.0], [9.0]]).fit([[0.0], [1.0], [9.0]])
        >>> kmeans.predict([[4.7], [4.8]])
        array([0, 1], dtype=int32)
        >>> np.save("rows.npy", np.array([[8.0], [9.0], [2.0]]))
        >>> labels = kmeans.predict(convert_npy("rows.npy", "rows.zarr"))
        >>> labels.shape, labels.compute().tolist()
        ((3,), [1, 1, 0])
        """
        X = self._checked(X)
        return self._apply(X, self._mapped(Label(self.cluster_centers_)), np.int32, None)

    def transform(self, X: Any) -> Any:
        """Euclidean distances of the rows to all centres.

        Parameters
        ----------
        X : as in `fit`
            Rows of as many features as were fitted, shape (n_samples, n_features).

        Returns
        -------
        float64 ndarray or dask Array of shape (n_samples, n_clusters)
            In the unit of the data; with ``standardize`` in that of standardized columns, and with
            ``metric='cosine'`` between points of unit length. An ndarray for arrays, else lazy.

        Raises
        ------
        ValueError
            Another number of features.
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> from daskcluster import KMeans
        >>> kmeans = KMeans(n_clusters=2, init=[[0.0, 0.0], [6.0, 8.0]])
        >>> kmeans.fit([[0.0, 0.0], [6.0, 8.0]]).transform([[3.0, 4.0], [0.0, 0.0]])
        array([[ 5.,  5.],
               [ 0., 10.]])
        """
        X = self._checked(X)
        function = self._mapped(Distance(self.cluster_centers_))
        return self._apply(X, function, np.float64, self._n_features_out)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted model as a folder of JSON and NPY; read back by `load_model`.

        Nothing is pickled. The model that was there stays whole until the new one is.

        Parameters
        ----------
        path : path
            Folder of the model, which is made; on this machine, no URL.
        overwrite : bool, default=False
            Replace a model that is there.

        Raises
        ------
        ModelError
            A model is there already, or something else, or the folder cannot be made.
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> from daskcluster import KMeans, load_model
        >>> kmeans = KMeans(n_clusters=1).fit([[1.0], [3.0]])
        >>> kmeans.save("model")
        >>> load_model("model").predict([[2.5]])
        array([0], dtype=int32)
        >>> kmeans.save("model")
        Traceback (most recent call last):
            ...
        daskcluster.errors.ModelError: model exists: choose another place, or replace it with
        --overwrite
        """
        check_is_fitted(self)
        with model_folder(path, overwrite=overwrite) as folder:
            self._save(folder)

    def _save(self, folder: Path) -> None:
        names = getattr(self, "feature_names_in_", None)
        fitted = {name: getattr(self, name) for name in self._saved} | {
            "sample_shape_": None if self.sample_shape_ is None else list(self.sample_shape_),
            "feature_names_in_": None if names is None else list(names),
        }
        fitted |= {name: getattr(self, name).tolist() for name in self._arrays}
        for name in _STANDARDS if self.standardize else ():
            fitted[name] = getattr(self, name).tolist()
        about = getattr(self, "_about", None)
        kind = type(self).__name__
        write_model(folder, kind, self._plain_params(), fitted, self.cluster_centers_, about)
        remove_checkpoint(folder)

    def _plain_params(self) -> dict[str, Any]:
        """Options as JSON; initial centres and callables are named, not stored."""
        params = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        params["random_state"] = int(self.seed_)
        if not isinstance(self.init, str):
            params["init"] = "callable" if callable(self.init) else "array"
        return params

    def _apply(
        self, X: Any, function: Function, dtype: Any, width: int | None,
        recut: Callable[[Dataset], Cut] = lambda data: data.cut,
    ) -> Any:  # fmt: skip
        """``function`` of all rows, in blocks of a cut: at once for arrays, lazily for all else."""
        if in_memory(X):
            data = array_dataset(X)
            with data.session() as session:
                session.recut(recut(data))
                parts = sorted(session.reduce(Apply(function), "labels"), key=lambda part: part[0])
            return np.concatenate([rows for _, rows in parts])
        if is_dask_array(X):
            return map_rows(X, function, dtype, width)
        data = view(X)
        return lazy_rows(data.reader, recut(data), function, dtype, width)

    @contextmanager
    def _rows_of(self, X: Any, sample_weight: Any) -> Iterator[Dataset]:
        """The rows as they were clustered, with their weights."""
        X = self._checked(X)
        if in_memory(X):
            yield array_dataset(X).weighted(sample_weight).mapped(self.row_map_)
            return
        with dataset(X) as data:
            yield data.weighted(sample_weight).mapped(self.row_map_)

    def _checked(self, X: Any) -> Any:
        """``X`` with the number of features that was fitted."""
        check_is_fitted(self)
        if is_array_like(X):
            return self._validated(X, reset=False)
        self._checked_width(int(np.prod(X.shape[1:])) if is_dask_array(X) else view(X).n_features)
        return X

    def _checked_width(self, n_features: int) -> None:
        if n_features != self.n_features_in_:
            raise InputError(
                f"X has {n_features} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )

    def _validated(self, X: Any, *, reset: bool) -> npt.NDArray[Any] | SparseRows:
        rows = validate_data(
            self, X, reset=reset, dtype=_ARRAY_TYPES, order="C", accept_sparse="csr"
        )
        if sparse.issparse(rows):
            return SparseRows.of(rows)
        array: npt.NDArray[Any] = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("="))
        return array

    def _shared_options(self, X: Any, seed: int | None) -> dict[str, Any]:
        """The options that all fits have, checked."""
        n_clusters = integer("n_clusters", self.n_clusters, 1)
        init = self._init(X, n_clusters)
        drawn = (isinstance(init, str) and init == "random") or callable(init)
        n_init = self.n_init
        if n_init == "auto" or isinstance(init, np.ndarray):
            n_init = 10 if drawn else 1
        tol = self.tol
        if not is_number(tol) or not 0 <= tol < np.inf:
            raise InputError(f"tol={tol!r} should be a number >= 0")
        return {
            "n_clusters": n_clusters,
            "init": init,
            "n_init": integer("n_init", n_init, 1),
            "max_iter": integer("max_iter", self.max_iter, 1),
            "tol": float(tol),
            "standardize": self._flag("standardize"),
            "seed": self._seed() if seed is None or self.random_state is not None else seed,
        }

    def _flag(self, name: str) -> bool:
        value = getattr(self, name)
        if not isinstance(value, (bool, np.bool_)):
            raise InputError(f"{name}={value!r} should be True or False")
        return bool(value)

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            if not 0 <= int(self.random_state) < 2**63:
                raise InputError(f"random_state={self.random_state} should be >= 0 and below 2**63")
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _init(self, X: Any, n_clusters: int) -> Any:
        before = getattr(self, "cluster_centers_", None)
        warm = hasattr(self, "warm_start") and self._flag("warm_start")
        if warm and before is not None and len(before) == n_clusters:
            return before
        if isinstance(self.init, str):
            return one_of("init", self.init, self._inits, ", an array or a callable")
        if callable(self.init):
            return lambda seed, restart: self.init(
                X, n_clusters, random_state=np.random.RandomState(_bits(seed, restart))
            )
        try:
            return np.array(self.init, dtype=np.float64, order="C")
        except (TypeError, ValueError) as error:
            raise InputError(
                f"init={self.init!r} should be one of {self._inits}, an array or a callable"
            ) from error

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.sparse = True
        return tags


def top_terms(centers: Any, terms: list[str], most: int = 10) -> list[list[str]]:
    """The terms of the largest weights of each centre above 0, the largest first."""
    order = np.argsort(-centers, axis=1, kind="stable")[:, :most]
    return [
        [terms[i] for i in row.tolist() if center[i] > 0]
        for row, center in zip(order, centers, strict=True)
    ]


def _bits(seed: int, restart: int) -> np.random.MT19937:
    """A restart's own stream: one that is gone on with, or done again, draws the same."""
    return np.random.MT19937(np.random.SeedSequence([seed, restart]))


def in_memory(X: Any) -> TypeGuard[npt.NDArray[Any] | SparseRows]:
    """Whether ``X`` is rows that were validated."""
    return isinstance(X, (np.ndarray, SparseRows))


def is_number(value: Any) -> bool:
    """Whether a value is a real number, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def integer(name: str, value: Any, lowest: int) -> int:
    """The value, if it is an integer and not below ``lowest``."""
    if not is_number(value) or not isinstance(value, numbers.Integral) or value < lowest:
        raise InputError(f"{name}={value!r} should be an integer >= {lowest}")
    return int(value)


def one_of(name: str, value: Any, names: tuple[str, ...], others: str = "") -> str:
    """The value, if it is one of some names."""
    if not isinstance(value, str) or value not in names:
        raise InputError(f"{name}={value!r} should be one of {names}{others}")
    return value


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    # JSON has no infinity; `float` reads this one.
    return "inf" if isinstance(value, float) and np.isinf(value) else value
