"""A corpus as documents: what every source of texts offers, and how bytes become text."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from daskcluster.errors import InputError

# In characters, which are what is held of it.

SUPPORTED = (
    "a folder of documents in category/document, a tar archive of one (plain, gzip, bzip2 or "
    "xz), or JSON lines (plain or gzip)"
)
_DECODE_ERRORS = ("strict", "ignore", "replace")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """One text of a corpus.

    Parameters
    ----------
    name : str
        Folder and archive: the path within it, such as ``sci.med/59284``. JSON lines: the
        number of the line, from 1.
    label : str or None
        The category: the folder's name, or the label field; None where there is none.
    text : str
        The text, decoded.
    """

    name: str
    label: str | None
    text: str


@runtime_checkable
class Documents(Protocol):
    """A corpus, read as documents; small, picklable, stateless and thread-safe.

    Attributes
    ----------
    path : str
        The folder or file, absolute.
    labelled : bool or None
        Whether the documents have labels; None for JSON lines, where only reading tells.
    seekable : bool
        Whether it is a `SeekableDocuments`; if not, there is only `stream`.
    sorted : bool
        Whether `stream` goes in the order of the rows. An archive goes in its own order; its
        rows are in the order of `row_order` of the names.
    """

    @property
    def path(self) -> str: ...
    @property
    def labelled(self) -> bool | None: ...
    @property
    def seekable(self) -> bool: ...
    @property
    def sorted(self) -> bool: ...

    def stream(self) -> Iterator[Document]:
        """Read all documents, each once; the source holds one at a time.

        Raises
        ------
        InputError
            If a document cannot be read or decoded, or the file is damaged or has changed.
        """
        ...

    def header(self) -> dict[str, Any]:
        """Facts of the source for a JSON record."""
        ...

    def files(self) -> list[str]:
        """What a caller may record the identity of: the file, or the folder of documents."""
        ...


@runtime_checkable
class SeekableDocuments(Documents, Protocol):
    """A corpus whose documents are files of their own, in the order of the rows."""

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        ...

    def read(self, start: int, stop: int) -> list[Document]:
        """Read documents ``start`` to ``stop``.

        Raises
        ------
        InputError
            If the range is not within the corpus, or a document cannot be read or decoded.
        """
        ...


def row_order(name: str) -> tuple[str, ...]:
    """Sort key of a document's name: by category, then by name, as scikit-learn goes.

    A plain sort would put ``a-b/1`` before ``a/1``, for a hyphen sorts before a slash.

    Examples
    --------
    >>> sorted(["a-b/1", "a/2", "a/10"], key=row_order)
    ['a/10', 'a/2', 'a-b/1']
    """
    return tuple(name.split("/"))


@dataclass(frozen=True)
class Decoding:
    """How bytes become text: an encoding, and what is done about bytes that are not in it.

    Parameters
    ----------
    encoding : str
        Any text encoding Python knows.
    errors : str
        "strict", "ignore" or "replace".
    """

    encoding: str
    errors: str

    def __post_init__(self) -> None:
        if self.errors not in _DECODE_ERRORS:
            raise InputError(f"decode_error {self.errors!r} is none of {', '.join(_DECODE_ERRORS)}")
        try:
            codecs.getincrementaldecoder(self.encoding)
            b" ".decode(self.encoding, "ignore")
        except (LookupError, ValueError, TypeError) as fault:
            raise InputError(
                f"encoding {self.encoding!r} is no text encoding Python knows; name one such "
                "as utf-8, latin-1 or cp1252"
            ) from fault

    def text(self, what: str, data: bytes) -> str:
        """Decode a whole document; ``what`` names it in errors."""
        self._check_not_binary(what, data)
        try:
            text = data.decode(self.encoding, self.errors)
        except UnicodeError as fault:
            raise self.fault(what, fault, len(data)) from fault
        return self.whole(what, text)

    def whole(self, what: str, text: str) -> str:
        """A text without halves of characters, which nothing could write to a file again."""
        if text.isascii() or not (half := _SURROGATE.search(text)):
            return text
        if self.errors == "strict":
            raise InputError(
                f"{what}: half a character ({ascii(half[0])[1:-1]}) at character {half.start()}; "
                "use --decode-error replace"
            )
        # A high half right before a low one is a whole character.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", self.errors)

    def fault(self, what: str, fault: UnicodeError, end: int) -> InputError:
        """The error for bytes that are not in the encoding; ``end`` is where the last ones end."""
        at, reason = end, str(fault)
        # Counted from the end: a decoder may have kept bytes, or dropped a mark, at the beginning.
        if isinstance(fault, UnicodeDecodeError):
            at, reason = end - len(fault.object) + fault.start, fault.reason
        return InputError(
            f"{what}: byte {at} is not {self.encoding} ({reason}); declare the encoding with "
            "--encoding, or use --decode-error replace"
        )

    def facts(self) -> dict[str, Any]:
        """The part of a header that says how text was decoded."""
        return {"encoding": self.encoding, "decode_error": self.errors}

    def _check_not_binary(self, what: str, data: bytes) -> None:
        at = data.find(b"\0")
        if at >= 0 and not codecs.lookup(self.encoding).name.startswith(("utf-16", "utf-32")):
            raise InputError(
                f"{what}: a NUL byte at offset {at}, so it is binary, not text; remove it, or "
                "declare --encoding utf-16 or utf-32 if that is what it is in"
            )
