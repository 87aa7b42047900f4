"""What a fit may be given, and how its rows are read."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.convert import convert_dask, convert_rows
from daskcluster.convert.blocks import convert_sparse_dask, is_sparse_dask
from daskcluster.engine import Progress, Reader, Session
from daskcluster.engine.lazy import is_dask_array, temporary_directory
from daskcluster.errors import InputError
from daskcluster.fit.readers import ArrayReader, MappedReader, WeightedReader
from daskcluster.fit.weights import Whole, whole_weights
from daskcluster.kernels.moments import Moments
from daskcluster.kernels.rowmaps import RowMap
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.sizing import (
    SPARSE_GRAIN,
    Cut,
    aligned,
    check_row_type,
    chunk_rows,
    cut_blocks,
    soft_rows,
    sparse_bytes,
    sparse_chunk_rows,
)
from daskcluster.store import Store, ZarrRows, open_rows, open_store, zarr_array
from daskcluster.survey import Scale, scale_of, survey, survey_with

_LOG = logging.getLogger(__name__)

# What is done to a feature of dense centres in an iteration, in comparisons of stored elements.
WIDE_FEATURES = 60


@dataclass(frozen=True)
class Dataset:
    """Rows that a session can go over."""

    name: str
    n_rows: int
    n_features: int
    dtype: str
    reader: Reader
    cut: Cut
    moments: Moments | None = None
    """None where nobody has computed them yet."""
    build: str | None = None
    """Build of the store; None for what is not a sealed store."""
    sample_shape: tuple[int, ...] | None = None
    stored: int | None = None
    """Elements that sparse rows hold; None for dense ones."""
    store: Store | None = None
    """What the rows are read from, where it is a sealed store."""
    weights: Whole | None = None
    """How many rows each stands for, shape (n_rows,); None for one each."""
    weight_unit: int = 0
    """Weights count in units of ``2**weight_unit``."""

    @property
    def nbytes(self) -> int:
        """Decoded bytes."""
        itemsize = np.dtype(self.dtype).itemsize
        if self.stored is None:
            return self.n_rows * self.n_features * itemsize
        return sparse_bytes(self.n_rows, self.stored, itemsize)

    def aligned(self, n_clusters: int) -> Cut:
        """Blocks of whole runs of rows, which one product of soft k-means covers."""
        if self.sparse:
            return aligned(self.cut, SPARSE_GRAIN, self.nbytes // self.n_rows)
        rows = soft_rows(self.n_features, n_clusters)
        return aligned(self.cut, rows, self.nbytes // self.n_rows)

    @property
    def sparse(self) -> bool:
        """Whether blocks hold `SparseRows`."""
        return self.stored is not None

    @property
    def population(self) -> int:
        """What all rows weigh, in units; their number where they have no weights."""
        return self.n_rows if self.weights is None else int(self.weights.sum())

    def weighted(self, sample_weight: Any) -> "Dataset":
        """The same rows, each as often as it weighs; see `weights.whole_weights`."""
        return self.weighing(*whole_weights(sample_weight, self.n_rows, self.name))

    def weighing(self, weights: Whole | None, unit: int) -> "Dataset":
        """The same with weights in units of ``2**unit``."""
        if weights is None:
            return self
        reader = WeightedReader(self.reader, weights)
        return replace(self, reader=reader, weights=weights, weight_unit=unit, moments=None)

    @property
    def wide(self) -> bool:
        """Whether sparse rows have so many features that sparse centres take less time."""
        return self.stored is not None and WIDE_FEATURES * self.n_features > self.stored

    def mapped(self, rows: RowMap | None) -> "Dataset":
        """The same rows, mapped; those in memory at once, all others as they are read."""
        if rows is None:
            return self
        if isinstance(self.reader, WeightedReader):
            plain = replace(self, reader=self.reader.reader, weights=None, weight_unit=0)
            return plain.mapped(rows).weighing(self.weights, self.weight_unit)
        if isinstance(self.reader, ArrayReader):
            return replace(array_dataset(rows(self.reader.array)), name=self.name)
        return replace(
            self, reader=MappedReader(self.reader, rows), dtype="float64", moments=None, store=None
        )

    def session(self, progress: Progress | None = None) -> Session:
        """A session over these rows; it keeps no decoded blocks until it is told to."""
        return Session(self.reader, self.cut, self.nbytes, progress=progress)

    def known_moments(self, session: Session) -> Moments:
        """The moments, found in a counted pass where the store does not have them."""
        return self.moments or survey(session, self.name, self.population, self.dtype)

    def scale(self, session: Session) -> Scale:
        """What the moments say of the data's size and place."""
        return self._scale_of(self.known_moments(session))

    def scale_with(
        self, session: Session, others: tuple[Any, ...]
    ) -> tuple[Scale, tuple[Any, ...] | None]:
        """The same, and the partials of other reductions; None where no pass is needed."""
        if self.moments is not None:
            return self._scale_of(self.moments), None
        moments, found = survey_with(session, self.name, self.population, self.dtype, others)
        return self._scale_of(moments), found

    def _scale_of(self, moments: Moments) -> Scale:
        scale = scale_of(moments, sparse=self.sparse)
        return replace(scale, weight_unit=self.weight_unit)


def is_array_like(X: Any) -> bool:
    """Whether ``X`` is for NumPy: neither a path, a store, a Zarr array nor a Dask array."""
    if isinstance(X, (str, os.PathLike, Store)) or is_dask_array(X):
        return False
    return not hasattr(X, "store_path")


@contextmanager
def dataset(X: Any, progress: Progress | None = None) -> Iterator[Dataset]:
    """Open what a fit was given.

    Parameters
    ----------
    X : path, URL, Store, zarr.Array, dask.array.Array or ndarray
        Zarr arrays whose rows lie in one chunk each are read in place. Others, and Dask arrays,
        are written once to a temporary store, which is deleted afterwards.
    """
    if is_dask_array(X):
        # Of sparse blocks nobody knows the size before they are there.
        sparse = is_sparse_dask(X)
        with _temporary(0 if sparse else X.nbytes, "a Dask array") as path:
            write = convert_sparse_dask if sparse else convert_dask
            yield _passing(write(X, path, progress=progress))
        return
    data = view(X)
    if not isinstance(data.reader, ZarrRows) or data.reader.in_place:
        yield data
        return
    with _temporary(data.nbytes, f"{data.name}, whose rows span chunks,") as path:
        yield _passing(convert_rows(_ZarrSource(data.reader), path, progress=progress))


def _passing(store: Store) -> "Dataset":
    """A temporary store: its build is new each time, and says nothing of the rows."""
    return replace(store_dataset(store), build=None)


def view(X: Any) -> Dataset:
    """The rows of anything but a Dask array, where they are: for reading once."""
    if isinstance(X, (str, os.PathLike)):
        array = zarr_array(X)
        X = open_store(X) if array is None else array
    if isinstance(X, Store):
        return store_dataset(X)
    if isinstance(X, np.ndarray):
        return array_dataset(X)
    return zarr_dataset(open_rows(X))


def store_dataset(store: Store, *, with_labels: bool = False) -> Dataset:
    """The rows of a sealed store."""
    info = store.info
    row_bytes = max(info.nbytes // info.n_rows, 1)
    return Dataset(
        name=store.path,
        n_rows=info.n_rows,
        n_features=info.n_features,
        dtype=info.dtype,
        reader=store.reader(with_labels=with_labels),
        cut=cut_blocks(info.n_rows, info.rows_per_chunk, row_bytes),
        moments=info.moments,
        build=info.build,
        sample_shape=info.sample_shape,
        stored=None if info.sparse is None else info.sparse["stored"],
        store=store,
    )


def array_dataset(X: Any) -> Dataset:
    """The rows of an array in memory, or `SparseRows`."""
    if is_sparse(X):
        return _sparse_dataset(X)
    n_rows, n_features = X.shape
    rows = min(chunk_rows(n_rows, n_features, X.itemsize), max(1024, n_rows // 16))
    dtype = check_row_type(X.dtype, "X")
    return Dataset("X", n_rows, n_features, dtype, ArrayReader(X), Cut(n_rows, rows))


def _sparse_dataset(X: SparseRows) -> Dataset:
    n_rows, n_features = X.shape
    rows = sparse_chunk_rows(n_rows, len(X.data), X.dtype.itemsize)
    rows = min(rows, max(1024, n_rows // 16))
    dtype, stored = check_row_type(X.dtype, "X"), len(X.data)
    return Dataset("X", n_rows, n_features, dtype, ArrayReader(X), Cut(n_rows, rows), stored=stored)


def zarr_dataset(rows: ZarrRows) -> Dataset:
    """The rows of somebody's Zarr array, read in place."""
    dtype = check_row_type(rows.array.dtype, rows.token)
    itemsize = np.dtype(dtype).itemsize
    # Chunks of some columns may span all rows: whole chunks would then be all of the data.
    per_chunk = (
        rows.rows_per_chunk if rows.in_place else chunk_rows(rows.n_rows, rows.n_features, itemsize)
    )
    cut = cut_blocks(rows.n_rows, per_chunk, rows.n_features * itemsize)
    return Dataset(str(rows.array.store_path), rows.n_rows, rows.n_features, dtype, rows, cut)


@dataclass(frozen=True)
class _ZarrSource:
    """A Zarr array of any shape as rows to convert."""

    rows: ZarrRows
    seekable = True

    @property
    def path(self) -> str:
        return str(self.rows.array.store_path)

    @property
    def n_rows(self) -> int:
        return self.rows.n_rows

    @property
    def n_features(self) -> int:
        return self.rows.n_features

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self.rows.array.shape[1:])

    @property
    def dtype(self) -> Any:
        return self.rows.array.dtype

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        return self.rows.rows(start, stop)

    def blocks(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        for start in range(0, self.n_rows, rows):
            yield self.read(start, min(start + rows, self.n_rows))


@contextmanager
def temporary_store() -> Iterator[str]:
    """A place for a temporary store, where Dask keeps its temporary files."""
    folder = tempfile.mkdtemp(prefix="daskcluster-", dir=temporary_directory())
    try:
        yield str(Path(folder) / "rows.zarr")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _temporary(n_bytes: int, what: str) -> Iterator[str]:
    """A place for a temporary store, where Dask keeps its temporary files."""
    folder = tempfile.mkdtemp(prefix="daskcluster-", dir=temporary_directory())
    if n_bytes > (free := shutil.disk_usage(folder).free):
        shutil.rmtree(folder)
        raise InputError(
            f"{what} holds {n_bytes:,} bytes and {folder} has {free:,} free: set Dask's "
            "temporary-directory to a larger disk, or convert the data first"
        )
    _LOG.warning(
        "%s is written once to %s (%s bytes before compression)", what, folder, f"{n_bytes:,}"
    )
    try:
        yield str(Path(folder) / "rows.zarr")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
