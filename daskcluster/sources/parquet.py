"""Parquet files, read by ranges of rows."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq

from daskcluster.errors import InputError
from daskcluster.sizing import grain_rows
from daskcluster.sources import arrow
from daskcluster.sources.columns import (
    Listing,
    Place,
    Request,
    Selection,
    Wanted,
    choose,
    listing,
)
from daskcluster.sources.files import Array
from daskcluster.sources.missing import Mask, Means, check_kept, complete
from daskcluster.sources.pieces import Piece, Stream, changed, check_same_size
from daskcluster.sources.tabular import TableSource

# Asked of the file at a time, for each column: a column chunk is never held as a whole.
BUFFER_BYTES = 1 << 16

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ParquetSource(TableSource):
    """Parquet files of numeric columns; see `TableSource`.

    A reader holds the block it makes and a page of every column it needs, not a row group:
    pages are the writer's doing, about 1 MB with most. Row groups are decoded from their
    beginning. Where one read ended the next goes on, so that consecutive ranges decode a row
    group once, however large it is; a range elsewhere decodes what lies before it in its group.

    Parameters
    ----------
    groups : tuple of tuple of int
        Rows of each row group of each file.
    kept : tuple of tuple of int
        How many of them are not dropped.
    """

    groups: Groups
    kept: Groups
    format: ClassVar[str] = "parquet"
    seekable: ClassVar[bool] = True

    def take(self, wanted: Wanted, start: int, stop: int) -> Piece:
        """What is wanted of rows ``start`` to ``stop``."""
        self.check_range(start, stop)
        if start == stop:
            return self.stream(wanted, iter(()), start).take(0)
        stream = self._parked.pop(wanted, start) or self._stream_at(wanted, start)
        piece = stream.take(stop - start)
        if stop < self.n_rows:
            self._parked.put(stream)
        return piece

    def pieces(self, wanted: Wanted) -> Iterator[Piece]:
        """What is wanted of all rows, in pieces of any length."""
        return self._pieces_from(wanted, 0, 0)

    def _stream_at(self, wanted: Wanted, row: int) -> Stream:
        at = int(np.searchsorted(self._starts, row, side="right")) - 1
        file = int(np.searchsorted(self._first_groups, at, side="right")) - 1
        pieces = self._pieces_from(wanted, file, at - int(self._first_groups[file]))
        stream = self.stream(wanted, pieces, int(self._starts[at]))
        stream.skip(row - stream.position)
        return stream

    def _pieces_from(self, wanted: Wanted, file: int, group: int) -> Iterator[Piece]:
        for index in range(file, len(self.files)):
            yield from self._file_pieces(wanted, index, group if index == file else 0)

    def _file_pieces(self, wanted: Wanted, index: int, group: int) -> Iterator[Piece]:
        path, before = self.files[index], sum(map(sum, self.groups[:index]))
        names = wanted.names(self.selection)
        kept = 0
        with _opened(path, self.sizes[index]) as file:
            if _group_rows(file) != self.groups[index]:
                raise changed(path, "other row groups than when it was opened")
            for first, batch in _batches(file, path, names, group):
                piece = arrow.piece_of(batch, self.selection, wanted, Place(path, first, before))
                kept += piece.n_rows
                yield piece
            if kept != sum(self.kept[index][group:]):
                raise changed(path, "more or fewer missing values than when it was opened")

    @cached_property
    def _starts(self) -> Array:
        """The first row of each row group of all files."""
        rows = [kept for file in self.kept for kept in file]
        return np.cumsum([0, *rows])[:-1]

    @cached_property
    def _first_groups(self) -> Array:
        """Of all row groups, the first of each file."""
        return np.cumsum([0, *map(len, self.kept)])[:-1]

    @cached_property
    def _parked(self) -> "_Parked":
        return _Parked(os.cpu_count() or 1)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: no open file can go to another process."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class _Parked:
    """Streams that wait for whoever reads on where they stopped; the latest few."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._streams: OrderedDict[tuple[Wanted, int], Stream] = OrderedDict()

    def pop(self, wanted: Wanted, row: int) -> Stream | None:
        with self._lock:
            return self._streams.pop((wanted, row), None)

    def put(self, stream: Stream) -> None:
        with self._lock:
            self._streams[stream.wanted, stream.position] = stream
            if len(self._streams) > self._most:
                self._streams.popitem(last=False)


@contextmanager
def _opened(path: str, size: int) -> Iterator[Any]:
    check_same_size(path, size)
    with (
        arrow.faults(path, "Parquet"),
        pq.ParquetFile(
            path, pre_buffer=False, buffer_size=BUFFER_BYTES, page_checksum_verification=True
        ) as file,
    ):
        yield file


def _group_rows(file: Any) -> tuple[int, ...]:
    metadata = file.metadata
    return tuple(metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))


def _batches(
    file: Any, path: str, names: Sequence[str], first: int, last: int | None = None
) -> Iterator[tuple[int, Any]]:
    """Batches of row groups ``first`` to ``last``, each with the row of the file it begins at."""
    rows = _group_rows(file)
    at = sum(rows[:first])
    groups = list(range(len(rows))[first:last])
    size = grain_rows(len(names))
    if groups:
        for batch in file.iter_batches(size, groups, columns=list(names), use_threads=False):
            yield at, batch
            at += batch.num_rows
    if at != sum(rows[:last]):
        raise InputError(
            f"{path}: {at} rows where its footer declares {sum(rows[:last])}; write it again"
        )


def open_parquet(files: Sequence[str], sizes: Sequence[int], request: Request) -> ParquetSource:
    """Open Parquet files of one table; see `open_table`."""
    listings, groups = [], []
    for path, size in zip(files, sizes, strict=True):
        with _opened(path, size) as file:
            listings.append(_listing(path, file))
            groups.append(_checked_groups(path, file))
    if not any(map(sum, groups)):
        raise InputError(f"{files[0]}: zero rows in {len(files)} file(s); give a table with rows")
    selection = choose(listings, request)
    return _surveyed(tuple(files), tuple(sizes), tuple(groups), selection)


def _listing(path: str, file: Any) -> Listing:
    return listing(path, [arrow.column(field.name, field.type) for field in file.schema_arrow])


def _checked_groups(path: str, file: Any) -> tuple[int, ...]:
    rows = _group_rows(file)
    if min(rows, default=0) < 0 or sum(rows) != file.metadata.num_rows:
        raise InputError(
            f"{path}: damaged Parquet footer: row groups of {sum(rows)} rows, but "
            f"{file.metadata.num_rows} in all; write it again"
        )
    return rows


def _surveyed(
    files: tuple[str, ...], sizes: tuple[int, ...], groups: Groups, selection: Selection
) -> ParquetSource:
    """The source; what missing values do to it takes a pass over the features."""
    kept, imputed = groups, 0
    if selection.missing == "drop":
        kept = tuple(_kept(path, size, selection) for path, size in zip(files, sizes, strict=True))
    elif selection.missing == "mean":
        selection, imputed = _with_means(files, sizes, selection)
    n_rows = sum(map(sum, kept))
    dropped = sum(map(sum, groups)) - n_rows
    check_kept(files[0], n_rows, dropped)
    shape = (n_rows, len(selection.features))
    return ParquetSource(
        files[0], shape, selection.dtype, files, sizes, selection, dropped, imputed, groups, kept
    )


def _kept(path: str, size: int, selection: Selection) -> tuple[int, ...]:
    """Rows of each row group that have all features."""
    with _opened(path, size) as file:
        return tuple(
            sum(int((complete(missing)).sum()) for _, missing in blocks)
            for blocks in (
                _raw(file, path, selection, group, group + 1)
                for group in range(file.metadata.num_row_groups)
            )
        )


def _with_means(
    files: Sequence[str], sizes: Sequence[int], selection: Selection
) -> tuple[Selection, int]:
    means = Means(len(selection.features))
    for path, size in zip(files, sizes, strict=True):
        with _opened(path, size) as file:
            for values, missing in _raw(file, path, selection):
                means.add(values, missing)
    found = means.result(files[0], selection.features)
    return replace(selection, means=found), int(means.n_missing.sum())


def _raw(
    file: Any, path: str, selection: Selection, first: int = 0, last: int | None = None
) -> Iterator[tuple[Array, Mask]]:
    """Features of row groups as they are, and which of them are missing."""
    for at, batch in _batches(file, path, selection.features, first, last):
        yield arrow.numbers_of(batch, selection.features, selection.dtype, Place(path, at, 0))
