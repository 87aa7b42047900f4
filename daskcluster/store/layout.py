"""Names, codecs and attributes of a store; where its bytes lie."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from daskcluster.errors import StoreError
from daskcluster.kernels.exact import from_ints, to_ints
from daskcluster.kernels.moments import Moments
from daskcluster.schema import (
    anything,
    check_writable,
    flag,
    items,
    mapping,
    maybe,
    one_of,
    record,
    text,
    whole,
)
from daskcluster.sizing import ROW_TYPES, sparse_bytes

FORMAT = "daskcluster-store"
FORMAT_VERSION = 1
ATTRIBUTE = "daskcluster"
CODECS = ("lz4", "zstd", "none")


def plain_path(path: str | os.PathLike[str]) -> str:
    """The path or URL as text; a URL of this file system becomes the path it names.

    Raises
    ------
    StoreError
        What opens such URLs is not installed, or nothing does.
    """
    text = os.fspath(path)
    if is_url(text):
        _check_url(text)
    return fsspec.core.url_to_fs(text)[1] if text.startswith("file://") else text


def _check_url(url: str) -> None:
    """Before Zarr is asked, whose errors for this are those for what is no store."""
    protocol = fsspec.utils.get_protocol(url)
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        cure = "pip install 'daskcluster[s3]'" if protocol in _OPTIONS else "install it"
        raise StoreError(f"{url}: {protocol}:// URLs need a package ({error}): {cure}") from error
    except ValueError as error:
        raise StoreError(
            f"{url}: nothing opens {protocol}:// URLs; give a path, or a URL such as s3://"
        ) from error


def is_url(path: str) -> bool:
    """Whether ``path`` names something that is not on this file system."""
    return "://" in path


def is_build(name: str) -> bool:
    """Whether a folder of a store is called as a build is."""
    return re.fullmatch("build-[0-9a-f]{12}", name) is not None


# By default s3fs asks for the size of every chunk before it fetches it: twice the requests.
_OPTIONS: dict[str, dict[str, Any]] = {
    protocol: {"max_concurrency": 1} for protocol in ("s3", "s3a")
}


def zarr_store(path: str, *, read_only: bool) -> ZarrStore:
    """The Zarr store at a local path or any URL that fsspec opens."""
    if is_url(path):
        options = _OPTIONS.get(path.partition("://")[0])
        return FsspecStore.from_url(path, storage_options=options, read_only=read_only)
    return LocalStore(Path(path).absolute(), read_only=read_only)


# Zarr looks for these to learn what is there; every other key is a chunk's.
_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


class MissingChunk(StoreError):  # noqa: N818 - it says what happened, and is only caught as such
    """A chunk that should be there is not."""


class StrictStore(WrapperStore[ZarrStore]):
    """A store in which a missing chunk is an error: Zarr alone would read its fill value."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await super().get(key, prototype, byte_range)
        if value is None and not key.endswith(_METADATA):
            raise MissingChunk(
                f"{self._store}: chunk {key} is missing; restore it, or convert the source again"
            )
        return value


def compressors(codec: str, itemsize: int) -> list[Any]:
    """Zarr's bytes-to-bytes codecs: a compressor, and the checksum that covers what it wrote."""
    if codec == "lz4":
        shuffle: Any = "noshuffle" if itemsize == 1 else "shuffle"
        return [
            BloscCodec(cname="lz4", clevel=1, shuffle=shuffle, typesize=itemsize),
            Crc32cCodec(),
        ]
    if codec == "zstd":
        return [ZstdCodec(level=0), Crc32cCodec()]
    if codec == "none":
        return [Crc32cCodec()]
    raise StoreError(f"codec {codec!r} is not offered; use one of {', '.join(CODECS)}")


@dataclass(frozen=True)
class StoreInfo:
    """What a sealed store says of itself."""

    build: str
    """Identity of this writing of the store."""
    n_rows: int
    n_features: int
    dtype: str
    rows_per_chunk: int
    grain: int
    """Rows of one product; whole grains make a chunk."""
    codec: str
    sample_shape: tuple[int, ...]
    """Shape of one row before it was flattened, such as (28, 28)."""
    class_names: tuple[str, ...] | None
    """Names of the codes in ``labels``; None for a store without labels."""
    moments: Moments
    sources: tuple[dict[str, Any], ...]
    """Name, bytes, SHA-256 and header of each source file."""
    created: str
    versions: dict[str, str]
    sparse: dict[str, int] | None = None
    """Of sparse rows: how many elements are ``stored``, and the ``width`` of a chunk of them."""
    text: dict[str, Any] | None = None
    """Of documents: the options by which they were weighed."""
    columns: tuple[str, ...] | None = None
    """Names of a table's features."""
    ids: str | None = None
    """Whether rows have ids, and of which kind: integers or text."""

    @property
    def n_chunks(self) -> int:
        return -(-self.n_rows // self.rows_per_chunk)

    @property
    def nbytes(self) -> int:
        """Decoded bytes of the rows."""
        if self.sparse is not None:
            itemsize = np.dtype(self.dtype).itemsize
            return sparse_bytes(self.n_rows, self.sparse["stored"], itemsize)
        return self.n_rows * self.n_features * np.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        """The attributes of the root group."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return plain | {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "sample_shape": list(self.sample_shape),
            "class_names": None if self.class_names is None else list(self.class_names),
            "moments": self._moments(),
            "sources": list(self.sources),
            "sparse": self.sparse,
            "text": self.text,
            "columns": None if self.columns is None else list(self.columns),
            "ids": self.ids,
        }

    def _moments(self) -> dict[str, Any]:
        if self.sparse is not None:  # they are arrays of the build
            return {"exponent": self.moments.exponent}
        return {
            "exponent": self.moments.exponent,
            "sums": to_ints(self.moments.sums),
            "squares": to_ints(self.moments.squares),
        }


# Of a float64, subnormal ones included.
_LARGEST_EXPONENT = 1074

_PLAIN = (
    "build", "n_rows", "n_features", "dtype", "rows_per_chunk", "grain", "codec", "created",
    "versions",
)  # fmt: skip


def parse_info(attributes: Any, path: str) -> StoreInfo:
    """Check the attributes of a root group and return them; raise `StoreError` for foreign ones."""
    if not isinstance(attributes, dict) or attributes.get("format") != FORMAT:
        raise StoreError(f"{path} is not a daskcluster store: write one with `daskcluster convert`")
    if attributes.get("format_version") != FORMAT_VERSION:
        raise StoreError(
            f"{path} has format version {attributes.get('format_version')}, this is for "
            f"{FORMAT_VERSION}: use the daskcluster that wrote it, or convert again"
        )
    try:
        return _parse(attributes)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreError(
            f"{path}: damaged attributes ({error!r}); convert the source again"
        ) from error


_check = record(
    {
        "build": text("[0-9a-f]{12}", "the name of a build"), "n_rows": whole(1),
        "n_features": whole(1), "dtype": one_of(*ROW_TYPES), "rows_per_chunk": whole(1),
        "grain": whole(1), "codec": text(), "created": text(), "versions": mapping(text()),
        "sample_shape": items(whole(1)), "class_names": maybe(items(text())),
        "sources": items(mapping(anything)), "moments": mapping(anything),
    },
    {
        "sparse": maybe(record({"stored": whole(), "width": whole(1)})),
        "text": maybe(record({
            "source": record({"encoding": text()}), "options": record({"use_idf": flag}),
            "terms_bytes": whole(),
        })),
        "columns": maybe(items(text())), "ids": maybe(one_of("integers", "text")),
    },
)  # fmt: skip


def _parse(a: dict[str, Any]) -> StoreInfo:
    check_writable(a)
    _check(a, "")
    shape, columns = tuple(a["sample_shape"]), a.get("columns")
    if math.prod(shape) != a["n_features"]:
        raise ValueError(f"sample_shape={shape!r}")
    if columns is not None and len(columns) != a["n_features"]:
        raise ValueError(f"{len(columns)} columns of {a['n_features']} features")
    return StoreInfo(
        **{name: a[name] for name in _PLAIN},
        sample_shape=shape,
        class_names=None if a["class_names"] is None else tuple(a["class_names"]),
        moments=_parse_moments(a),
        sources=tuple(dict(s) for s in a["sources"]),
        sparse=_parse_sparse(a),
        text=a.get("text"),
        columns=None if columns is None else tuple(columns),
        ids=a.get("ids"),
    )


def _parse_sparse(a: dict[str, Any]) -> dict[str, int] | None:
    given = a.get("sparse")
    return None if given is None else {name: given[name] for name in ("stored", "width")}


def _whole_number(value: Any, place: str) -> None:
    """An integer that may be longer than 64 bits."""
    if type(value) is not int:
        raise ValueError(f"{place}={value!r}")


def _parse_moments(a: dict[str, Any]) -> Moments:
    given = a["moments"]
    empty = np.empty((0, 0), dtype=np.int64)
    exponent = given["exponent"]
    whole(-_LARGEST_EXPONENT, _LARGEST_EXPONENT)(exponent, "moments.exponent")
    moments = Moments(a["n_rows"], a["dtype"], exponent, empty, empty)
    if a.get("sparse") is not None:
        return moments
    columns = items(_whole_number, a["n_features"])
    record({"sums": columns, "squares": columns})(given, "moments")
    sums = from_ints(given["sums"], moments.sum_grid.n_limbs)
    squares = from_ints(given["squares"], moments.square_grid.n_limbs)
    return Moments(moments.n_rows, moments.dtype, moments.exponent, sums, squares)
