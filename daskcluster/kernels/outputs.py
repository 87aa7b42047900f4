"""What a fitted model says of rows: labels, distances, responsibilities; functions of a block."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial.distance import cdist

from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats, frame_of, unmoved
from daskcluster.kernels.moments import largest_magnitude
from daskcluster.kernels.nearest import Labels, Nearest
from daskcluster.kernels.responsibilities import Responsibilities, Softness, run_rows, tiles
from daskcluster.kernels.sparse import SparseRows, is_sparse


def _rows(batch: Batch | npt.NDArray[Any]) -> Any:
    rows: Any = batch.rows if isinstance(batch, Batch) else batch
    if sparse.issparse(rows):  # a block of a Dask array
        rows = SparseRows.of(rows)
    rows = rows if is_sparse(rows) else np.asarray(rows)
    # Of integers only these may be more than float64 holds.
    if rows.size and (rows.dtype.kind == "f" or rows.dtype.name == "int64"):
        largest_magnitude(rows, batch.start if isinstance(batch, Batch) else 0, "X")
    return rows


_DENSE_BYTES = 1 << 25  # of sparse rows that are written out at once


@dataclass(frozen=True)
class Label:
    """Rows to certified labels, int32."""

    centers: Floats

    @cached_property
    def nearest(self) -> Nearest:
        return Nearest(self.centers, frame_of(self.centers))

    @cached_property
    def _nearest_of_sparse(self) -> Nearest:
        return Nearest(self.centers, unmoved(frame_of(self.centers)))

    def __getstate__(self) -> dict[str, Any]:
        return {"centers": self.centers}

    def __call__(self, batch: Batch | npt.NDArray[Any]) -> Labels:
        rows = _rows(batch)
        nearest = self._nearest_of_sparse if is_sparse(rows) else self.nearest
        return nearest.labels(rows)[0]


@dataclass(frozen=True)
class Distance:
    """Rows to Euclidean distances from every centre, float64; by differences, so none cancels."""

    centers: Floats

    def __call__(self, batch: Batch | npt.NDArray[Any]) -> Floats:
        rows = _rows(batch)
        size = max(_DENSE_BYTES // (8 * rows.shape[1]), 1) if is_sparse(rows) else max(len(rows), 1)
        runs = [rows[i : i + size] for i in range(0, len(rows), size)]
        found = [cdist(run.astype(np.float64), self.centers) for run in runs]
        return np.concatenate(found) if found else np.empty((0, len(self.centers)))


@dataclass(frozen=True)
class Membership:
    """Rows to responsibilities, shape (n, n_clusters), in the precision of the softness."""

    centers: Floats
    softness: Softness

    @cached_property
    def responsibilities(self) -> Responsibilities:
        return Responsibilities(self.centers, self.softness, frame_of(self.centers))

    @cached_property
    def _of_sparse(self) -> Responsibilities:
        return Responsibilities(self.centers, self.softness, unmoved(frame_of(self.centers)))

    def __getstate__(self) -> dict[str, Any]:
        return {"centers": self.centers, "softness": self.softness}

    @np.errstate(under="ignore", over="ignore", invalid="ignore")
    def __call__(self, batch: Batch | npt.NDArray[Any]) -> npt.NDArray[Any]:
        rows, k = _rows(batch), len(self.centers)
        shared = self._of_sparse if is_sparse(rows) else self.responsibilities
        start = batch.start if isinstance(batch, Batch) else 0
        out = np.empty((len(rows), k), dtype=self.softness.dtype)
        for run in tiles(start, len(rows), run_rows(rows, k)):
            shares = shared.of_rows(rows[run])
            out[run] = shares.transpose(0, 2, 1).reshape(-1, k)
        # Rows so far from the centres that squares overflow in their frame.
        lost = np.flatnonzero(np.isnan(out.sum(axis=1)))
        if len(lost):
            out[lost] = self._by_differences(rows[lost])
        return out

    def _by_differences(self, rows: npt.NDArray[Any]) -> Floats:
        gaps = cdist(rows.astype(np.float64), self.centers, self.softness.metric)
        gaps -= gaps.min(axis=1, keepdims=True)
        shares: Floats = np.exp(-self.softness.beta * gaps)
        shares /= shares.sum(axis=1, keepdims=True)
        return shares


@dataclass(frozen=True)
class Apply:
    """Reduction: a function of every block, its results by first row."""

    function: Callable[[Batch], npt.NDArray[Any]]
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[list[tuple[int, npt.NDArray[Any]]], None]:
        return [(batch.start, self.function(batch))], None

    def merge(
        self, a: list[tuple[int, npt.NDArray[Any]]], b: list[tuple[int, npt.NDArray[Any]]]
    ) -> list[tuple[int, npt.NDArray[Any]]]:
        return a + b
