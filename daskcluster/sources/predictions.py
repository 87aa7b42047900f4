"""Predictions as a Parquet file, written block by block."""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from daskcluster.errors import InputError
from daskcluster.sources.files import Array

GROUP_ROWS = 1 << 18

Write = Callable[..., None]


class ParquetPredictions:
    """Columns of equal length, gathered into row groups as they come; see `writing_parquet`."""

    def __init__(self, path: Path, columns: Sequence[tuple[str, Any]]) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra
            import pyarrow.parquet as pq  # noqa: PLC0415 - an extra
        except ImportError as fault:
            raise InputError(
                f"{path}: Parquet needs pyarrow ({fault}); pip install 'daskcluster[table]'"
            ) from fault
        self._pa = pa
        self._schema = pa.schema([(name, _arrow_type(pa, kind)) for name, kind in columns])
        self._writer = pq.ParquetWriter(path, self._schema)
        self._batches: list[Any] = []
        self._n_rows = 0

    def write(self, *columns: Array | None) -> None:
        """Append rows, given column by column; a column that is None is left out.

        Raises
        ------
        InputError
            If there are not as many columns as were declared, or of unequal lengths.
        """
        given = [column for column in columns if column is not None]
        if len(given) != len(self._schema) or len(set(map(len, given))) != 1:
            raise InputError(
                f"columns of {[len(column) for column in given]} rows; write as many of each of "
                f"{', '.join(self._schema.names)}"
            )
        arrays = [self._pa.array(c, f.type) for c, f in zip(given, self._schema, strict=True)]
        self._batches.append(self._pa.record_batch(arrays, schema=self._schema))
        self._n_rows += len(given[0])
        if self._n_rows >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered as a row group."""
        if self._batches:
            table = self._pa.Table.from_batches(self._batches, self._schema)
            self._writer.write_table(table, row_group_size=GROUP_ROWS)
        self._batches, self._n_rows = [], 0

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


@contextmanager
def writing_parquet(
    path: str | os.PathLike[str], columns: Sequence[tuple[str, Any]], *, overwrite: bool = False
) -> Iterator[Write]:
    """Write a Parquet file in row order; it appears when all is written, or not at all.

    Parameters
    ----------
    path : path
        Where to write.
    columns : sequence of (str, type)
        Names and types: anything `numpy.dtype` takes, or ``str``.
    overwrite : bool
        Replace a file that is there; it stays whole until the new one is.

    Yields
    ------
    callable
        Appends rows: ``write(ids, labels, distances)``, one array for each column, or None.

    Raises
    ------
    InputError
        If the file is there already or its folder is not, or pyarrow is missing.

    Examples
    --------
    >>> import numpy
    >>> from pathlib import Path
    >>> with writing_parquet("labels.parquet", [("id", str), ("label", "int32")]) as write:
    ...     write(numpy.array(["a", "b"]), numpy.array([1, 0]))
    >>> Path("labels.parquet").exists()
    True
    """
    target = Path(path).absolute()
    _check_target(target, overwrite)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        rows = ParquetPredictions(partial, columns)
        try:
            yield rows.write
            rows.flush()
        finally:
            rows.close()
        _to_disk(partial)
        _check_target(target, overwrite)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is no folder, so {target.name} cannot be written there")
    if target.is_dir():
        raise InputError(f"{target} is a folder; name a file to write")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists; choose another name, or replace it with --overwrite")


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _arrow_type(pa: Any, kind: Any) -> Any:
    dtype = np.dtype(kind)
    return pa.string() if dtype.kind in "OU" else pa.from_numpy_dtype(dtype)
