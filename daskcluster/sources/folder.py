"""A folder of documents, as scikit-learn's `load_files` takes it."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from daskcluster.errors import InputError
from daskcluster.sources.archive import (
    check_document_size,
    check_utf8,
    digest,
    folder_in,
    shown,
)

# In characters, which are what is held of it.
from daskcluster.sources.documents import SUPPORTED, Decoding, Document
from daskcluster.sources.files import readable, unreadable


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
        return Document(name, category_of(name, self.labelled), text)


def _container(path: str, subfolder: str | None) -> Path:
    return Path(path, subfolder) if subfolder else Path(path)


def category_of(name: str, labelled: bool) -> str | None:
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


def open_folder(path: str, decoding: Decoding, subfolder: str | None) -> FolderDocuments:
    within = folder_in(path, subfolder) if subfolder is not None else None
    container = _container(path, within)
    _check_inside(container, path)
    folders, files = _entries(container, path)
    labelled = bool(folders)
    names = [f"{folder}/{file}" for folder in folders for file in _files(container / folder, path)]
    chosen, n_ignored = (names, len(files)) if labelled else (files, 0)
    if not chosen:
        raise InputError(f"{shown(str(container))}: no documents in it; give {SUPPORTED}")
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
