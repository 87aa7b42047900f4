"""What a model says of a store: labels written beside it, and scores against its classes."""

import hashlib
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.engine import Progress, Session
from daskcluster.engine.tasks import versions
from daskcluster.errors import InputError
from daskcluster.fit.data import Dataset, store_dataset
from daskcluster.fit.kmeans import KMeans
from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.hard import Assign, HardPartial, merge_hard
from daskcluster.kernels.outputs import Label
from daskcluster.metrics import contingency_table, merge_tables, score_table
from daskcluster.store import ArraySpec, Build, BuildReader, Store, building, open_store
from daskcluster.store.layout import plain_path
from daskcluster.store.reading import BuildArray, root_attributes
from daskcluster.survey import scale_of

LABELS_FORMAT = "daskcluster-labels"


@dataclass(frozen=True)
class WriteLabels:
    """Reduction: write the labels of every block; returns how many rows they are of."""

    label: Label
    build: Build
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[int, None]:
        self.build.write("labels", batch.start, self.label(batch))
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


def predict_labels(
    model: KMeans,
    store: str | os.PathLike[str] | Store,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the label of every row of ``store`` to ``out``, a sealed store of one array.

    The workers write whole chunks; the driver never holds the labels. Read them with `open_labels`.
    With ``resume`` a prediction that ended early goes on, and a finished one is left as it is.

    Returns
    -------
    dict
        n_rows, n_clusters, cluster_sizes, out, array (Zarr's path to the labels), passes, seconds.
    """
    began = time.perf_counter()
    store = open_store(store)
    data = store_dataset(store)
    n_clusters = _check_features(model, data)
    with building(
        out, n_rows=data.n_rows, rows_per_chunk=data.cut.rows_per_block, kind=LABELS_FORMAT,
        recipe=_recipe(store, model, data), overwrite=overwrite, resume=resume,
    ) as build:  # fmt: skip
        passes = 0.0
        if not build.sealed:
            build.create_array(ArraySpec("labels", (), "int32", fill_value=-1))
            passes = _write_labels(build, data, model, progress)
        sizes = _count_labels(build, data, n_clusters, progress)
        if not build.sealed:
            build.seal(_describe(build, store, model))
    return {
        "n_rows": data.n_rows,
        "n_clusters": n_clusters,
        "cluster_sizes": sizes.tolist(),
        "out": build.path,
        "array": f"{build.path}/{build.folder}/labels",
        "passes": passes,
        "seconds": time.perf_counter() - began,
    }


def _recipe(store: Store, model: KMeans, data: Dataset) -> dict[str, Any]:
    centers = hashlib.sha256(model.cluster_centers_.tobytes()).hexdigest()
    return {
        "store_build": store.info.build,
        "centers": centers[:16],
        "rows": data.n_rows,
        "rows_per_chunk": data.cut.rows_per_block,
        "daskcluster": versions()["daskcluster"],
    }


def _write_labels(build: Build, data: Dataset, model: KMeans, progress: Progress | None) -> float:
    """Write what is missing; returns the passes over the data that it took."""
    missing = build.missing("labels")
    if not missing:
        return 0.0
    with data.session(progress) as session:
        session.reduce(WriteLabels(Label(model.cluster_centers_), build), "predict", missing)
        return session.passes


def _count_labels(
    build: Build, data: Dataset, n_clusters: int, progress: Progress | None
) -> npt.NDArray[np.int64]:
    """Cluster sizes, from the labels as they lie on disk: each is read back before it is sealed."""
    reader = BuildReader(build.path, build.id, name="labels")
    with Session(reader, data.cut, 4 * data.n_rows, progress=progress) as session:
        sizes: npt.NDArray[np.int64] = session.reduce(CountLabels(n_clusters), "check")
    return sizes


def _describe(build: Build, store: Store, model: KMeans) -> dict[str, Any]:
    return {
        "format": LABELS_FORMAT,
        "format_version": 1,
        "build": build.id,
        "n_rows": build.n_rows,
        "n_clusters": len(model.cluster_centers_),
        "store": store.path,
        "store_build": store.info.build,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def open_labels(path: str | os.PathLike[str]) -> npt.NDArray[np.int32]:
    """All labels that `predict_labels` wrote, shape (n_rows,).

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, convert_npy, open_labels, predict_labels
    >>> folder = getfixture("tmp_path")
    >>> np.save(folder / "rows.npy", np.array([[0.0], [9.0], [8.0]]))
    >>> store = convert_npy(folder / "rows.npy", folder / "rows.zarr")
    >>> model = KMeans(2, init=[[0.0], [9.0]]).fit(store)
    >>> _ = predict_labels(model, store, folder / "labels.zarr")
    >>> open_labels(folder / "labels.zarr")
    array([0, 1, 1], dtype=int32)
    """
    path = plain_path(path)
    attributes = describe_labels(path)
    return BuildArray(path, attributes["build"], "labels").rows(0, attributes["n_rows"])


def describe_labels(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What labels written by `predict_labels` say of themselves, checked."""
    path = plain_path(path)
    attributes = root_attributes(path)
    if not isinstance(attributes, dict) or attributes.get("format") != LABELS_FORMAT:
        raise InputError(f"{path} holds no labels: write them with `daskcluster predict`")
    build, n_rows = attributes.get("build"), attributes.get("n_rows")
    if not isinstance(build, str) or type(n_rows) is not int:
        raise InputError(f"{path}: damaged attributes; run `daskcluster predict` again")
    return attributes


@dataclass(frozen=True)
class Evaluation:
    """Partial of `Evaluate`; both parts add."""

    hard: HardPartial
    table: npt.NDArray[np.int64] | None
    """Contingency table (n_clusters, n_classes), None without classes."""


@dataclass(frozen=True)
class Evaluate:
    """Reduction: cluster sums and the contingency table, in one pass."""

    assign: Assign
    n_classes: int
    """0 without classes."""
    state_kind = None

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the sums of one partial."""
        return self.assign.partial_nbytes

    def step(self, batch: Batch, state: None) -> tuple[Evaluation, None]:
        partial, labelled = self.assign.step(batch, None)
        table = None
        if batch.labels is not None and self.n_classes:
            n_clusters = len(self.assign.centers)
            table = contingency_table(labelled.labels, batch.labels, n_clusters, self.n_classes)
        return Evaluation(partial, table), None

    def merge(self, a: Evaluation, b: Evaluation) -> Evaluation:
        table = None if a.table is None or b.table is None else merge_tables(a.table, b.table)
        return Evaluation(merge_hard(a.hard, b.hard), table)


def evaluate(
    model: KMeans, store: str | os.PathLike[str] | Store, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Scores of a model on a store, in one pass.

    Returns
    -------
    dict
        n_rows, n_clusters, inertia; purity, gini, ari, nmi, homogeneity, completeness, v_measure,
        fowlkes_mallows, contingency and class_names where the store has labels, else None;
        silhouette, calinski_harabasz and davies_bouldin.
    """
    store = open_store(store)
    data = store_dataset(store, with_labels=store.has_labels)
    n_clusters = _check_features(model, data)
    names = store.info.class_names
    with data.session(progress) as session:
        found, inertia = _evaluate(session, data, model, len(names or ()))
    scores = score_table(found.table if found.table is not None else np.zeros((1, 1), np.int64))
    return {
        "n_rows": data.n_rows,
        "n_clusters": n_clusters,
        "inertia": inertia,
        **scores.as_dict(),
        "silhouette": None,
        "calinski_harabasz": None,
        "davies_bouldin": None,
        "contingency": None if found.table is None else found.table.tolist(),
        "class_names": None if names is None else list(names),
    }


def _evaluate(
    session: Session, data: Dataset, model: KMeans, n_classes: int
) -> tuple[Evaluation, float]:
    scale = scale_of(data.known_moments(session))
    centers, grid = model.cluster_centers_, scale.moments.sum_grid
    assign = Assign(centers, None, 0, scale.frame, grid, state_kind=None)
    found: Evaluation = session.reduce(Evaluate(assign, n_classes), "evaluate")
    hard = found.hard
    return found, exact.inertia(scale.total_squares, hard.sums, hard.counts, centers, grid)


def _check_features(model: KMeans, data: Dataset) -> int:
    n_clusters, n_features = model.cluster_centers_.shape
    if data.n_features != n_features:
        raise InputError(
            f"{data.name} has {data.n_features} features, the model {n_features}: give the store "
            "that belongs to the model, or fit a model to this one"
        )
    return int(n_clusters)
