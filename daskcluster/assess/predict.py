"""What a model says of a store's rows, written beside it: labels, or responsibilities."""

import hashlib
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from daskcluster.assess.written import LABELS_FORMAT, RESPONSIBILITIES_FORMAT
from daskcluster.convert import convert_text
from daskcluster.engine import Progress, Session
from daskcluster.engine.tasks import versions
from daskcluster.errors import InputError
from daskcluster.fit import KMeans, SoftKMeans
from daskcluster.fit.data import Dataset, store_dataset, temporary_store
from daskcluster.fit.estimator import Clusterer
from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.outputs import Label, Membership
from daskcluster.sizing import CHUNK_BYTES, Cut, real_grid
from daskcluster.store import ArraySpec, Build, BuildReader, Store, building, open_store
from daskcluster.store.layout import is_url

Function = Callable[[Batch], npt.NDArray[Any]]


@dataclass(frozen=True)
class WriteRows:
    """Reduction: write a function of every block, a chunk at a time; returns how many rows."""

    function: Function
    build: Build
    name: str
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[int, None]:
        size = self.build.rows_per_chunk
        for i in range(0, len(batch.rows), size):
            part = Batch(batch.start + i, batch.rows[i : i + size])
            self.build.write(self.name, part.start, self.function(part))
        return len(batch.rows), None

    def merge(self, a: int, b: int) -> int:
        return a + b


@dataclass(frozen=True)
class CountLabels:
    """Reduction: rows of each label."""

    n_clusters: int
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[npt.NDArray[np.int64], None]:
        return np.bincount(batch.rows, minlength=self.n_clusters), None

    def merge(self, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return a + b


@dataclass(frozen=True)
class SumShares:
    """Reduction: each cluster's sum of responsibilities, as limbs."""

    n_rows: int
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[exact.Ints, None]:
        grid = real_grid(self.n_rows, 1)
        runs = range(0, len(batch.rows), 4096)
        parts = [batch.rows[i : i + 4096].astype(np.float64) for i in runs]
        return exact.carry(np.sum([exact.column_sums(p, grid) for p in parts], axis=0)), None

    def merge(self, a: exact.Ints, b: exact.Ints) -> exact.Ints:
        return exact.carry(a + b)


class _Prediction(ABC):
    """One kind of array that is written."""

    format: ClassVar[str]
    name: ClassVar[str]
    """Of the array in its build."""

    def __init__(self, model: Any, data: Dataset) -> None:
        self.model, self.data = model, data
        self.n_clusters = check_features(model, data)

    @property
    @abstractmethod
    def cut(self) -> Cut:
        """The blocks of rows that are read."""

    @property
    @abstractmethod
    def rows_per_chunk(self) -> int:
        """Rows that are written at once; divides a block."""

    @property
    @abstractmethod
    def spec(self) -> ArraySpec: ...

    @property
    @abstractmethod
    def function(self) -> Function: ...

    @abstractmethod
    def check(self, session: Session) -> dict[str, Any]:
        """What is said of the whole, from the chunks as they lie on disk."""

    @property
    def recipe(self) -> dict[str, Any]:
        centers = hashlib.sha256(self.model.cluster_centers_.tobytes()).hexdigest()
        return {
            "store_build": self.data.build,
            "centers": centers[:16],
            "map": None if self.model.row_map_ is None else self.model.row_map_.token,
            "rows": self.data.n_rows,
            "rows_per_chunk": self.rows_per_chunk,
            "daskcluster": versions()["daskcluster"],
        }


class _Labels(_Prediction):
    """The label of every row."""

    format = LABELS_FORMAT
    name = "labels"

    @property
    def cut(self) -> Cut:
        return self.data.cut

    @property
    def rows_per_chunk(self) -> int:
        return self.cut.rows_per_block

    @property
    def spec(self) -> ArraySpec:
        return ArraySpec(self.name, (), "int32", fill_value=-1)

    @property
    def function(self) -> Function:
        function: Function = self.model._mapped(Label(self.model.cluster_centers_))
        return function

    def check(self, session: Session) -> dict[str, Any]:
        sizes = session.reduce(CountLabels(self.n_clusters), "check")
        return {"cluster_sizes": sizes.tolist()}


class _Responsibilities(_Prediction):
    """The responsibility of every cluster for every row."""

    format = RESPONSIBILITIES_FORMAT
    name = "responsibilities"

    @property
    def cut(self) -> Cut:
        return self.data.aligned(self.n_clusters)

    @property
    def rows_per_chunk(self) -> int:
        # A block of narrow rows may be far smaller than what is said of it.
        rows, itemsize = self.cut.rows_per_block, self.model.softness_.dtype.itemsize
        while rows % 2 == 0 and rows > 32 and rows * self.n_clusters * itemsize > CHUNK_BYTES:
            rows //= 2
        return rows

    @property
    def spec(self) -> ArraySpec:
        return ArraySpec(self.name, (self.n_clusters,), self.model.softness_.precision)

    @property
    def function(self) -> Function:
        membership = Membership(self.model.cluster_centers_, self.model.softness_)
        function: Function = self.model._mapped(membership)
        return function

    @property
    def recipe(self) -> dict[str, Any]:
        softness = self.model.softness_
        return super().recipe | {
            "beta": str(softness.beta), "metric": softness.metric, "precision": softness.precision,
        }  # fmt: skip

    def check(self, session: Session) -> dict[str, Any]:
        sums = session.reduce(SumShares(self.data.n_rows), "check")
        weights = exact.rounded(sums, real_grid(self.data.n_rows, 1))
        return {"cluster_weights": weights.tolist(), "dtype": self.model.softness_.precision}


def predict_labels(
    model: KMeans | SoftKMeans,
    store: str | os.PathLike[str] | Store,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the label of every row of ``store`` to ``out``, a sealed store of one array.

    The workers write whole chunks; the driver never holds the labels. Read them with `open_labels`,
    or any reader of Zarr.

    Parameters
    ----------
    model : KMeans, SoftKMeans or MiniBatchKMeans
        Fitted, or loaded.
    store : Store, path or URL
        Rows of as many features as the model was fitted to. For a model of a store of text also a
        folder, archive or JSON lines of new documents, as `convert_text` takes them.
    out : path or URL
        Where to write.
    overwrite : bool, default=False
        Replace what is there, of the same kind.
    resume : bool, default=False
        Go on with a prediction that ended early; one that is finished is left as it is.
    progress : Progress, optional
        Told of the rows that are through.

    Returns
    -------
    dict
        n_rows, n_clusters, cluster_sizes, out, array (Zarr's path to the labels), passes, seconds.

    Raises
    ------
    InputError
        The model is of other features.
    StoreError
        The store is missing or damaged, or something is at ``out`` that may not be replaced.
    Interrupted, ClusterLost
        Ended early; what is written stays, for ``resume`` or ``overwrite``.
    NotFittedError
        The model is not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, convert_npy, open_labels, predict_labels
    >>> np.save("rows.npy", np.array([[0.0], [9.0], [8.0]]))
    >>> store = convert_npy("rows.npy", "rows.zarr")
    >>> model = KMeans(2, init=[[0.0], [9.0]]).fit(store)
    >>> facts = predict_labels(model, store, "labels.zarr")
    >>> facts["cluster_sizes"], facts["array"]
    ([1, 2], 'labels.zarr/build-.../labels')
    >>> open_labels("labels.zarr")
    array([0, 1, 1], dtype=int32)
    """
    with rows_of(model, store, progress) as found:
        kind = _Labels(model, store_dataset(found))
        return _predict(kind, found, out, overwrite, resume, progress)


def predict_responsibilities(
    model: SoftKMeans,
    store: str | os.PathLike[str] | Store,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the responsibilities of all clusters for every row of ``store`` to ``out``.

    As `predict_labels`, an array of shape (n_rows, n_clusters) in the precision of the fit. Read it
    with `open_responsibilities`.

    Parameters
    ----------
    model : SoftKMeans
        Fitted, or loaded.
    store : Store, path or URL
        Rows of as many features as the model was fitted to. For a model of a store of text also a
        folder, archive or JSON lines of new documents, as `convert_text` takes them.
    out : path or URL
        Where to write.
    overwrite : bool, default=False
        Replace what is there, of the same kind.
    resume : bool, default=False
        Go on with a prediction that ended early; one that is finished is left as it is.
    progress : Progress, optional
        Told of the rows that are through.

    Returns
    -------
    dict
        n_rows, n_clusters, cluster_weights (sums of responsibilities), dtype, out, array (Zarr's
        path to them), passes, seconds.

    Raises
    ------
    InputError
        The model is hard, or of other features.
    StoreError
        The store is missing or damaged, or something is at ``out`` that may not be replaced.
    Interrupted, ClusterLost
        Ended early; what is written stays, for ``resume`` or ``overwrite``.
    NotFittedError
        The model is not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import SoftKMeans, convert_npy, predict_responsibilities
    >>> np.save("rows.npy", np.array([[0.0], [0.0], [9.0], [9.0]]))
    >>> store = convert_npy("rows.npy", "rows.zarr")
    >>> soft = SoftKMeans(2, beta=1.0, random_state=0).fit(store)
    >>> facts = predict_responsibilities(soft, store, "shares.zarr")
    >>> np.round(facts["cluster_weights"], 2).tolist()
    [2.0, 2.0]
    """
    if not isinstance(model, SoftKMeans):
        raise InputError(
            "a hard model has labels and no responsibilities: predict labels, or fit a soft model"
        )
    with rows_of(model, store, progress) as found:
        kind = _Responsibilities(model, store_dataset(found))
        return _predict(kind, found, out, overwrite, resume, progress)


@contextmanager
def rows_of(
    model: Any, store: str | os.PathLike[str] | Store, progress: Progress | None
) -> Iterator[Store]:
    """A store, or documents as one: by the terms of the store that the model was fitted to."""
    check_is_fitted(model)
    if isinstance(store, Store) or is_url(os.fspath(store)) or not _is_text(store):
        yield open_store(store)
        return
    if model.source_ is None or (text := (like := open_store(model.source_)).info.text) is None:
        raise InputError(
            f"{store} holds documents, and the model was not fitted to a store of text: convert "
            "them with `daskcluster convert text --like STORE`, and give the store"
        )
    decoding = {name: text["source"][name] for name in ("encoding", "decode_error")}
    with temporary_store() as path:
        yield convert_text(store, path, like=like, progress=progress, **decoding)


def _is_text(path: str | os.PathLike[str]) -> bool:
    """Whether a path is no Zarr group or array, but there."""
    there = Path(path)
    marks = ("zarr.json", ".zgroup", ".zarray")
    return there.exists() and not any((there / mark).exists() for mark in marks)


def _predict(
    kind: _Prediction, store: Store, out: str | os.PathLike[str], overwrite: bool, resume: bool,
    progress: Progress | None,
) -> dict[str, Any]:  # fmt: skip
    began = time.perf_counter()
    n_rows = kind.data.n_rows
    with building(
        out, n_rows=n_rows, rows_per_chunk=kind.rows_per_chunk, kind=kind.format,
        recipe=kind.recipe, overwrite=overwrite, resume=resume,
    ) as build:  # fmt: skip
        passes = 0.0
        if not build.sealed:
            build.create_array(kind.spec)
            passes = _write(build, kind, progress)
        found = _read_back(build, kind, progress)
        if not build.sealed:
            build.seal(_describe(build, kind, store))
    return {
        "n_rows": n_rows,
        "n_clusters": kind.n_clusters,
        **found,
        "out": build.path,
        "array": f"{build.path}/{build.folder}/{kind.name}",
        "passes": passes,
        "seconds": time.perf_counter() - began,
    }


def _write(build: Build, kind: _Prediction, progress: Progress | None) -> float:
    """Write what is missing; returns the passes over the data that it took."""
    per_block = kind.cut.rows_per_block // kind.rows_per_chunk
    missing = sorted({chunk // per_block for chunk in build.missing(kind.name)})
    if not missing:
        return 0.0
    with kind.data.session(progress) as session:
        session.recut(kind.cut)
        session.reduce(WriteRows(kind.function, build, kind.name), "predict", missing, told=True)
        return session.passes


def _read_back(build: Build, kind: _Prediction, progress: Progress | None) -> dict[str, Any]:
    """What is written is read once before it is sealed."""
    reader = BuildReader(build.path, build.id, name=kind.name)
    row_bytes = np.dtype(kind.spec.dtype).itemsize * math.prod(kind.spec.row_shape)
    cut = Cut(kind.data.n_rows, kind.rows_per_chunk)
    with Session(reader, cut, row_bytes * cut.n_rows, progress=progress) as session:
        return kind.check(session)


def _describe(build: Build, kind: _Prediction, store: Store) -> dict[str, Any]:
    return {
        "format": kind.format,
        "format_version": 1,
        "build": build.id,
        "n_rows": build.n_rows,
        "n_clusters": kind.n_clusters,
        "rows_per_chunk": build.rows_per_chunk,
        "dtype": kind.spec.dtype,
        "store": store.path,
        "store_build": store.info.build,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check_features(model: Clusterer, data: Dataset) -> int:
    """The number of clusters of a model; raises `InputError` if it is not for rows like these."""
    n_clusters, n_features = model.cluster_centers_.shape
    if data.n_features != n_features:
        raise InputError(
            f"{data.name} has {data.n_features} features, the model {n_features}: give the store "
            "that belongs to the model, or fit a model to this one"
        )
    return int(n_clusters)
