"""CSV files, plain and gzip-compressed, read forward."""

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.csv as pc

from daskcluster.errors import InputError
from daskcluster.sources import arrow
from daskcluster.sources.columns import Place, Selection, Wanted
from daskcluster.sources.files import readable
from daskcluster.sources.idx import GZIP_MAGIC
from daskcluster.sources.pieces import Piece, changed, check_same_size
from daskcluster.sources.tabular import TableSource
from daskcluster.sources.written import as_integers

# Parsed at a time; a longer line is refused.
BLOCK_BYTES = 8 << 20

# At the end of a gzip file that is not padded: those of a last member without content.
_MOST_ZEROS = 9
# Unpacked at a time to find where padding begins; may become a thousand times as many.
_PACKED_BYTES = 16 << 10

_ARROW = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "null": pa.float64()}

Types = tuple[str, ...]


@dataclass(frozen=True)
class CsvSource(TableSource):
    """CSV files with a line of names each; see `TableSource`.

    Fields are separated by commas and may be quoted. Empty ones are missing, and so are NA,
    NaN, null and their like, also as labels and ids. Lines without any character are skipped,
    but in a file of one column, where they are missing values.
    Labels and ids are integers only where every one is written as such (``007`` is text).

    Parameters
    ----------
    types : tuple of tuple of str
        What each feature is read as, for each file: 'int64', 'float64', 'bool', or 'null'
        where it has no value.
    file_rows : tuple of int
        Rows of each file, dropped ones too.
    file_columns : tuple of int
        Columns of each file, whether they are read or not.
    """

    types: tuple[Types, ...]
    file_rows: tuple[int, ...]
    file_columns: tuple[int, ...]
    format: ClassVar[str] = "csv"
    seekable: ClassVar[bool] = False

    def take(self, wanted: Wanted, start: int, stop: int) -> Piece:
        """Always refused: where a row begins only what lies before it tells.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            f"{self.path}: a CSV file cannot be read from row {start}; read it forward with "
            "blocks() or column_blocks()"
        )

    def pieces(self, wanted: Wanted) -> Iterator[Piece]:
        """What is wanted of all rows, in pieces of any length."""
        names = wanted.names(self.selection)
        before = 0
        for index, path in enumerate(self.files):
            check_same_size(path, self.sizes[index])
            at = 0
            types = declared(self.selection, self.types[index])
            chosen = {name: types[name] for name in names}
            with reading(path, chosen, alone=self.file_columns[index] == 1) as batches:
                for batch in batches:
                    place = Place(path, at, before)
                    yield arrow.piece_of(self._typed(batch), self.selection, wanted, place)
                    at += batch.num_rows
            if at != self.file_rows[index]:
                raise changed(path, f"{at} rows, but {self.file_rows[index]} when it was opened")
            before += at

    def _typed(self, batch: Any) -> Any:
        """The batch, its labels and ids as integers if that is what they are."""
        for key in (self.selection.label, self.selection.id):
            if key is not None and key.kind != "text" and key.name in batch.schema.names:
                at = batch.schema.get_field_index(key.name)
                batch = batch.set_column(at, key.name, as_integers(batch.column(at)))
        return batch


@contextmanager
def reading(
    path: str,
    types: dict[str, Any] | None = None,
    header: Sequence[str] = (),
    *,
    alone: bool = False,
) -> Iterator[Any]:
    """Batches of the columns of ``types``; of all columns, of what the first block shows, if None.

    Parameters
    ----------
    header : sequence of str
        Names of all columns, for messages.
    alone : bool
        Whether there is one column only, so that a line may be a value that is missing.
    """
    with arrow.faults(path, "CSV", partial(_words, header)):
        yield pc.open_csv(
            _content(path),
            pc.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            pc.ParseOptions(newlines_in_values=True, ignore_empty_lines=not alone),
            pc.ConvertOptions(
                column_types=types, include_columns=list(types or ()), strings_can_be_null=True
            ),
        )


def _content(path: str) -> Any:
    """The bytes of the text, as a stream of Arrow's own.

    Never a Python file: threads of Arrow read ahead, and go on for a while after the text was
    refused. If the interpreter ends before they do, it kills whichever of them calls Python, and
    the process hangs or aborts. Nor is the stream closed here, under a thread that may be
    reading it: the last one that holds it closes it.
    """
    file = pa.OSFile(os.fsencode(path))
    if not is_packed(path):
        return file.get_stream(0, file.size())
    return pa.CompressedInputStream(file.get_stream(0, _packed_end(path)), "gzip")


def is_packed(path: str) -> bool:
    """Whether the text is within gzip, whatever the file is called."""
    with readable(path) as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _packed_end(path: str) -> int:
    """Where a gzip file ends but for zeros behind it, which tapes add and Arrow refuses."""
    with readable(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _MOST_ZEROS - 1, 0))
        if file.read().strip(b"\0"):
            return size
        file.seek(0)
        return _members_end(file)


def _members_end(file: FileIO) -> int:
    end, packed = 0, file.read(_PACKED_BYTES)
    while packed.strip(b"\0"):
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while packed and not member.eof:
            member.decompress(packed)
            end += len(packed) - len(member.unused_data)
            packed = member.unused_data or file.read(_PACKED_BYTES)
    return end


def _words(header: Sequence[str], message: str) -> str:
    """Arrow's message with rows from 0 and columns by name."""
    if "straddling object" in message:
        return f"a line longer than {BLOCK_BYTES} bytes, or a quote that is never closed"
    # Arrow's first row is the line of names.
    message = re.sub(r"Row #(\d+)", lambda match: f"row {int(match[1]) - 2}", message)
    return re.sub(r"In CSV column #(\d+)", lambda match: _column_words(header, match[1]), message)


def _column_words(header: Sequence[str], at: str) -> str:
    return f"column {header[int(at)]!r}" if int(at) < len(header) else f"column {at}"


def declared(selection: Selection, types: Types) -> dict[str, Any]:
    """Arrow's types of the columns; labels and ids are text until all are seen."""
    numbers = dict(zip(selection.features, (_ARROW[name] for name in types), strict=True))
    keys = [key.name for key in (selection.label, selection.id) if key is not None]
    return numbers | dict.fromkeys(keys, pa.string())
