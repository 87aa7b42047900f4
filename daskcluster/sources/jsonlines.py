"""JSON lines as documents."""

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from daskcluster.errors import InputError
from daskcluster.sources.archive import (
    PIECE,
    check_utf8,
    forward,
    packed,
    shown,
    some,
)

# In characters, which are what is held of it.
from daskcluster.sources.documents import SUPPORTED, Decoding, Document

# In characters, which are what is held of it.
LONGEST_LINE = 64 << 20


@dataclass(frozen=True)
class JsonLines:
    """A file with one JSON object a line; see `Documents`.

    Parameters
    ----------
    text_field : str
        The field with the text, a string.
    label_field : str
        The field with the label: a string, an integer, or null or absent.
    """

    path: str
    decoding: Decoding
    compression: str | None
    text_field: str
    label_field: str
    labelled: ClassVar[bool | None] = None
    seekable: ClassVar[bool] = False
    sorted: ClassVar[bool] = True

    def stream(self) -> Iterator[Document]:
        """Read all documents in the order of the file; see `Documents.stream`."""
        empty = True
        for number, line in self._lines():
            # Some editors put a byte-order mark before the first line.
            bare = line.removeprefix("\ufeff")
            if bare.strip():
                empty = False
                yield self._document(number, bare)
        if empty:
            raise InputError(f"{self.path}: no documents in it; give {SUPPORTED}")

    def header(self) -> dict[str, Any]:
        """Facts of the source for a JSON record; how many documents only reading tells."""
        return {
            "format": "jsonl",
            **self.decoding.facts(),
            "compression": self.compression,
            "text_field": self.text_field,
            "label_field": self.label_field,
            "n_documents": None,
        }

    def files(self) -> list[str]:
        """The file."""
        return [self.path]

    def _lines(self) -> Iterator[tuple[int, str]]:
        with forward(self.path, self.compression) as stream:
            yield from _split(self.path, _decoded(self.path, stream, self.decoding))

    def _document(self, number: int, line: str) -> Document:
        what = f"{self.path}: line {number}"
        fields = _parse(what, line)
        text = self.decoding.whole(what, _text(what, fields, self.text_field))
        return Document(str(number), _label(what, fields.get(self.label_field)), text)


def _decoded(path: str, stream: BinaryIO, decoding: Decoding) -> Iterator[str]:
    """Text of a stream, piece by piece."""
    decoder = codecs.getincrementaldecoder(decoding.encoding)(decoding.errors)
    end, line, piece = 0, 1, None
    while piece != b"":
        with packed(path):
            piece = stream.read(PIECE)
        end += len(piece)
        before = decoder.getstate()
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeError as fault:
            decoder.setstate(before)
            line += _good_part(fault, decoder, piece).count("\n")
            raise decoding.fault(f"{path}: line {line}", fault, end) from fault
        yield text
        line += text.count("\n")


def _good_part(fault: UnicodeError, decoder: codecs.IncrementalDecoder, piece: bytes) -> str:
    """Text of a piece before the bytes that are none."""
    if not isinstance(fault, UnicodeDecodeError):
        return ""
    # The fault counts from the bytes that were left over from the piece before.
    left_over = len(fault.object) - len(piece)
    return decoder.decode(piece[: max(0, fault.start - left_over)])


def _split(path: str, texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines and their numbers from 1; the last one need not be ended."""
    number, parts, length = 1, list[str](), 0
    for text in texts:
        *ends, rest = text.split("\n")
        for end in ends:
            _check_length(path, number, length + len(end))
            yield number, "".join([*parts, end])
            number, parts, length = number + 1, [], 0
        parts.append(rest)
        length += len(rest)
        _check_length(path, number, length)
    yield number, "".join(parts)


def _check_length(path: str, number: int, length: int) -> None:
    if length > LONGEST_LINE:
        raise InputError(
            f"{path}: line {number} has more than {LONGEST_LINE} characters, and a line is held "
            "whole; are these JSON lines, one object a line?"
        )


def _parse(what: str, line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as fault:
        raise InputError(
            f"{what}: not JSON ({fault.msg} at column {fault.colno}); one object a line is needed"
        ) from fault
    # Integers of thousands of digits, and brackets thousands deep.
    except (ValueError, RecursionError) as fault:
        raise InputError(f"{what}: JSON that cannot be read ({fault}); simplify it") from fault
    if not isinstance(fields, dict):
        raise InputError(f"{what}: {_kind(fields)}, not an object; write {{...}}, one a line")
    return fields


def _text(what: str, fields: dict[str, Any], name: str) -> str:
    if name not in fields:
        raise InputError(
            f"{what}: no field {name!r}; it has {some(fields) or 'none'}: name the one with the "
            "text with --text-field"
        )
    if not isinstance(fields[name], str):
        raise InputError(
            f"{what}: field {name!r} is {_kind(fields[name])}, not a string; name the one with "
            "the text with --text-field"
        )
    return str(fields[name])


def _label(what: str, value: Any) -> str | None:
    # A bool is an int to Python, but no number to JSON.
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return None if value is None else str(value)
    if not isinstance(value, str):
        raise InputError(
            f"{what}: the label is {_kind(value)}; it must be a string, an integer or null: name "
            "the field with the label with --label-field"
        )
    check_utf8(f"{what}: label {shown(value)}", value)
    return value


def _kind(value: Any) -> str:
    """What JSON calls a value."""
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return kinds.get(type(value), "null" if value is None else "a number")
