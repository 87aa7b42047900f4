"""Bytes to rows: files of samples read as blocks of a two-dimensional array.

This room knows files and their formats, and neither Zarr nor Dask.
"""

import os

from daskcluster.errors import InputError
from daskcluster.sources.base import Source
from daskcluster.sources.files import read_head, sha256
from daskcluster.sources.idx import (
    GZIP_MAGIC,
    IDX_MAGIC,
    GzipIdxSource,
    IdxSource,
    not_idx,
    open_gzip_idx,
    open_idx,
)
from daskcluster.sources.labels import scan_classes
from daskcluster.sources.npy import NPY_MAGIC, NpySource, open_npy

__all__ = [
    "GzipIdxSource",
    "IdxSource",
    "NpySource",
    "Source",
    "open_source",
    "scan_classes",
    "sha256",
]


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open a file of samples; its kind is told by its first bytes, never by its suffix.

    Parameters
    ----------
    path : str or os.PathLike
        An IDX file, plain or gzip-compressed, or an NPY file. The path is kept as given: a
        relative one is read relative to the working directory of whoever reads it.

    Returns
    -------
    Source
        An `IdxSource`, a `GzipIdxSource` or an `NpySource`; all are small and picklable.

    Raises
    ------
    InputError
        If the file is missing, a folder, empty, of another format, of an unusable type or
        shape, or of another size than its header declares.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise InputError(f"{name!r}: a path must be text, not bytes; decode it with os.fsdecode")
    head, size = read_head(name)
    if head.startswith(NPY_MAGIC):
        return open_npy(name, head, size)
    if head.startswith(GZIP_MAGIC):
        return open_gzip_idx(name, size)
    if head.startswith(IDX_MAGIC):
        return open_idx(name, head, size)
    raise not_idx(name, head)
