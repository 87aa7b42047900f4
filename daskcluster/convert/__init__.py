"""Sources to sealed stores: write the blocks, read them back, seal."""

from daskcluster.convert.files import convert_idx, convert_npy
from daskcluster.convert.rows import Rows, convert_dask, convert_rows
from daskcluster.convert.table import convert_table
from daskcluster.convert.text import convert_text

__all__ = [
    "Rows", "convert_dask", "convert_idx", "convert_npy", "convert_rows", "convert_table",
    "convert_text",
]  # fmt: skip
