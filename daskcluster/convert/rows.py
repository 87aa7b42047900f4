"""Rows of any kind to a sealed store."""

import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from daskcluster.engine import Progress, Session
from daskcluster.engine.lazy import flat, write_dask
from daskcluster.engine.progress import Pass, tell, tell_pass
from daskcluster.engine.stopping import current_stop
from daskcluster.engine.tasks import versions
from daskcluster.errors import InputError
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.moments import largest_magnitude
from daskcluster.sizing import MOST_READ_AHEAD, Block, Cut, check_row_type, chunk_rows, grain_rows
from daskcluster.sources import Source, scan_classes
from daskcluster.sources.table import TableSource
from daskcluster.store import (
    ArraySpec,
    Build,
    BuildReader,
    Store,
    StoreInfo,
    building,
    open_store,
)
from daskcluster.survey import survey

Provenance = Callable[[], tuple[dict[str, Any], ...]]

_BLOCKS_IN_FLIGHT = 3
_LABELS = ArraySpec("labels", (), "int32", fill_value=-1)


class Shaped(Protocol):
    """Rows of known number, shape and type."""

    @property
    def path(self) -> str: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def n_features(self) -> int: ...
    @property
    def sample_shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...


class Rows(Shaped, Protocol):
    """What can be converted: rows by range, or one after the other."""

    @property
    def seekable(self) -> bool: ...
    def read(self, start: int, stop: int) -> npt.NDArray[Any]: ...
    def blocks(self, rows: int) -> Iterator[npt.NDArray[Any]]: ...


@dataclass(frozen=True)
class SourceReader:
    """Reads a source's rows as blocks, so that the engine can map over them."""

    source: Rows
    opened: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Another file may be there the next time."""

    in_memory = False

    @property
    def most_ahead(self) -> int:
        """A decoder of a table holds pages of every column."""
        return 0 if isinstance(self.source, TableSource) else MOST_READ_AHEAD

    @property
    def token(self) -> str:
        return f"source:{self.source.path}#{self.opened}"

    def read(self, block: Block) -> Batch:
        return Batch(block.start, self.source.read(block.start, block.stop))

    def identity(self) -> str:
        path = Path(self.source.path)
        return f"{path.name} {path.stat().st_size if path.exists() else 'missing'}"


@dataclass(frozen=True)
class WriteRows:
    """Reduction: write each block where it belongs; returns the largest magnitude."""

    build: Build
    name: str
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[float, None]:
        return _write(self.build, self.name, batch.start, batch.rows), None

    def merge(self, a: float, b: float) -> float:
        return max(a, b)


def _write(build: Build, name: str, start: int, rows: npt.NDArray[Any]) -> float:
    largest = largest_magnitude(rows, start, name)
    build.write("data", start, rows)
    return largest


class Beside(ABC):
    """What is written beside the rows: labels, ids."""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the codes in ``labels``; None without."""

    @property
    @abstractmethod
    def arrays(self) -> tuple[ArraySpec, ...]:
        """Arrays to be made."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the store says of it: fields of `StoreInfo`."""

    @abstractmethod
    def write(self, build: Build) -> None:
        """Write all of it that does not come with the rows."""


@dataclass(frozen=True)
class FileLabels(Beside):
    """Labels in a file of their own, or none."""

    rows: Rows
    source: Source | None

    @cached_property
    def _classes(self) -> npt.NDArray[np.int64] | None:
        return _classes(self.rows, self.source)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return None if self._classes is None else tuple(str(c) for c in self._classes)

    @property
    def arrays(self) -> tuple[ArraySpec, ...]:
        return () if self._classes is None else (_LABELS,)

    @property
    def facts(self) -> dict[str, Any]:
        return {}

    def write(self, build: Build) -> None:
        if self.source is not None and self._classes is not None:
            _write_labels(build, self.source, self._classes)


def convert_rows(
    rows: Rows,
    store: str | os.PathLike[str],
    *,
    files: tuple[dict[str, Any], ...] | None = None,
    provenance: Provenance = tuple,
    labels: Source | None = None,
    beside: Beside | None = None,
    rows_per_chunk: int | None = None,
    codec: str = "lz4",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Store:
    """Write any `Rows` as a sealed store; ``provenance`` is asked for when all is written.

    With ``files``, which say what is read, a conversion that ends early stays, to be resumed.
    """
    dtype = check_row_type(rows.dtype, rows.path)
    beside = beside or FileLabels(rows, labels)
    class_names = beside.class_names  # refused before anything is written
    per_chunk = chunk_rows(rows.n_rows, rows.n_features, np.dtype(dtype).itemsize, rows_per_chunk)
    recipe = None if files is None else _recipe(rows, dtype, files, per_chunk, codec)
    with building(
        store, n_rows=rows.n_rows, rows_per_chunk=per_chunk, codec=codec, recipe=recipe,
        overwrite=overwrite, resume=resume,
    ) as build:  # fmt: skip
        if not build.sealed:
            build.create_array(ArraySpec("data", (rows.n_features,), dtype))
            for spec in beside.arrays:
                build.create_array(spec)
            beside.write(build)
            if hasattr(rows, "build"):
                rows.build = build
            cut = Cut(rows.n_rows, per_chunk)
            _write_rows(build, rows, cut, progress)
            _seal(build, rows, dtype, class_names, cut, provenance, progress, beside.facts)
    return open_store(store)


def _recipe(
    rows: Shaped, dtype: str, files: tuple[dict[str, Any], ...], per_chunk: int, codec: str
) -> dict[str, Any]:
    return {
        "files": list(files),
        "shape": [rows.n_rows, *rows.sample_shape],
        "dtype": dtype,
        "rows_per_chunk": per_chunk,
        "codec": codec,
        "daskcluster": versions()["daskcluster"],
    }


def convert_dask(
    x: Any, store: str | os.PathLike[str], *, progress: Progress | None = None
) -> Store:
    """Write a Dask array as a store, computed on whatever Dask runs on."""
    rows = _DaskRows(flat(x))
    dtype = check_row_type(rows.dtype, rows.path)
    per_chunk = chunk_rows(rows.n_rows, rows.n_features, np.dtype(dtype).itemsize)
    with building(store, n_rows=rows.n_rows, rows_per_chunk=per_chunk) as build:
        build.create_array(ArraySpec("data", (rows.n_features,), dtype))
        write_dask(rows.array, per_chunk, partial(_write, build, rows.path))
        _seal(build, rows, dtype, None, Cut(rows.n_rows, per_chunk), tuple, progress, {})
    return open_store(store)


@dataclass(frozen=True)
class _DaskRows:
    """What `_seal` asks of rows."""

    array: Any
    path = "the Dask array"

    @property
    def n_rows(self) -> int:
        return int(self.array.shape[0])

    @property
    def n_features(self) -> int:
        return int(self.array.shape[1])

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (self.n_features,)

    @property
    def dtype(self) -> Any:
        return self.array.dtype


def _classes(rows: Rows, labels: Source | None) -> npt.NDArray[np.int64] | None:
    if labels is None:
        return None
    if labels.n_rows != rows.n_rows:
        raise InputError(
            f"{labels.path} holds {labels.n_rows:,} labels and {rows.path} {rows.n_rows:,} rows: "
            "give the labels that belong to these rows"
        )
    return scan_classes(labels)


def _write_labels(build: Build, labels: Source, classes: npt.NDArray[np.int64]) -> None:
    missing = set(build.missing("labels"))
    for index, block in enumerate(labels.blocks(build.rows_per_chunk)):
        if index in missing:
            codes = np.searchsorted(classes, block[:, 0]).astype(np.int32)
            build.write("labels", index * build.rows_per_chunk, codes)


def _write_rows(build: Build, rows: Rows, cut: Cut, progress: Progress | None) -> None:
    missing = build.missing("data")
    if not missing:
        return
    if not rows.seekable:
        _write_forward(build, rows, cut, set(missing), progress)
        return
    n_bytes = rows.n_rows * rows.n_features * np.dtype(rows.dtype).itemsize
    with Session(SourceReader(rows), cut, n_bytes, memory_budget=0, progress=progress) as session:
        session.reduce(WriteRows(build, rows.path), "convert", missing, told=True)


def _write_forward(
    build: Build, rows: Rows, cut: Cut, missing: set[int], progress: Progress | None
) -> None:
    """One reader feeds the writers: a gzip stream has no second place to read from."""
    stop, began = current_stop(), time.perf_counter()
    row_bytes = rows.n_features * np.dtype(rows.dtype).itemsize
    pending: set[Future[float]] = set()
    with ThreadPoolExecutor(_BLOCKS_IN_FLIGHT - 1) as pool:
        for index, block in enumerate(rows.blocks(cut.rows_per_block)):
            stop.check()
            if len(pending) >= _BLOCKS_IN_FLIGHT:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                _check(done)
            start = cut.block(index).start
            if index in missing:
                pending.add(pool.submit(_write, build, rows.path, start, block))
            if progress is not None:
                tell(progress, "decoded", {"bytes": block.nbytes})
                progress.rows("convert", start + len(block), cut.n_rows)
        _check(pending)
    n_bytes = cut.n_rows * row_bytes
    tell_pass(
        progress, Pass("convert", cut.n_rows, cut.n_rows, n_bytes, time.perf_counter() - began)
    )


def _check(done: set[Future[float]]) -> None:
    for future in done:
        future.result()


def _seal(
    build: Build,
    rows: Shaped,
    dtype: str,
    class_names: tuple[str, ...] | None,
    cut: Cut,
    provenance: Provenance,
    progress: Progress | None,
    facts: dict[str, Any],
) -> None:
    """Read everything back, checksums and all, for the moments; then make the build the store."""
    n_bytes = rows.n_rows * rows.n_features * np.dtype(dtype).itemsize
    reader = BuildReader(build.path, build.id, with_labels=class_names is not None)
    with Session(reader, cut, n_bytes, memory_budget=0, progress=progress) as session:
        moments = survey(session, rows.path, rows.n_rows, dtype)
    info = StoreInfo(
        build=build.id,
        n_rows=rows.n_rows,
        n_features=rows.n_features,
        dtype=dtype,
        rows_per_chunk=build.rows_per_chunk,
        grain=grain_rows(rows.n_features),
        codec=build.codec,
        sample_shape=rows.sample_shape or (1,),
        class_names=class_names,
        moments=moments,
        sources=provenance(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=dict(versions()),
        **facts,
    )
    build.seal(info.to_json())
