"""Reading: open a sealed store, read a block, name the chunk that is damaged."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec

from daskcluster.errors import StoreError
from daskcluster.kernels.batch import Batch
from daskcluster.schema import items, parse_json, text
from daskcluster.sizing import Block
from daskcluster.store.chunks import LocalChunks
from daskcluster.store.layout import (
    ATTRIBUTE,
    MissingChunk,
    StoreInfo,
    StrictStore,
    is_build,
    is_url,
    parse_info,
    plain_path,
    zarr_store,
)
from daskcluster.store.place import names


@dataclass(frozen=True, repr=False)
class Store:
    """A sealed store, open for reading: what `open_store` and the converters give.

    Attributes
    ----------
    path : str
        Where it is: an absolute path, or a URL.
    info : StoreInfo
        What it says of itself: n_rows, n_features, dtype, sample_shape, class_names, columns,
        rows_per_chunk, n_chunks, nbytes, sources (with their SHA-256), versions, build and more.
    has_labels : bool
        Whether true classes are stored.
    terms : list of str, or None
        The vocabulary of a store of text.
    idf : float64 ndarray of shape (n_features,), or None
        Inverse document frequencies of the terms, where they were weighed by them.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import convert_npy, open_store
    >>> np.save("images.npy", np.zeros((3, 28, 28), dtype="uint8"))
    >>> _ = convert_npy("images.npy", "images.zarr")
    >>> store = open_store("images.zarr")
    >>> store
    Store('.../images.zarr', 3 x 784 uint8, 1 chunks)
    >>> store.info.sample_shape
    (28, 28)
    """

    path: str
    info: StoreInfo

    def __repr__(self) -> str:
        info = self.info
        labels = ", labels" if self.has_labels else ""
        return (
            f"Store({self.path!r}, {info.n_rows} x {info.n_features} {info.dtype}, "
            f"{info.n_chunks} chunks{labels})"
        )

    @property
    def has_labels(self) -> bool:
        """Whether true classes are stored."""
        return self.info.class_names is not None

    def check_build(self, build: str) -> str:
        """The build that is there; raises `StoreError` if it is another than the one opened.

        Parameters
        ----------
        build : str
            Identity of the writing of the store that was opened, as ``info.build``.

        Returns
        -------
        str
            The same.

        Raises
        ------
        StoreError
            The store was written again since.

        Examples
        --------
        >>> import numpy as np
        >>> from daskcluster import convert_npy, open_store
        >>> np.save("rows.npy", np.eye(3))
        >>> before = convert_npy("rows.npy", "rows.zarr")
        >>> _ = convert_npy("rows.npy", "rows.zarr", overwrite=True)
        >>> open_store("rows.zarr").check_build(before.info.build)
        Traceback (most recent call last):
            ...
        daskcluster.errors.StoreError: .../rows.zarr was written again since it was opened: open it
        again
        """
        if self.info.build != build:
            raise StoreError(f"{self.path} was written again since it was opened: open it again")
        return build

    def reader(self, *, with_labels: bool = False) -> Any:
        """A reader of this build's rows, block by block: what tasks on workers read by.

        Parameters
        ----------
        with_labels : bool, default=False
            Whether to read true classes with the rows.

        Returns
        -------
        Reader
            Small to send; it opens the store where it is used.

        Examples
        --------
        >>> import numpy as np
        >>> from daskcluster import convert_npy
        >>> from daskcluster.sizing import Block
        >>> np.save("rows.npy", np.eye(3))
        >>> reader = convert_npy("rows.npy", "rows.zarr").reader()
        >>> reader.read(Block(0, 1, 3)).rows
        array([[0., 1., 0.],
               [0., 0., 1.]])
        """
        if self.info.sparse is not None:
            from daskcluster.store.sparse import SparseReader  # noqa: PLC0415 - it reads stores too

            info = self.info
            return SparseReader(
                self.path, info.build, info.n_rows, info.n_features, info.rows_per_chunk,
                with_labels=with_labels,
            )  # fmt: skip
        return StoreReader(self.path, self.info.build, with_labels)

    def rows(self, start: int, stop: int) -> Any:
        """Rows ``start`` to ``stop``, as they are stored.

        Parameters
        ----------
        start, stop : int
            The first row, and the one after the last; from 0 to ``info.n_rows``.

        Returns
        -------
        ndarray or scipy.sparse.csr_array of shape (stop - start, n_features)
            In the stored type; sparse for a sparse store.

        Raises
        ------
        StoreError
            A chunk is missing or damaged; the message names it.

        Examples
        --------
        >>> import numpy as np
        >>> from daskcluster import convert_npy
        >>> np.save("rows.npy", np.arange(8).reshape(4, 2))
        >>> convert_npy("rows.npy", "rows.zarr").rows(1, 3)
        array([[2, 3],
               [4, 5]])
        """
        if self.info.sparse is not None:
            return self.reader().rows(start, stop).matrix()
        return BuildArray(self.path, self.info.build, "data").rows(start, stop)

    @property
    def terms(self) -> list[str] | None:
        """The vocabulary of a store of text, a term a column."""
        if self.info.text is None:
            return None
        size = self.info.text["terms_bytes"]
        raw = BuildArray(self.path, self.info.build, "terms").rows(0, size)
        try:
            found = parse_json(raw.tobytes())
            items(text(), self.info.n_features)(found, "terms")
        except ValueError as error:
            raise StoreError(f"{self.path}: damaged terms ({error}); convert again") from error
        return list(found)

    @property
    def idf(self) -> npt.NDArray[np.float64] | None:
        """Inverse document frequencies of the terms, where they were weighed by them."""
        if self.info.text is None or not self.info.text["options"]["use_idf"]:
            return None
        return BuildArray(self.path, self.info.build, "idf").rows(0, self.info.n_features)

    def ids(self, chunk: int) -> npt.NDArray[Any]:
        r"""Ids of the rows of one chunk, from a table with an ``id_column``.

        Parameters
        ----------
        chunk : int
            From 0 to ``info.n_chunks - 1``; it holds ``info.rows_per_chunk`` rows, the last maybe
            fewer.

        Returns
        -------
        ndarray of shape (n_rows_of_the_chunk,)
            Integers, or objects of type str.

        Raises
        ------
        StoreError
            The store holds no ids, or is damaged.

        Examples
        --------
        >>> from pathlib import Path
        >>> from daskcluster import convert_table
        >>> _ = Path("rows.csv").write_text("name,x\na,1\nb,3\n")
        >>> convert_table("rows.csv", "rows.zarr", id_column="name").ids(0)
        array(['a', 'b'], dtype=object)
        """
        if self.info.ids is None:
            raise StoreError(f"{self.path} holds no ids: convert with --id-column NAME")
        size = self.info.rows_per_chunk
        n = min(size, self.info.n_rows - chunk * size)
        array = BuildArray(self.path, self.info.build, f"ids/{chunk}")
        if self.info.ids == "integers":
            return array.rows(0, n)
        try:
            found = parse_json(array.rows(0, array.length).tobytes())
            items(text(), n)(found, "ids")
        except ValueError as error:
            raise StoreError(
                f"{self.path}: damaged ids of chunk {chunk} ({error}); convert again"
            ) from error
        return np.array(found, dtype=object)

    def labels(self) -> npt.NDArray[np.int32]:
        r"""All true classes as codes; ``info.class_names`` has their names.

        Returns
        -------
        int32 ndarray of shape (n_rows,)
            From 0 up, -1 where unknown.

        Raises
        ------
        StoreError
            The store holds no labels, or is damaged.

        Examples
        --------
        >>> from pathlib import Path
        >>> from daskcluster import convert_table
        >>> _ = Path("rows.csv").write_text("kind,x\ndog,1\ncat,3\n")
        >>> store = convert_table("rows.csv", "rows.zarr", label_column="kind")
        >>> store.labels(), store.info.class_names
        (array([1, 0], dtype=int32), ('cat', 'dog'))
        """
        if not self.has_labels:
            raise StoreError(f"{self.path} holds no labels: convert with --labels FILE")
        return BuildArray(self.path, self.info.build, "labels").rows(0, self.info.n_rows)


@dataclass(frozen=True)
class StoreReader:
    """Reads blocks of one build; opens its arrays once in each process."""

    path: str
    build: str
    with_labels: bool = False
    name: str = "data"
    """The array whose rows are read."""

    in_memory = False

    @property
    def token(self) -> str:
        return f"{self.path}#{self.build}/{self.name}{'+labels' if self.with_labels else ''}"

    @cached_property
    def _arrays(self) -> dict[str, "BuildArray"]:
        names = (self.name, "labels") if self.with_labels else (self.name,)
        return {name: BuildArray(self.path, self.build, name) for name in names}

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_arrays"}

    def read(self, block: Block) -> Batch:
        """The block's rows, and their labels if asked for."""
        labels = None
        if self.with_labels:
            labels = self._arrays["labels"].rows(block.start, block.stop)
        return Batch(block.start, self._arrays[self.name].rows(block.start, block.stop), labels)

    def identity(self) -> str:
        """The build that a fresh look at the path finds; raises `StoreError` if it is another."""
        return open_store(self.path).check_build(self.build)


class BuildReader(StoreReader):
    """Reads a build that is not sealed yet."""

    def identity(self) -> str:
        return self.build


def open_store(path: "str | os.PathLike[str] | Store") -> Store:
    """Open a sealed store.

    Parameters
    ----------
    path : path, URL or Store
        Of what a converter wrote; a store that is open already is given back.

    Returns
    -------
    Store
        Nothing of its rows is read yet.

    Raises
    ------
    StoreError
        Nothing is there, it is of another kind, or its conversion never ended.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import convert_npy, open_store
    >>> np.save("rows.npy", np.eye(3))
    >>> _ = convert_npy("rows.npy", "rows.zarr")
    >>> open_store("rows.zarr").info.n_rows
    3
    >>> open_store("rows.npy")
    Traceback (most recent call last):
        ...
    daskcluster.errors.StoreError: rows.npy is not a daskcluster store: write one with
    `daskcluster convert`
    """
    if isinstance(path, Store):
        return path
    path = plain_path(path)
    info = parse_info(root_attributes(path), path)
    if info.sparse is None:
        _check_array(path, info, "data", (info.n_features,), info.dtype)
    else:
        info = _with_moments(path, info)
        for name, shape, dtype in _sparse_shapes(info):
            _check_array(path, info, name, shape, dtype, per_chunk=True)
    if info.class_names is not None:
        _check_array(path, info, "labels", (), "int32")
    return Store(path if is_url(path) else str(Path(path).absolute()), info)


def _sparse_shapes(info: StoreInfo) -> Iterator[tuple[str, tuple[int, ...], str]]:
    assert info.sparse is not None
    yield "data", (info.sparse["width"],), info.dtype
    yield "indices", (info.sparse["width"],), "int32"
    yield "indptr", (info.rows_per_chunk + 1,), "int64"


def _with_moments(path: str, info: StoreInfo) -> StoreInfo:
    """Moments of very many columns are arrays: as attributes they would be megabytes of JSON."""
    sums, squares = (
        BuildArray(path, info.build, f"moments/{name}").rows(0, limbs)
        for name, limbs in (
            ("sums", info.moments.sum_grid.n_limbs),
            ("squares", info.moments.square_grid.n_limbs),
        )
    )
    if sums.shape[1:] != (info.n_features,) or squares.shape[1:] != (info.n_features,):
        raise StoreError(f"{path}: moments of other columns; convert the source again")
    return replace(info, moments=replace(info.moments, sums=sums, squares=squares))


def _check_array(
    path: str, info: StoreInfo, name: str, row_shape: tuple[int, ...], dtype: str,
    *, per_chunk: bool = False,
) -> None:  # fmt: skip
    """Raise `StoreError` for an array that is not what the attributes of the store say."""
    array = build_array(path, info.build, name)
    found = (array.shape, array.chunks, array.dtype.name)
    n, size = (info.n_chunks, 1) if per_chunk else (info.n_rows, info.rows_per_chunk)
    expected = ((n, *row_shape), (size, *row_shape), dtype)
    if found != expected:
        raise StoreError(
            f"{path}: build-{info.build}/{name} has shape, chunks and type {found}, the store says "
            f"{expected}; convert the source again"
        )
    if not any(isinstance(codec, Crc32cCodec) for codec in array.compressors[-1:]):
        raise StoreError(
            f"{path}: the chunks of build-{info.build}/{name} have no checksum; convert the source "
            "again"
        )


def root_attributes(path: str) -> Any:
    """What the root group says; raises `StoreError` for what is no sealed store of ours."""
    path = plain_path(path)
    if not is_url(path) and not Path(path).exists():
        raise StoreError(f"{path} does not exist: write a store with `daskcluster convert`")
    try:
        group = zarr.open_group(zarr_store(path, read_only=True), mode="r", zarr_format=3)
        attributes = group.attrs.asdict()
        begun = ATTRIBUTE not in attributes and any(is_build(name) for name in names(path))
    # Damaged metadata makes Zarr raise whatever its parsers can think of.
    except Exception as error:
        raise StoreError(
            f"{path} is not a daskcluster store: write one with `daskcluster convert`"
        ) from error
    if begun:
        raise StoreError(
            f"{path} was begun and never sealed: run the command that writes it again, with "
            "--resume to go on or with --overwrite to start afresh"
        )
    return attributes.get(ATTRIBUTE)


def build_array(path: str, build: str, name: str) -> Any:
    """An array of a build, opened so that a missing chunk is an error."""
    store = StrictStore(zarr_store(path, read_only=True))
    try:
        array = zarr.open_array(store, path=f"build-{build}/{name}", mode="r", zarr_format=3)
        # Zarr takes chunks of no rows, and `false` for a number of them.
        if not all(array.chunks):
            raise ValueError(f"chunks of shape {array.chunks}")
        return array
    except Exception as error:
        raise StoreError(
            f"{path}: array build-{build}/{name} is missing or damaged ({type(error).__name__}); "
            "convert again"
        ) from error


class BuildArray:
    """An array of a build, read by the rows."""

    def __init__(self, path: str, build: str, name: str) -> None:
        self._place = f"{path}/build-{build}/{name}"
        self._array = build_array(path, build, name)
        self._chunks = None if is_url(path) else LocalChunks.of(self._array, Path(self._place))

    @property
    def length(self) -> int:
        """Of the first axis."""
        return int(self._array.shape[0])

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows ``start`` to ``stop``, in native byte order."""
        if self._chunks is not None:
            return self._chunks.rows(start, stop)
        try:
            rows = np.asarray(self._array[start:stop])
            return np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("="))
        except MissingChunk:
            raise
        except Exception as error:
            raise _damaged(self._array, start, stop, self._place, error) from error


def _damaged(array: Any, start: int, stop: int, place: str, error: Exception) -> StoreError:
    """Codecs say what is wrong but not where: read chunk by chunk to find the one."""
    rows = array.chunks[0]
    for chunk in range(start // rows, -(-stop // rows)):
        try:
            array[chunk * rows : min((chunk + 1) * rows, array.shape[0])]
        except Exception as found:
            name = "/".join(["c", str(chunk), *["0"] * (array.ndim - 1)])
            return StoreError(
                f"{place}/{name}: chunk is damaged ({found}); restore it, or convert again"
            )
    return StoreError(f"{place}: rows {start} to {stop} could not be read ({error})")
