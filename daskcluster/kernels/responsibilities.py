"""Responsibilities: how a row is shared out among the centres of soft k-means.

The responsibility of cluster k for row i is ``r_ik = exp(-beta d_ik) / sum_j exp(-beta d_ij)``,
with ``d`` the Euclidean distance or its square; for ``beta = inf`` it is 1 for the nearest centre.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import compiled, exact, products
from daskcluster.kernels.frame import Floats, Frame, Rows, Singles
from daskcluster.kernels.nearest import Nearest
from daskcluster.kernels.scratch import scratch
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.kernels.sparse_nearest import scaled
from daskcluster.sizing import LANES, SPARSE_GRAIN, small_products, soft_rows

METRICS = ("euclidean", "sqeuclidean")
# Of the squared distance of a row from the middle of the data.
_CLOSE = 1e-3
_MENDED = 1 << 22  # elements that are written out for it at once
# Logarithms of the least shares: some processors take a hundred times as long for products with
# subnormal numbers. 2**60 rows of less would not give a cluster weight enough to move.
_VANISHES = {"float32": math.log(2.0**-100), "float64": math.log(2.0**-1021)}


@dataclass(frozen=True)
class Softness:
    """How distances become responsibilities, and in which precision."""

    beta: float
    """Stiffness, above 0, in units of 1 / distance; infinite for hard k-means."""
    metric: str
    """One of `METRICS`."""
    precision: str = "float64"
    """The type of products and exponentials: float32 or float64."""

    @property
    def squared(self) -> bool:
        return self.metric == "sqeuclidean"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.precision)

    def stiffness(self, frame: Frame) -> float:
        """``beta`` for distances in the frame; neither infinite nor 0."""
        beta = math.ldexp(self.beta, min((1 + self.squared) * frame.exponent, 900))
        return min(max(beta, 2.0**-900), 2.0**900)


class Responsibilities:
    """Centres prepared to share rows out among them."""

    @np.errstate(over="ignore")
    def __init__(self, centers: Floats, softness: Softness, frame: Frame) -> None:
        self.softness, self._frame = softness, frame
        self._centers, dtype = centers, softness.dtype
        beta, limits = softness.stiffness(frame), np.finfo(dtype)
        self._factor = -min(max(beta, float(limits.tiny)), float(limits.max))
        # Infinite centres would make shares NaN, as infinite products with rows would; of centres
        # so far away only the squares overflow, and beside a nearer one their shares are 0.
        far = float(limits.max) * 2.0 ** -(48 + centers.shape[1].bit_length())
        self._moved = np.clip(frame.rows64(centers), -far, far)
        self._middle = frame.middle_of(centers.shape[1])
        weights = self._moved - self._middle
        squares = np.einsum("ij,ij->i", weights, weights) + 2 * weights @ self._middle
        self._weights = (-2 * weights).astype(dtype)
        self._squares = squares.astype(dtype)[:, np.newaxis]
        self._twice = (2 * self._middle).astype(dtype)
        self._beyond = dtype.type(self._middle @ self._middle)

    @cached_property
    def _nearest(self) -> Nearest:
        return Nearest(self._centers, self._frame)

    def tile(self, rows: Rows) -> npt.NDArray[Any]:
        """Rows in the frame and the precision, in a buffer of this thread."""
        if self.softness.precision == "float32":
            return self._frame.rows32(rows, scratch("soft rows", rows.shape, np.float32))
        return self._frame.rows64(rows, scratch("soft rows", rows.shape, np.float64))

    def norms(self, tile: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Squared distances of rows from the frame's middle."""
        norms: npt.NDArray[Any] = np.einsum("ij,ij->i", tile, tile)
        norms -= tile @ self._twice
        norms += self._beyond
        np.maximum(norms, 0, out=norms)
        return norms

    def of_rows(self, rows: Rows) -> npt.NDArray[Any]:
        """`of` for rows as they are stored, and nothing else of it."""
        if is_sparse(rows):
            return self.of_sparse(scaled(rows, self._frame), rows)[0][np.newaxis]
        tile, (k, d) = self.tile(rows), self._centers.shape
        return self.of(tile, self.norms(tile), rows, small_products(len(rows), d, k))[0]

    def of(
        self, tile: npt.NDArray[Any], norms: npt.NDArray[Any], rows: Rows, runs: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any] | float]:
        """Responsibilities in a buffer of this thread; what the free energy is made of.

        ``tile`` and ``norms`` are those of ``rows``; shape (runs, n_clusters, n_rows / runs), for
        runs of rows that one product covers. Then each row's least distance, for squares
        less its norm, and its sum of ``exp(-beta (d - least))``, one in place of n_clusters.
        """
        (k, d), n = self._centers.shape, len(tile)
        shape = (runs, k, n // runs)
        shares = scratch("shares", shape, tile.dtype)
        np.matmul(self._weights, tile.reshape(runs, -1, d).transpose(0, 2, 1), out=shares)
        return self._share(shares, norms.reshape(runs, 1, -1), rows)

    def by_loops(
        self, rows: Rows, size: int, norms: Singles, weights: exact.Ints | None, room: Any
    ) -> tuple[Singles, Singles, Floats]:
        """Rows shared out in compiled loops, in even runs of ``size``; what centres get is added.

        ``room`` is that of a `GridSum` for the runs. Returns `of`'s last two, shape (n,), and the
        sums of shares, shape (n_runs, n_clusters).
        """
        (k, d), loops = self._centers.shape, products.soft_loops()
        least, totals = np.empty((2, len(rows)), dtype=np.float32)
        shares = np.zeros((len(rows) // size, k))
        packed, chain = self._packed, loops.CHAIN
        tile = scratch("soft rows", (chain + 8, packed.shape[1]), np.float32)
        tile[:, d - d % LANES :] = 0
        loops.soften(
            self._plain(rows), size, packed, self._moved, self._squares[:, 0], norms,
            np.empty(0, dtype=np.float32) if weights is None else weights.astype(np.float32),
            np.float32(self._factor), np.float32(_VANISHES["float32"]), np.float32(_CLOSE),
            not self.softness.squared, tile, scratch("shares", (k * chain,), np.float32),
            scratch("part", (k, packed.shape[1]), np.float32), np.empty((k, d)), *room,
            least, totals, shares,
        )  # fmt: skip
        return least, totals, shares

    def _plain(self, rows: Rows) -> Rows:
        """Rows in the frame, as they are stored where loops can read those."""
        if compiled.is_plain(rows, self._frame):
            return rows
        return self._frame.rows64(rows, scratch("plain rows", rows.shape, np.float64))

    @cached_property
    def _packed(self) -> Singles:
        return products.pack(self._weights)

    def of_sparse(
        self, moved: SparseRows, rows: SparseRows
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any] | float]:
        """The same of sparse rows, given in the frame too: shape (n_clusters, n_rows)."""
        shares = np.ascontiguousarray(moved.dot(self._columns).T)[np.newaxis]
        found = self._share(shares, moved.squares()[np.newaxis, np.newaxis], rows)
        return found[0][0], found[1], found[2]

    @cached_property
    def _columns(self) -> npt.NDArray[Any]:
        return np.ascontiguousarray(self._weights.T)

    def _share(
        self, shares: npt.NDArray[Any], norms: npt.NDArray[Any], rows: Any
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any] | float]:
        """From products to responsibilities, in place."""
        shares += self._squares
        if not self.softness.squared:
            shares += norms
            self._mend(shares, norms, rows)
            np.sqrt(shares, out=shares)
        least = shares.min(axis=1, keepdims=True)
        if math.isinf(self.softness.beta):
            labels = self._nearest.labels(rows)[0].reshape(len(shares), 1, -1)
            shares[:] = labels == np.arange(shares.shape[1])[:, np.newaxis]
            return shares, least, 1.0
        shares -= least
        shares *= self._factor
        np.copyto(shares, -np.inf, where=shares < _VANISHES[self.softness.precision])
        np.exp(shares, out=shares)
        totals = shares.sum(axis=1, keepdims=True)
        shares /= totals
        return shares, least, totals

    def _mend(self, squares: npt.NDArray[Any], norms: npt.NDArray[Any], rows: Rows) -> None:
        """Compute the squared distances of rows close to a centre by differences.

        The root of a sum in which nearly all cancels would have half of its digits.
        """
        close = np.flatnonzero(squares < _CLOSE * norms)
        if not len(close):
            return
        run, k, i = np.unravel_index(close, squares.shape)
        at, size = run * squares.shape[2] + i, max(_MENDED // rows.shape[1], 1)
        for j in range(0, len(at), size):
            some = slice(j, j + size)
            moved = self._frame.rows64(rows[at[some]])
            moved -= self._moved[k[some]]
            squares[run[some], k[some], i[some]] = np.einsum("ij,ij->i", moved, moved)


def run_rows(rows: Rows, n_clusters: int) -> int:
    """Rows of one product of soft k-means, for rows like these."""
    return SPARSE_GRAIN if is_sparse(rows) else soft_rows(rows.shape[1], n_clusters)


def tiles(start: int, n_rows: int, size: int) -> Iterator[slice]:
    """The fixed runs of ``size`` rows that a block beginning at row ``start`` consists of."""
    edge = min(-start % size, n_rows)
    if edge:
        yield slice(0, edge)
    for begin in range(edge, n_rows, size):
        yield slice(begin, min(begin + size, n_rows))
