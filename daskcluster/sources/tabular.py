"""Tables as sources of rows: what Parquet and CSV have in common. Knows no pyarrow."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from daskcluster.errors import InputError
from daskcluster.sources.base import RowFile, row_ranges
from daskcluster.sources.columns import Key, Selection, Wanted
from daskcluster.sources.files import Array
from daskcluster.sources.pieces import Piece, Stream, present

MOST_CLASSES = 65_536

FEATURES = Wanted(features=True)
LABELS = Wanted(labels=True)
IDS = Wanted(ids=True)
EVERYTHING = Wanted(True, True, True)

Columns = tuple[Array, Array | None, Array | None]


@dataclass(frozen=True)
class TableSource(RowFile):
    """Columns of one or more files as rows; see `Source` and `open_table`.

    ``path`` is the first file. Rows are those that are kept, in the order of the files.
    Labels and ids come as int64 (ids also as uint64) or, being text, as objects of type str;
    integers come as objects too, with None among them, where a label is missing.

    Parameters
    ----------
    files : tuple of str
        Absolute paths.
    sizes : tuple of int
        Their sizes in bytes when they were opened.
    selection : Selection
        The columns, and what becomes of missing values.
    rows_dropped, values_imputed : int
        What became of missing values.
    """

    files: tuple[str, ...]
    sizes: tuple[int, ...]
    selection: Selection
    rows_dropped: int
    values_imputed: int
    format: ClassVar[str]
    seekable: ClassVar[bool]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return self.selection.features

    @property
    def label_column(self) -> str | None:
        """Name of the column of labels."""
        return self.selection.label.name if self.selection.label else None

    @property
    def id_column(self) -> str | None:
        """Name of the column of row ids."""
        return self.selection.id.name if self.selection.id else None

    @property
    def missing(self) -> str:
        """What is done about missing values: 'error', 'drop' or 'mean'."""
        return self.selection.missing

    def read(self, start: int, stop: int) -> Array:
        """Read features of rows ``start`` to ``stop``; see `Source.read`."""
        return present(self.take(FEATURES, start, stop).features)

    def label_values(self, start: int, stop: int) -> Array:
        """Read the labels of rows ``start`` to ``stop`` of a seekable table.

        Returns
        -------
        ndarray, shape (stop - start,)
            int64, or objects: str for text, None where a label is missing.

        Raises
        ------
        InputError
            As `read`; or no label column was named when the table was opened.
        """
        self._key("label")
        return present(self.take(LABELS, start, stop).labels)

    def id_values(self, start: int, stop: int) -> Array:
        """Read the ids of rows ``start`` to ``stop`` of a seekable table.

        Returns
        -------
        ndarray, shape (stop - start,)
            int64, uint64, or objects of type str.

        Raises
        ------
        InputError
            As `read`; an id is missing; or no id column was named when the table was opened.
        """
        self._key("id")
        return present(self.take(IDS, start, stop).ids)

    def blocks(self, rows: int) -> Iterator[Array]:
        """Read the features forward; see `Source.blocks`."""
        return (present(piece.features) for piece in self._forward(FEATURES, rows))

    def column_blocks(self, rows: int) -> Iterator[Columns]:
        """Read features, labels and ids forward, in one pass.

        Yields
        ------
        features : ndarray, shape (<= rows, n_features), `dtype`
        labels, ids : ndarray or None
            None if no such column was named.

        Raises
        ------
        InputError
            As `blocks`; or an id is missing.
        """
        pieces = self._forward(EVERYTHING, rows)
        return ((present(piece.features), piece.labels, piece.ids) for piece in pieces)

    def class_names(self) -> Array:
        """Distinct labels of the rows, found in one pass over their column.

        Returns
        -------
        ndarray, shape (n_classes,), int64 or object
            Integers by value, text by code point; missing labels are none of them.

        Raises
        ------
        InputError
            If there are more than 65,536, or none; or no label column was named.
        """
        key = self._key("label")
        found: set[Any] = set()
        for piece in self.pieces(LABELS):
            found.update(_distinct(present(piece.labels)))
            if len(found) > MOST_CLASSES:
                raise InputError(
                    f"{self.path}: more than {MOST_CLASSES} distinct classes in column "
                    f"{key.name!r}; is this a column of labels?"
                )
        if not found:
            raise InputError(
                f"{self.path}: column {key.name!r} has no label in any row; leave "
                "--label-column out"
            )
        return np.array(sorted(found), dtype=key.dtype)

    def header(self) -> dict[str, Any]:
        """Facts of the table for a JSON record."""
        return {
            "format": self.format,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "columns": list(self.feature_names),
            "columns_left_out": list(self.selection.left_out),
            "label_column": self.label_column,
            "id_column": self.id_column,
            "n_files": len(self.files),
            "missing": self.missing,
            "rows_dropped": self.rows_dropped,
            "values_imputed": self.values_imputed,
        }

    def take(self, wanted: Wanted, start: int, stop: int) -> Piece:
        """What is wanted of rows ``start`` to ``stop``; only where `seekable`."""
        raise NotImplementedError

    def pieces(self, wanted: Wanted) -> Iterator[Piece]:
        """What is wanted of all rows, in pieces of any length."""
        raise NotImplementedError

    def stream(self, wanted: Wanted, pieces: Iterator[Piece], position: int = 0) -> "Stream":
        """The rows from ``position`` on, in runs of any length."""
        return Stream(self, self.selection, wanted, pieces, position)

    def check_range(self, start: int, stop: int) -> None:
        """Refuse rows that are not there."""
        if not 0 <= start <= stop <= self.n_rows:
            raise InputError(
                f"{self.path}: rows {start} to {stop} asked for, but the table has rows 0 to "
                f"{self.n_rows}; ask for a range within them"
            )

    def _forward(self, wanted: Wanted, rows: int) -> Iterator[Piece]:
        ranges = row_ranges(self.n_rows, rows)
        stream = self.stream(wanted, self.pieces(wanted))
        return (stream.take(stop - start) for start, stop in ranges)

    def _key(self, role: str) -> Key:
        key = self.selection.label if role == "label" else self.selection.id
        if key is None:
            raise InputError(
                f"{self.path}: no {role} column was named; name one with --{role}-column"
            )
        return key


def _distinct(labels: Array) -> set[Any]:
    if labels.dtype != object:
        return set(np.unique(labels).tolist())
    return set(labels.tolist()) - {None}
