"""Archives of documents: tar files read forward, packed or not; nothing is ever unpacked."""

import bz2
import gzip
import hashlib
import lzma
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from daskcluster.errors import InputError
from daskcluster.sources.files import unreadable

LARGEST_DOCUMENT = 256 << 20

# Long names and attributes lie in headers of their own, which tarfile reads whole.
LARGEST_HEADER = 256 << 10

PIECE = 1 << 16
_MOST_SHOWN = 10
_LONGEST_SHOWN = 1000

_MAGICS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"]\x00\x00\x80": "lzma",
}
_OPENERS: dict[str | None, Callable[[str], object]] = {
    None: partial(open, mode="rb"),
    "gzip": gzip.open,
    "bzip2": bz2.open,
    "xz": lzma.open,
    "lzma": lzma.open,
}

# Python's name for the block of zeros that ends an archive; the stubs do not know it.
_EndOfArchive: type[tarfile.HeaderError] = tarfile.EOFHeaderError  # type: ignore[attr-defined]

_LINKS_AND_DEVICES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
}


def shown(name: str) -> str:
    """A name as a message can print it: on one line, and not endless."""
    short = name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}..."
    return short if short.isprintable() else ascii(short)


def some(names: Iterable[str]) -> str:
    """Names for a message, the first few of many."""
    listed = [shown(name) for name in names]
    more = [f"and {len(listed) - _MOST_SHOWN} more"] if len(listed) > _MOST_SHOWN else []
    return ", ".join(listed[:_MOST_SHOWN] + more)


def compression_of(head: bytes) -> str | None:
    """How a file is packed, told by its first bytes: "gzip", "bzip2", "xz", "lzma" or None."""
    return next((name for magic, name in _MAGICS.items() if head.startswith(magic)), None)


@contextmanager
def packed(path: str) -> Iterator[None]:
    """Whatever a decompressor or tarfile says of a damaged file becomes an `InputError`."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as fault:
        # What the operating system says has a number, what a decompressor says has none.
        if isinstance(fault, OSError) and fault.errno is not None:
            raise unreadable(path, fault) from fault
        raise InputError(
            f"{path}: damaged or cut short ({fault or type(fault).__name__}); download or pack "
            "it again"
        ) from fault


@contextmanager
def forward(path: str, compression: str | None) -> Iterator[BinaryIO]:
    """Open a file for one reading from its beginning to its end, decompressed on the way."""
    with packed(path):
        stream = cast("BinaryIO", _OPENERS[compression](path))
    with stream:
        yield stream


def first_bytes(path: str, compression: str, size: int) -> bytes:
    """First bytes of what is packed in a file.

    Raises
    ------
    InputError
        If the file is damaged there.
    """
    with forward(path, compression) as stream, packed(path):
        return stream.read(size)


def is_tar(head: bytes) -> bool:
    """Whether the first bytes are those of a tar archive, be it an empty or a damaged one."""
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except _EndOfArchive:
        return True
    except tarfile.HeaderError:
        return head[257:262] == b"ustar"
    return True


class _Member(tarfile.TarInfo):
    """A header that is whole, or a fault: tarfile takes a damaged one for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        header = super().frombuf(buf, encoding, errors)
        # Reading on from before the header would never end.
        if header.size < 0:
            raise tarfile.ReadError(f"a member of {header.size} bytes")
        if header.type in _EXTENSIONS and header.size > LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {header.size} bytes; {LARGEST_HEADER} at most")
        return header

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(tarfile_)
        except _EndOfArchive:
            raise
        except tarfile.HeaderError as fault:
            raise tarfile.ReadError(str(fault)) from fault

    def _no_map(self, *_: object) -> None:
        """In place of tarfile's methods that read a map of holes however long it is."""
        raise tarfile.ReadError(f"{shown(self.name)} is a sparse file; pack without --sparse")

    _proc_sparse = _proc_gnusparse_10 = _no_map


_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class _Feed:
    """A stream whose end is a fault until the archive within it is complete.

    tarfile would take that end for the archive's, and pass over bytes that are not there one
    buffer at a time, for as many as a header cares to declare.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.complete = False

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        if not piece and not self.complete:
            raise EOFError("it ends before the archive does")
        return piece


def walk(path: str, compression: str | None) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Every regular file of an archive, in its order, in one forward pass.

    Yields
    ------
    name : str
        The path within the archive, without ``./``.
    content : callable
        Returns the file's bytes, and only until the next one is asked for.

    Raises
    ------
    InputError
        If the archive is damaged, cut short or followed by other bytes, or a member is
        neither file nor folder or has a name that leads out of the archive or is not UTF-8.
    """
    with forward(path, compression) as stream:
        feed = _Feed(stream)
        with packed(path):
            # A name must not depend on the locale of whoever reads it.
            archive = tarfile.TarFile.open(
                fileobj=cast("BinaryIO", feed), mode="r|", tarinfo=_Member, encoding="utf-8"
            )
        while member := _next(path, archive):
            name = _name(path, member)
            if member.isreg():
                yield name, partial(_content, path, archive, member)
        feed.complete = True
        _check_tail(path, archive)


def _next(path: str, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    with packed(path):
        member = archive.next()
    # tarfile keeps every header it has read, for random access that a stream has not.
    archive.members.clear()  # type: ignore[attr-defined] # the stubs know only getmembers
    return member


def _name(path: str, member: tarfile.TarInfo) -> str:
    """The member's name without ``./``; refused where unpacking it could do harm."""
    what = f"{path}: {shown(member.name)}"
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts:
        raise InputError(f"{what}: leads out of the archive; pack the folder again, by its name")
    if not (member.isreg() or member.isdir()) or member.issparse():
        sparse = "a sparse file" if member.issparse() else f"of unknown type {member.type!r}"
        kind = _LINKS_AND_DEVICES.get(member.type, sparse)
        raise InputError(f"{what}: {kind}; only plain files and folders are read: pack those alone")
    if member.size < 0 or (member.isreg() and not parts):
        raise InputError(f"{what}: damaged header; download or pack the archive again")
    check_utf8(what, member.name)
    return "/".join(parts)


def check_utf8(what: str, name: str) -> None:
    """Refuse a name that JSON and Zarr could not keep.

    Raises
    ------
    InputError
        If the name is no valid Unicode.
    """
    try:
        name.encode()
    except UnicodeEncodeError as fault:
        raise InputError(f"{what}: the name is not UTF-8; rename it") from fault


def _content(path: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    check_document_size(f"{path}: {shown(member.name)}", member.size)
    with packed(path):
        file = archive.extractfile(member)
        return file.read() if file else b""


def check_document_size(what: str, size: int) -> None:
    """Refuse a document that is too large to be held.

    Raises
    ------
    InputError
        If it is larger than `LARGEST_DOCUMENT`.
    """
    if size > LARGEST_DOCUMENT:
        raise InputError(
            f"{what}: {size} bytes, but a document may have at most {LARGEST_DOCUMENT}, as it "
            "is held whole; split it into several"
        )


def _check_tail(path: str, archive: tarfile.TarFile) -> None:
    """Read what follows the archive: its padding, and the checksum of what it is packed in."""
    with packed(path):
        while piece := archive.fileobj.read(PIECE):
            if piece.count(0) != len(piece):
                raise InputError(
                    f"{path}: more bytes after the end of the archive: is it several archives "
                    "one after another? pack the documents into one"
                )


@dataclass(frozen=True)
class Layout:
    """Where in an archive its documents are.

    Parameters
    ----------
    prefix : str
        The folder that holds them all, with a slash behind it; empty for the top.
    labelled : bool
        Whether they lie in folders that are their categories.
    n_documents : int
        How many there are.
    n_ignored : int
        Files beside those folders, or beside the one around them, which are no documents.
    names_sha256 : str
        SHA-256 of the names of all files of the archive, in its order.
    """

    prefix: str
    labelled: bool
    n_documents: int
    n_ignored: int
    names_sha256: str

    def document(self, name: str) -> str | None:
        """The name of the document that a file is, None if it is none."""
        inner = name.removeprefix(self.prefix)
        inside = name.startswith(self.prefix) and inner.count("/") == self.labelled
        return inner if inside else None


def scan(path: str, compression: str | None, subfolder: str | None) -> Layout:
    """Find the documents of an archive from its members' names, in one pass.

    Parameters
    ----------
    path : str
        The archive.
    compression : str or None
        How it is packed; see `compression_of`.
    subfolder : str or None
        The folder in it to take, as a path within the archive.

    Raises
    ------
    InputError
        If a member is unusable or twice there, or the files do not lie as documents should.
    """
    names = _unique_names(path, walk(path, compression))
    prefix = f"{subfolder}/" if subfolder else _common_folder(names)
    depths = [name.removeprefix(prefix).count("/") for name in names if name.startswith(prefix)]
    if not depths:
        raise _no_documents(path, names, subfolder)
    if max(depths) > 1:
        raise _too_deep(path, names, prefix)
    n_documents = depths.count(max(depths))
    n_asked_for = len(depths) if subfolder else len(names)
    labelled = max(depths) == 1
    return Layout(prefix, labelled, n_documents, n_asked_for - n_documents, digest(names))


def documents(
    path: str, compression: str | None, layout: Layout
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    """The documents of an archive that was scanned, in its order.

    Yields
    ------
    member : str
        The path within the archive.
    name : str
        The path within the folder that holds the documents.
    content : callable
        Returns the document's bytes, and only until the next one is asked for.

    Raises
    ------
    InputError
        As `walk` does, or, at the end, if the archive has other files than when it was scanned.
    """
    total = hashlib.sha256()
    for member, content in walk(path, compression):
        total.update(_ended(member))
        name = layout.document(member)
        if name is not None:
            yield member, name, content
    if total.hexdigest() != layout.names_sha256:
        raise InputError(
            f"{path}: other files in it than when it was opened: the archive changed; start again "
            "when nothing writes to it"
        )


def digest(names: Iterable[str]) -> str:
    """SHA-256 of names in their order."""
    total = hashlib.sha256()
    for name in names:
        total.update(_ended(name))
    return total.hexdigest()


def _ended(name: str) -> bytes:
    return name.encode() + b"\0"


def _unique_names(path: str, files: Iterable[tuple[str, object]]) -> list[str]:
    names: dict[str, None] = {}
    for name, _ in files:
        if name in names:
            raise InputError(
                f"{path}: two members are called {shown(name)}; pack the folder again, into a "
                "new archive"
            )
        names[name] = None
    return list(names)


def _common_folder(names: list[str]) -> str:
    """The one folder around the container of the documents, with a slash; empty if none is."""
    within = [name for name in names if "/" in name]
    tops = {name.partition("/")[0] for name in within}
    deep = any(name.count("/") > 1 for name in within)
    # The only folder, with documents right in it, is the container itself, unless there are
    # files beside it, as a folder on disk has beside its categories.
    alone = len(tops) == 1 and (deep or len(within) == len(names))
    return f"{tops.pop()}/" if alone else ""


def _no_documents(path: str, names: list[str], subfolder: str | None) -> InputError:
    if not names:
        return InputError(f"{path}: an archive without any file; pack a folder of documents")
    folders = {str(folder) for name in names for folder in PurePosixPath(name).parents} - {"."}
    there = f"it has {some(sorted(folders))}" if folders else "it has no folders"
    return InputError(f"{path}: no files in the folder {subfolder!r} of the archive; {there}")


def _too_deep(path: str, names: list[str], prefix: str) -> InputError:
    inner = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    deep = [name for name in inner if name.count("/") > 1]
    choices = sorted({prefix + name.partition("/")[0] for name in deep})
    return InputError(
        f"{path}: {shown(prefix + deep[0])} is deeper than category/document; if a folder within "
        f"holds the categories, name it with --subfolder: {some(choices)}"
    )


def folder_in(path: str, subfolder: str) -> str:
    """A folder's name within a source, without slashes around it.

    Raises
    ------
    InputError
        If it leads out of the source.
    """
    parts = PurePosixPath(subfolder).parts
    if not parts or subfolder.startswith("/") or ".." in parts:
        raise InputError(
            f"{path}: {subfolder!r} is no folder within it; give its path from the top of "
            "the folder or archive"
        )
    return str(Path(*parts))
