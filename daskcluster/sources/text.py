"""Documents with their categories: folders, tar archives of folders, and JSON lines."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from daskcluster.errors import InputError
from daskcluster.sources.archive import (
    Layout,
    compression_of,
    documents,
    first_bytes,
    folder_in,
    is_tar,
    scan,
    shown,
)

# In characters, which are what is held of it.
from daskcluster.sources.documents import SUPPORTED, Decoding, Document, Documents
from daskcluster.sources.files import HEAD_BYTES, read_head, unreadable
from daskcluster.sources.folder import category_of, open_folder
from daskcluster.sources.jsonlines import JsonLines


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
            yield Document(name, category_of(name, self.labelled), text)

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
        return open_folder(where, decoding, subfolder)
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
    return InputError(f"{path}: {what}{begins}{array}; give {SUPPORTED}")
