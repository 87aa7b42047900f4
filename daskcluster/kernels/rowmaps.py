"""What rows become before they are clustered: unit length, or columns of mean 0 and deviation 1."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskcluster.errors import InputError
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.sparse import SparseRows, is_sparse


@dataclass(frozen=True)
class UnitLength:
    """Rows divided by their norms, float64; rows of zeros stay."""

    @property
    def token(self) -> str:
        return "unit"

    def __call__(self, rows: Any) -> Any:
        if is_sparse(rows):
            return _unit_sparse(rows)
        return unit_rows(rows.astype(np.float64))


@dataclass(frozen=True)
class Standardized:
    """``(x - mean) / scale`` of every column, float64; of dense rows."""

    mean: Floats
    scale: Floats

    @property
    def token(self) -> str:
        return hashlib.sha256(self.mean.tobytes() + self.scale.tobytes()).hexdigest()[:16]

    def __call__(self, rows: Any) -> Any:
        if is_sparse(rows):
            raise InputError(
                "sparse rows cannot be standardized, for zeros would not stay zeros: scale the "
                "columns before, or write them dense"
            )
        moved = rows.astype(np.float64)
        moved -= self.mean
        moved /= self.scale
        return moved


RowMap = UnitLength | Standardized


def unit_rows(rows: Floats) -> Floats:
    """Dense rows of unit length; rows of zeros stay."""
    # Of the largest element, so that no square vanishes or overflows.
    largest = _or_one(np.abs(rows).max(axis=1, initial=0))[:, np.newaxis]
    shares = rows / largest
    lengths = _or_one(np.sqrt(np.square(shares).sum(axis=1)))
    shares /= lengths[:, np.newaxis]
    return shares


def _unit_sparse(rows: SparseRows) -> SparseRows:
    """The same of sparse rows."""
    data, held = rows.data.astype(np.float64), rows.lengths > 0
    largest = np.ones(len(rows))
    if len(data):
        largest[held] = np.maximum.reduceat(np.abs(data), rows.indptr[:-1][held])
    data /= _or_one(largest)[rows.row_of]
    squares = np.bincount(rows.row_of, weights=data * data, minlength=len(rows))
    return rows.with_data(data / _or_one(np.sqrt(squares))[rows.row_of])


def _or_one(values: Floats) -> Floats:
    return np.where(values > 0, values, 1.0)


@dataclass(frozen=True)
class Mapped:
    """A function of blocks of mapped rows, as one of blocks as they are."""

    map: RowMap
    function: Any

    def __call__(self, batch: Any) -> Any:
        if isinstance(batch, Batch):
            return self.function(Batch(batch.start, self.map(batch.rows), batch.labels))
        return self.function(self.map(np.asarray(batch) if not is_sparse(batch) else batch))
