"""Documents with their categories: folders, tar archives of folders, and JSON lines."""

import codecs
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, runtime_checkable

from daskcluster.errors import InputError
from daskcluster.sources.archive import (
    PIECE,
    Layout,
    check_document_size,
    check_utf8,
    compression_of,
    digest,
    documents,
    first_bytes,
    folder_in,
    forward,
    is_tar,
    packed,
    scan,
    shown,
    some,
)
from daskcluster.sources.files import HEAD_BYTES, read_head, readable, unreadable

# In characters, which are what is held of it.
LONGEST_LINE = 64 << 20

_DECODE_ERRORS = ("strict", "ignore", "replace")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SUPPORTED = (
    "a folder of documents in category/document, a tar archive of one (plain, gzip, bzip2 or "
    "xz), or JSON lines (plain or gzip)"
)


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


@dataclass(frozen=True)
class FolderDocuments:
    """A folder of documents in the layout of scikit-learn's ``load_files``; see `Documents`.

    Every regular file of a category is a document, hidden ones too, as in ``load_files``.

    Parameters
    ----------
    subfolder : str or None
        The folder within that holds the documents.
    names : tuple of str
        Paths within it, in the order of the rows.
    n_ignored : int
        Files beside the categories, which are no documents.
    """

    path: str
    decoding: Decoding
    subfolder: str | None
    labelled: bool
    names: tuple[str, ...]
    n_ignored: int
    seekable: ClassVar[bool] = True
    sorted: ClassVar[bool] = True

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return len(self.names)

    def read(self, start: int, stop: int) -> list[Document]:
        """Read documents ``start`` to ``stop``; see `SeekableDocuments.read`."""
        if not 0 <= start <= stop <= self.n_documents:
            raise InputError(
                f"{self.path}: documents {start} to {stop} asked for, but the folder has "
                f"documents 0 to {self.n_documents}; ask for a range within them"
            )
        return [self._document(name) for name in self.names[start:stop]]

    def stream(self) -> Iterator[Document]:
        """Read all documents in the order of the rows; see `Documents.stream`."""
        return map(self._document, self.names)

    def header(self) -> dict[str, Any]:
        """Facts of the source for a JSON record."""
        return {
            "format": "folder",
            **self.decoding.facts(),
            "compression": None,
            "subfolder": self.subfolder,
            "n_documents": self.n_documents,
            "n_ignored": self.n_ignored,
            "names_sha256": digest(self.names),
        }

    def files(self) -> list[str]:
        """The folder that holds the documents or their categories."""
        return [str(_container(self.path, self.subfolder))]

    def _document(self, name: str) -> Document:
        file = _container(self.path, self.subfolder) / name
        _check_file(file, self.path)
        text = self.decoding.text(shown(str(file)), _read(file))
        return Document(name, _category(name, self.labelled), text)


def _container(path: str, subfolder: str | None) -> Path:
    return Path(path, subfolder) if subfolder else Path(path)


def _category(name: str, labelled: bool) -> str | None:
    return name.partition("/")[0] if labelled else None


def _check_file(file: Path, root: str) -> None:
    """Refuse what became of a document since it was listed: opening a pipe would wait for ever."""
    try:
        if file.is_symlink():
            _check_inside(file, root)
        mode = file.stat().st_mode
    except OSError as fault:
        raise unreadable(shown(str(file)), fault) from fault
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown(str(file))}: no longer a file; start again")


def _read(file: Path) -> bytes:
    what = shown(str(file))
    with readable(str(file)) as stream:
        size = os.fstat(stream.fileno()).st_size
        check_document_size(what, size)
        data = stream.read(size)
        if len(data) != size or stream.read(1):
            raise InputError(
                f"{what}: its size changed while it was being read; start again when nothing "
                "writes to it"
            )
    return data


def _check_inside(link: Path, root: str) -> None:
    """Refuse a path that leads out of the folder of the corpus, or nowhere."""
    what = shown(str(link))
    try:
        target = link.resolve(strict=True)
    # A link to itself is a RuntimeError before Python 3.13.
    except (OSError, RuntimeError) as fault:
        raise InputError(f"{what}: leads nowhere ({fault}); correct or remove it") from fault
    if not target.is_relative_to(Path(root).resolve()):
        raise InputError(
            f"{what}: a link out of the folder, to {shown(str(target))}; put the files "
            "themselves into the folder"
        )


def _open_folder(path: str, decoding: Decoding, subfolder: str | None) -> FolderDocuments:
    within = folder_in(path, subfolder) if subfolder is not None else None
    container = _container(path, within)
    _check_inside(container, path)
    folders, files = _entries(container, path)
    labelled = bool(folders)
    names = [f"{folder}/{file}" for folder in folders for file in _files(container / folder, path)]
    chosen, n_ignored = (names, len(files)) if labelled else (files, 0)
    if not chosen:
        raise InputError(f"{shown(str(container))}: no documents in it; give {_SUPPORTED}")
    return FolderDocuments(path, decoding, within, labelled, tuple(chosen), n_ignored)


def _files(category: Path, root: str) -> list[str]:
    folders, files = _entries(category, root)
    if folders:
        raise InputError(
            f"{shown(str(category / folders[0]))}: a folder within a category; documents lie in "
            "category/document. If this is one of the categories, name the folder that holds "
            f"them with --subfolder, such as {shown(str(category.relative_to(root)))}"
        )
    return files


def _entries(folder: Path, root: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files within a folder, each sorted."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if _is_folder(entry, root) else files).append(entry.name)
    except OSError as fault:
        raise unreadable(shown(str(folder)), fault) from fault
    return sorted(folders), sorted(files)


def _is_folder(entry: os.DirEntry[str], root: str) -> bool:
    """Whether an entry is a folder and not a file; refused if it is neither."""
    what = shown(entry.path)
    check_utf8(what, entry.name)
    if entry.is_symlink():
        _check_inside(Path(entry.path), root)
    if not (entry.is_dir() or entry.is_file()):
        raise InputError(f"{what}: a pipe or device; only files and folders are read: remove it")
    return entry.is_dir()


@dataclass(frozen=True)
class ArchiveDocuments:
    """A tar archive of a folder of documents; see `Documents`.

    Every regular file of a category is a document, hidden ones too, as in a folder.

    Parameters
    ----------
    layout : Layout
        Where the documents are, as found when it was opened.
    """

    path: str
    decoding: Decoding
    subfolder: str | None
    compression: str | None
    layout: Layout
    seekable: ClassVar[bool] = False
    sorted: ClassVar[bool] = False

    @property
    def labelled(self) -> bool:
        """Whether the documents lie in categories."""
        return self.layout.labelled

    @property
    def n_documents(self) -> int:
        """Number of documents."""
        return self.layout.n_documents

    def stream(self) -> Iterator[Document]:
        """Read all documents in the order of the archive; see `Documents.stream`."""
        for member, name, content in documents(self.path, self.compression, self.layout):
            text = self.decoding.text(f"{self.path}: {shown(member)}", content())
            yield Document(name, _category(name, self.labelled), text)

    def header(self) -> dict[str, Any]:
        """Facts of the source for a JSON record."""
        return {
            "format": "tar",
            **self.decoding.facts(),
            "compression": self.compression,
            "subfolder": self.subfolder,
            "n_documents": self.n_documents,
            "n_ignored": self.layout.n_ignored,
            "names_sha256": self.layout.names_sha256,
        }

    def files(self) -> list[str]:
        """The archive."""
        return [self.path]


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
            raise InputError(f"{self.path}: no documents in it; give {_SUPPORTED}")

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


def open_documents(
    path: str | os.PathLike[str],
    *,
    encoding: str = "utf-8",
    decode_error: str = "strict",
    text_field: str = "text",
    label_field: str = "label",
    subfolder: str | None = None,
) -> Documents:
    """Open a corpus; the kind of a file is told by its first bytes, never by its suffix.

    The names in a folder are listed. An archive is read once, for its members' names: where the
    documents lie, how many there are, and whether a member must be refused is known before any
    text is handed out.

    Parameters
    ----------
    path : str or os.PathLike
        A folder of documents in ``category/document``, or of documents alone; a tar archive of
        one, plain or packed with gzip, bzip2 or xz; or JSON lines, plain or packed. Files
        beside the categories are ignored. The one folder around the categories of an archive,
        or around its documents if they have none, is dropped from the names.
    encoding : str
        The encoding of the documents.
    decode_error : {"strict", "ignore", "replace"}
        What is done about bytes that are not in it.
    text_field, label_field : str
        Fields of the objects of JSON lines.
    subfolder : str, optional
        The folder within the folder or archive that is taken alone, as a path from its top.

    Returns
    -------
    Documents
        A `FolderDocuments`, an `ArchiveDocuments` or a `JsonLines`.

    Raises
    ------
    InputError
        If there is nothing at the path, or something else, or no document; if files lie deeper
        than ``category/document``; if a member or file is a pipe or device or leads out of the
        corpus; if an archive is damaged or has two members of one name.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise InputError(f"{name!r}: a path must be text, not bytes; decode it with os.fsdecode")
    decoding = Decoding(encoding, decode_error)
    where = str(Path(name).absolute())
    if _is_directory(where):
        return _open_folder(where, decoding, subfolder)
    head, _ = read_head(where)
    compression = compression_of(head)
    head = first_bytes(where, compression, HEAD_BYTES) if compression else head
    if is_tar(head):
        return _open_archive(where, decoding, compression, subfolder)
    if not _is_json_lines(head, encoding):
        raise _unsupported(where, head, compression)
    if subfolder is not None:
        raise InputError(f"{where}: JSON lines have no folder {subfolder!r}; leave out --subfolder")
    return JsonLines(where, decoding, compression, text_field, label_field)


def _is_directory(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError as fault:
        raise unreadable(path, fault) from fault


def _open_archive(
    path: str, decoding: Decoding, compression: str | None, subfolder: str | None
) -> ArchiveDocuments:
    within = folder_in(path, subfolder) if subfolder is not None else None
    layout = scan(path, compression, within)
    return ArchiveDocuments(path, decoding, within, compression, layout)


def _is_json_lines(head: bytes, encoding: str) -> bool:
    text = head.decode(encoding, "replace").removeprefix("\ufeff").lstrip()
    return bool(head) and text[:1] in ("", "{")


def _unsupported(path: str, head: bytes, compression: str | None) -> InputError:
    what = f"a {compression} of something that " if compression else ""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        return InputError(
            f"{path}: {what}looks like a web page: the download probably failed; download it "
            "again, or open it in a text editor to see what the server said"
        )
    begins = f"begins with the bytes {head[:4].hex(' ')}" if head else "is empty"
    array = ", a JSON array, of which jq -c '.[]' makes JSON lines" if start[:1] == b"[" else ""
    return InputError(f"{path}: {what}{begins}{array}; give {_SUPPORTED}")
