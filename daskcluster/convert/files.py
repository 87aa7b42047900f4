"""IDX and NPY files as stores."""

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from daskcluster.convert.rows import convert_rows
from daskcluster.engine import Progress
from daskcluster.errors import InputError
from daskcluster.sources import NpySource, Source, open_source, sha256
from daskcluster.store import Store


def convert_idx(
    images: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    rows_per_chunk: int | None = None,
    codec: str = "lz4",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Store:
    """Write an IDX file, plain or gzipped, as a store.

    Parameters
    ----------
    images : path
        IDX file of any of the six types and any number of dimensions; the first counts rows, the
        others are flattened.
    store : path or URL
        Where to write.
    labels : path, optional
        IDX or NPY file of as many integers: the true classes.
    rows_per_chunk : int, optional
        Rounded up to whole grains; by default near 8 MiB a chunk.
    codec : {'lz4', 'zstd', 'none'}, default='lz4'
        Compression of the chunks. Every chunk has a checksum besides.
    overwrite : bool, default=False
        Replace a store that is there; it stays whole until the new one is.
    resume : bool, default=False
        Go on with a conversion of the same files and options that ended early; one that is
        finished is left as it is.
    progress : Progress, optional
        Told of the rows that are through, such as ``daskcluster.engine.TextLine()``.

    Returns
    -------
    Store
        The sealed store, open.

    Raises
    ------
    InputError
        The file is not what it says, holds NaN, or its labels are of another length. Nothing is
        left on disk.
    StoreError
        Something is at ``store`` that may not be replaced.
    Interrupted, ClusterLost
        Ended early; what is written stays, for ``resume`` or ``overwrite``.

    References
    ----------
    LeCun, Cortes and Burges, "The MNIST database of handwritten digits": the format of its files.

    Examples
    --------
    Two images of 1 x 3 pixels: a magic number (bytes, 3 dimensions), three sizes, the pixels.

    >>> from pathlib import Path
    >>> from daskcluster import convert_idx
    >>> header = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3])
    >>> _ = Path("images.idx").write_bytes(header + bytes([1, 2, 3, 4, 5, 6]))
    >>> store = convert_idx("images.idx", "images.zarr")
    >>> store.rows(0, 2)
    array([[1, 2, 3],
           [4, 5, 6]], dtype=uint8)
    >>> store.info.sample_shape
    (1, 3)
    """
    return _convert(
        _absolute(images, npy=False), store, labels, rows_per_chunk, codec, overwrite, resume,
        progress,
    )  # fmt: skip


def convert_npy(
    rows: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    rows_per_chunk: int | None = None,
    codec: str = "lz4",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Store:
    """Write the rows of an NPY file as a store.

    Parameters
    ----------
    rows : path
        NPY file of any number of dimensions, as `numpy.save` writes it: the first counts rows, the
        others are flattened.
    store : path or URL
        Where to write.
    labels : path, optional
        IDX or NPY file of as many integers: the true classes.
    rows_per_chunk : int, optional
        Rounded up to whole grains; by default near 8 MiB a chunk.
    codec : {'lz4', 'zstd', 'none'}, default='lz4'
        Compression of the chunks. Every chunk has a checksum besides.
    overwrite : bool, default=False
        Replace a store that is there; it stays whole until the new one is.
    resume : bool, default=False
        Go on with a conversion of the same files and options that ended early; one that is
        finished is left as it is.
    progress : Progress, optional
        Told of the rows that are through, such as ``daskcluster.engine.TextLine()``.

    Returns
    -------
    Store
        The sealed store, open.

    Raises
    ------
    InputError
        The file is not what it says, holds NaN or objects, or its labels are of another length.
        Nothing is left on disk.
    StoreError
        Something is at ``store`` that may not be replaced.
    Interrupted, ClusterLost
        Ended early; what is written stays, for ``resume`` or ``overwrite``.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import convert_npy
    >>> np.save("rows.npy", np.eye(4, dtype="float32"))
    >>> np.save("classes.npy", [0, 1, 1, 0])
    >>> store = convert_npy("rows.npy", "rows.zarr", labels="classes.npy")
    >>> store.info.n_rows, store.info.dtype, store.labels().tolist()
    (4, 'float32', [0, 1, 1, 0])
    """
    return _convert(
        _absolute(rows, npy=True), store, labels, rows_per_chunk, codec, overwrite, resume,
        progress,
    )  # fmt: skip


def _convert(
    source: Source,
    store: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None,
    rows_per_chunk: int | None,
    codec: str,
    overwrite: bool,
    resume: bool,
    progress: Progress | None,
) -> Store:
    label_source = None if labels is None else open_source(Path(labels).absolute())
    files = [source] if label_source is None else [source, label_source]
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        digests = [pool.submit(sha256, file.path, stop) for file in files]
        try:
            return convert_rows(
                source, store, labels=label_source, rows_per_chunk=rows_per_chunk, codec=codec,
                overwrite=overwrite, resume=resume, progress=progress,
                files=tuple(map(_identity, files)),
                provenance=lambda: tuple(map(_facts, files, digests)),
            )  # fmt: skip
        finally:
            # A refusal must not wait for the digest of 100 GB.
            stop.set()


def _identity(source: Source) -> dict[str, Any]:
    """What tells a file from another, or from what it was before, without reading it all."""
    path = Path(source.path)
    found = path.stat()
    return {"name": path.name, "bytes": found.st_size, "modified_ns": found.st_mtime_ns}


def _facts(source: Source, digest: Future[str]) -> dict[str, Any]:
    """Provenance of a file; its digest was computed while the rows were written."""
    path = Path(source.path)
    return {
        "name": path.name,
        "bytes": path.stat().st_size,
        "sha256": digest.result(),
        "header": source.header(),
    }


def _absolute(path: str | os.PathLike[str], *, npy: bool) -> Source:
    """Open a source by absolute path: workers have working directories of their own."""
    source = open_source(Path(path).absolute())
    if isinstance(source, NpySource) != npy:
        found, verb = ("an NPY", "npy") if not npy else ("an IDX", "idx")
        raise InputError(f"{path} is {found} file: use `daskcluster convert {verb}`")
    return source
