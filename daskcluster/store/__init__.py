"""The only room that knows Zarr: sealed builds of rows, their labels and what is known of them.

A store is a Zarr v3 group. A build's arrays lie under ``build-<id>/``; sealing is one atomic write
of the group's attributes, which name the build. Readers follow that pointer and nothing else, so a
half-written store never looks whole. Every chunk ends in a CRC-32C, and a missing chunk is an
error instead of Zarr's fill value.
"""

from daskcluster.store.arrays import ZarrRows, open_rows, zarr_array
from daskcluster.store.build import ArraySpec, Build
from daskcluster.store.layout import CODECS, StoreInfo
from daskcluster.store.reading import BuildReader, Store, StoreReader, open_store
from daskcluster.store.sparse import SparseReader, get_rows, put_rows, sparse_arrays, write_sparse
from daskcluster.store.target import building

__all__ = [
    "CODECS",
    "ArraySpec",
    "Build",
    "BuildReader",
    "SparseReader",
    "Store",
    "StoreInfo",
    "StoreReader",
    "ZarrRows",
    "building",
    "get_rows",
    "open_rows",
    "open_store",
    "put_rows",
    "sparse_arrays",
    "write_sparse",
    "zarr_array",
]
