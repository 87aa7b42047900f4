"""Parquet and CSV files as stores: numeric columns as rows, with labels and ids beside them."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.convert.rows import Beside, convert_rows
from daskcluster.engine import Progress
from daskcluster.sources import sha256
from daskcluster.sources.table import TableSource, open_table
from daskcluster.store import ArraySpec, Build, Store

Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def convert_table(
    files: Files,
    store: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    missing: str = "error",
    rows_per_chunk: int | None = None,
    codec: str = "lz4",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Store:
    r"""Write the numeric columns of Parquet or CSV files as a store.

    Parameters
    ----------
    files : path or sequence of paths
        Files of one kind, or a folder of them; their rows follow each other.
    store : path or URL
        Where to write.
    columns : sequence of str, optional
        The features, in order; by default all numeric columns but those of labels and ids.
    label_column : str, optional
        True classes: integers or texts.
    id_column : str, optional
        Integers or texts that tell rows apart; `predict_parquet` gives them back with the labels.
    missing : {'error', 'drop', 'mean'}, default='error'
        What becomes of missing values: refused, their rows left out, or the mean of their column.
    rows_per_chunk : int, optional
        Rounded up to whole grains; by default near 8 MiB a chunk.
    codec : {'lz4', 'zstd', 'none'}, default='lz4'
        Compression of the chunks. Every chunk has a checksum besides.
    overwrite : bool, default=False
        Replace a store that is there; it stays whole until the new one is.
    resume : bool, default=False
        Go on with a conversion of the same files and options that ended early; one that is
        finished is left as it is.
    progress : Progress, optional
        Told of the rows that are through, such as ``daskcluster.engine.TextLine()``.

    Returns
    -------
    Store
        The sealed store, open. ``store.info.sources[0]["header"]`` says what is not in it:
        columns_left_out, where none were chosen; rows_dropped; values_imputed.

    Raises
    ------
    InputError
        A column is not there or not numeric, schemas differ, or values are missing. Nothing is
        left on disk.
    StoreError
        Something is at ``store`` that may not be replaced.
    Interrupted, ClusterLost
        Ended early; what is written stays, for ``resume`` or ``overwrite``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from daskcluster import convert_table
    >>> _ = Path("rows.csv").write_text("name,x,y\na,1,2.5\nb,3,4.5\n")
    >>> store = convert_table("rows.csv", "rows.zarr", id_column="name")
    >>> store.info.columns, store.ids(0).tolist()
    (('x', 'y'), ['a', 'b'])
    >>> store.rows(0, 2)
    array([[1. , 2.5],
           [3. , 4.5]])
    """
    source = open_table(
        files, columns=columns, label_column=label_column, id_column=id_column, missing=missing
    )
    beside = TableColumns(source)
    rows: Any = source if source.seekable else Forward(source, beside)
    return convert_rows(
        rows, store, files=_identity(source), provenance=lambda: _facts(source), beside=beside,
        rows_per_chunk=rows_per_chunk, codec=codec, overwrite=overwrite, resume=resume,
        progress=progress,
    )  # fmt: skip


def _identity(source: TableSource) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for name in source.files:
        stat = Path(name).stat()
        found.append({
            "name": Path(name).name, "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns,
        })  # fmt: skip
    chosen = {
        "columns": list(source.feature_names), "labels": source.label_column,
        "ids": source.id_column, "missing": source.missing,
    }  # fmt: skip
    return (*found, chosen)


def _facts(source: TableSource) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "name": Path(name).name, "bytes": Path(name).stat().st_size, "sha256": sha256(name),
            "header": source.header(),
        }
        for name in source.files
    )  # fmt: skip


@dataclass(frozen=True)
class TableColumns(Beside):
    """What a table has beside its features."""

    source: TableSource

    @property
    def facts(self) -> dict[str, Any]:
        kind = None
        if self.source.id_column is not None:
            selected = self.source.selection.id
            assert selected is not None
            kind = "text" if np.dtype(selected.dtype) == object else "integers"
        return {"columns": self.source.feature_names, "ids": kind}

    @cached_property
    def _classes(self) -> npt.NDArray[Any] | None:
        return None if self.source.label_column is None else self.source.class_names()

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return None if self._classes is None else tuple(map(str, self._classes.tolist()))

    @property
    def arrays(self) -> tuple[ArraySpec, ...]:
        if self._classes is None:
            return ()
        return (ArraySpec("labels", (), "int32", fill_value=-1),)

    def write(self, build: Build) -> None:
        if not self.source.seekable:
            return  # they come with the rows
        for chunk in range(build.n_chunks):
            start = chunk * build.rows_per_chunk
            stop = min(start + build.rows_per_chunk, build.n_rows)
            labels = ids = None
            if self._classes is not None:
                labels = self.source.label_values(start, stop)
            if self.source.id_column is not None:
                ids = self.source.id_values(start, stop)
            self.put(build, chunk, labels, ids)

    def put(
        self, build: Build, chunk: int, labels: npt.NDArray[Any] | None,
        ids: npt.NDArray[Any] | None,
    ) -> None:  # fmt: skip
        """Write what a chunk's rows have beside them."""
        if labels is not None and self._classes is not None:
            build.write("labels", chunk * build.rows_per_chunk, self._codes(labels))
        if ids is not None:
            if ids.dtype == object:
                ids = np.frombuffer(json.dumps(ids.tolist()).encode(), dtype=np.uint8)
            build.put(f"ids/{chunk}", ids)

    def _codes(self, labels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        assert self._classes is not None
        code = {name: i for i, name in enumerate(self._classes.tolist())}
        return np.array([code.get(label, -1) for label in labels.tolist()], dtype=np.int32)


class Forward:
    """Rows of a table that is read once, from front to back; what is beside them goes along."""

    seekable = False

    def __init__(self, source: TableSource, beside: TableColumns) -> None:
        self._source, self._beside = source, beside
        self.build: Build | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def blocks(self, rows: int) -> Iterator[npt.NDArray[Any]]:
        """Features, block by block; labels and ids of a block are written before it is given."""
        assert self.build is not None
        for chunk, (features, labels, ids) in enumerate(self._source.column_blocks(rows)):
            self._beside.put(self.build, chunk, labels, ids)
            yield features
