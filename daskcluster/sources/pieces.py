"""Rows of a table in pieces of any length, handed out in runs of any other."""

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from daskcluster.errors import InputError
from daskcluster.sources.base import RowFile
from daskcluster.sources.columns import Key, Selection, Wanted
from daskcluster.sources.files import Array, readable


class Piece(NamedTuple):
    """Consecutive rows; what nobody asked for is None."""

    n_rows: int
    features: Array | None
    labels: Array | None
    ids: Array | None

    def cut(self, start: int, stop: int) -> "Piece":
        features, labels, ids = (
            None if part is None else part[start:stop]
            for part in (self.features, self.labels, self.ids)
        )
        return Piece(len(range(self.n_rows)[start:stop]), features, labels, ids)


class Stream:
    """Pieces of a table, handed out in runs of any length."""

    def __init__(
        self,
        table: RowFile,
        selection: Selection,
        wanted: Wanted,
        pieces: Iterator[Piece],
        position: int,
    ) -> None:
        self.wanted = wanted
        self.position = position
        self._table = table
        self._selection = selection
        self._pieces = pieces
        self._left: Piece | None = None

    def take(self, n_rows: int) -> Piece:
        """The next rows; the last of all only when nothing is left over."""
        selection = self._selection
        features = self._empty_features(n_rows)
        labels: list[Array] = []
        ids: list[Array] = []
        done = 0
        while done < n_rows:
            piece = self._next(n_rows - done)
            if features is not None:
                features[done : done + piece.n_rows] = present(piece.features)
            labels += [piece.labels] if piece.labels is not None else []
            ids += [piece.ids] if piece.ids is not None else []
            done += piece.n_rows
        self._advance(n_rows)
        return Piece(
            n_rows,
            features,
            _joined(labels, selection.label if self.wanted.labels else None),
            _joined(ids, selection.id if self.wanted.ids else None),
        )

    def skip(self, n_rows: int) -> None:
        """Pass over rows."""
        done = 0
        while done < n_rows:
            done += self._next(n_rows - done).n_rows
        self._advance(n_rows)

    def _empty_features(self, n_rows: int) -> Array | None:
        if not self.wanted.features:
            return None
        return np.empty((n_rows, self._table.n_features), dtype=self._table.dtype)

    def _advance(self, n_rows: int) -> None:
        self.position += n_rows
        if self.position == self._table.n_rows and self._pull() is not None:
            raise self._changed("more rows")

    def _next(self, most: int) -> Piece:
        piece = self._pull()
        if piece is None:
            raise self._changed("fewer rows")
        if piece.n_rows > most:
            self._left = piece.cut(most, piece.n_rows)
            return piece.cut(0, most)
        return piece

    def _pull(self) -> Piece | None:
        piece, self._left = self._left, None
        if piece is not None:
            return piece
        return next((piece for piece in self._pieces if piece.n_rows), None)

    def _changed(self, what: str) -> InputError:
        return changed(self._table.path, f"{what} than the {self._table.n_rows} when it was opened")


def changed(path: str, how: str) -> InputError:
    """The error for a file that is no longer what it was."""
    return InputError(
        f"{path}: {how}: the file changed while it was being read; start again when nothing "
        "writes to it"
    )


def check_same_size(path: str, size: int) -> None:
    """Refuse a file that has grown or shrunk since it was opened."""
    with readable(path) as file:
        now = os.fstat(file.fileno()).st_size
    if now != size:
        raise changed(path, f"{now} bytes, but {size} when it was opened")


def present(part: Array | None) -> Array:
    """What was asked for, so that it is there."""
    assert part is not None
    return part


def _joined(parts: list[Array], key: Key | None) -> Array | None:
    if key is None:
        return None
    return np.concatenate(parts) if parts else np.empty(0, dtype=key.dtype)
