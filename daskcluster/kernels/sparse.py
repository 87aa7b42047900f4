"""Sparse rows: what kernels take for a block where most elements are 0.

They stand where an array of rows stands: cut by slices, picked by indices, of a shape and a type.
Whatever needs a few dense rows gets them (`numpy.asarray`); what goes over all rows asks for
products and sums, which cost in proportion to the elements that are not 0.
"""

from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]


class SparseRows:
    """Rows in compressed form (CSR).

    Parameters
    ----------
    data : ndarray of shape (n_stored,)
        Elements, row after row.
    indices : int32 ndarray of shape (n_stored,)
        Their columns, ascending within a row, none twice.
    indptr : int64 ndarray of shape (n_rows + 1,)
        Where rows begin and end.
    n_features : int
    """

    def __init__(
        self,
        data: npt.NDArray[Any],
        indices: npt.NDArray[np.int32],
        indptr: npt.NDArray[np.int64],
        n_features: int,
    ) -> None:
        self.data, self.indices, self.indptr = data, indices, indptr
        self.n_features = n_features

    @classmethod
    def of(cls, matrix: Any) -> "SparseRows":
        """Of any matrix of scipy.sparse; elements stored twice are added up."""
        rows = sparse.csr_array(matrix)
        if not rows.has_canonical_format:
            # To columns and back puts them in order, in less time than sorting every row.
            rows = rows.tocsc().tocsr()
            rows.sum_duplicates()
        indices = rows.indices.astype(np.int32, copy=False)
        return cls(rows.data, indices, rows.indptr.astype(np.int64, copy=False), rows.shape[1])

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.n_features

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def size(self) -> int:
        """Elements, zeros among them."""
        return len(self) * self.n_features

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + self.indices.nbytes + self.indptr.nbytes

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Elements stored of each row."""
        return np.diff(self.indptr)

    @property
    def most_stored(self) -> int:
        """Elements stored of the longest row."""
        return int(self.lengths.max(initial=0))

    @cached_property
    def row_of(self) -> npt.NDArray[np.intp]:
        """The row of every element."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def __getitem__(self, key: Any) -> Any:
        """Rows by slice (views), or by indices (copies), as rows; one row as a dense vector."""
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                raise IndexError("rows are cut in their order")
            stop = max(start, stop)
            low, high = self.indptr[start], self.indptr[stop]
            indptr = self.indptr[start : stop + 1] - low
            return SparseRows(self.data[low:high], self.indices[low:high], indptr, self.n_features)
        if isinstance(key, (int, np.integer)):
            return self._dense_row(range(len(self))[key])
        return self._picked(np.asarray(key))

    def _dense_row(self, i: int) -> npt.NDArray[Any]:
        row = np.zeros(self.n_features, dtype=self.dtype)
        run = slice(self.indptr[i], self.indptr[i + 1])
        row[self.indices[run]] = self.data[run]
        return row

    def _picked(self, rows: npt.NDArray[Any]) -> "SparseRows":
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        lengths = self.lengths[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return SparseRows(self.data[at], self.indices[at], indptr, self.n_features)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        dense = np.zeros(self.shape, dtype=self.dtype)
        dense[self.row_of, self.indices] = self.data
        return dense if dtype is None else dense.astype(dtype, copy=False)

    def astype(self, dtype: Any) -> npt.NDArray[Any]:
        """Dense rows of a type: for few of them."""
        return np.asarray(self, dtype=dtype)

    def copy(self) -> "SparseRows":
        return SparseRows(
            self.data.copy(), self.indices.copy(), self.indptr.copy(), self.n_features
        )

    def with_data(self, data: npt.NDArray[Any]) -> "SparseRows":
        """Other elements in the same places."""
        return SparseRows(data, self.indices, self.indptr, self.n_features)

    def matrix(self) -> Any:
        """The rows for SciPy; nothing is copied."""
        return sparse.csr_array((self.data, self.indices, self.indptr), shape=self.shape)

    def max(self) -> Any:
        return self._extreme(np.max)

    def min(self) -> Any:
        return self._extreme(np.min)

    def _extreme(self, extreme: Any) -> Any:
        zero = self.dtype.type(0)
        found = extreme(self.data, initial=zero) if len(self.data) < self.size else None
        return extreme(self.data) if found is None else found

    def dot(self, columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Products with a dense matrix (n_features, n), or with a vector."""
        product: npt.NDArray[Any] = self.matrix() @ columns
        return product

    def squares(self) -> Floats:
        """Squared norms, float64."""
        data = self.data.astype(np.float64, copy=False)
        squares = np.bincount(self.row_of, weights=data * data, minlength=len(self))
        return squares.astype(np.float64, copy=False)


def is_sparse(rows: Any) -> TypeGuard[SparseRows]:
    """Whether rows are `SparseRows`."""
    return isinstance(rows, SparseRows)
