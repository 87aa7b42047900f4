"""Soft k-means: one reduction from rows and centres to sums weighted by responsibilities.

The responsibility of cluster k for row i is ``r_ik = exp(-beta d_ik) / sum_j exp(-beta d_ij)``,
with ``d`` the Euclidean distance or its square (MacKay, *Information Theory, Inference, and
Learning Algorithms*, Cambridge 2003, section 20.2: soft k-means of stiffness beta), and the
objective the free energy ``-1/beta sum_i log sum_k exp(-beta d_ik)``, which the update of the
squared form never raises. For ``beta = inf`` it is hard k-means, and the free energy the sum of the
least distances.

Responsibilities are rounded as products and exponentials round them; so that no bit depends on
the blocks, products are those of fixed runs of rows, and what they give is added on a grid.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats, Frame
from daskcluster.kernels.gridsums import GridSum
from daskcluster.kernels.responsibilities import Responsibilities, Softness, tiles
from daskcluster.kernels.scratch import scratch
from daskcluster.kernels.sparse import is_sparse
from daskcluster.kernels.sparse_nearest import scaled
from daskcluster.sizing import SPARSE_GRAIN, Grid, real_grid, small_products, soft_group, soft_rows

# A cluster of less weight in all has no place of its own.
LEAST_WEIGHT = 1e-12


def _groups(
    start: int, n_rows: int, n_features: int, n_clusters: int
) -> Iterator[tuple[slice, int, int]]:
    """Whole ones of them several at once: the rows, how many runs, and how many products."""
    size, most = soft_rows(n_features, n_clusters), soft_group(n_features, n_clusters)
    together: list[slice] = []
    for run in tiles(start, n_rows, size):
        whole = run.stop - run.start == size
        if together and (not whole or len(together) == most):
            yield _group(together, n_features, n_clusters)
            together = []
        together.append(run)
        if not whole:
            yield _group(together, n_features, n_clusters)
            together = []
    if together:
        yield _group(together, n_features, n_clusters)


def _group(runs: list[slice], n_features: int, n_clusters: int) -> tuple[slice, int, int]:
    each = small_products(runs[0].stop - runs[0].start, n_features, n_clusters)
    return slice(runs[0].start, runs[-1].stop), len(runs), len(runs) * each


def _at(weights: exact.Ints | None, rows: slice) -> exact.Ints | None:
    return None if weights is None else weights[rows]


def _weighted(shares: npt.NDArray[Any], tile: npt.NDArray[Any], n: int) -> Floats:
    """Sums of rows by responsibility of each of ``n`` even runs, in a buffer of this thread."""
    (products, k, _), d = shares.shape, tile.shape[1]
    parts = scratch("weighted", (products, k, d), tile.dtype)
    np.matmul(shares, tile.reshape(products, -1, d), out=parts)
    wide = scratch("weighted64", (n, k, d), np.float64)
    np.copyto(wide, parts if products == n else parts.reshape(n, -1, k, d).sum(axis=1))
    return wide


def _row_sums(shares: npt.NDArray[Any], n: int) -> Floats:
    """Sums of responsibilities over rows of each of ``n`` even runs, shape (n, n_clusters)."""
    ones = np.ones(shares.shape[2], dtype=shares.dtype)
    sums: Floats = (shares @ ones).reshape(n, -1, shares.shape[1]).sum(axis=1, dtype=np.float64)
    return sums


@dataclass(frozen=True)
class _Shared:
    """What some even runs of rows give, beside sums; in buffers of this thread."""

    norms: npt.NDArray[Any]
    least: npt.NDArray[Any]
    totals: npt.NDArray[Any]
    """As in `Responsibilities.of`, shape (n,)."""
    weights: Floats
    """Shape (runs, n_clusters)."""


def _by_blas(
    shared: Responsibilities,
    batch: Batch,
    norms: npt.NDArray[Any] | None,
    runs: int,
    products: int,
    sums: GridSum,
) -> _Shared:
    tile = shared.tile(batch.rows)
    norms = shared.norms(tile) if norms is None else norms
    shares, least, totals = shared.of(tile, norms, batch.rows, products)
    if batch.weights is not None:
        shares *= batch.weights.astype(shares.dtype).reshape(products, 1, -1)
    sums.add(_weighted(shares, tile, runs))
    return _Shared(norms, least.ravel(), np.ravel(totals), _row_sums(shares, runs))


def _by_loops(
    shared: Responsibilities,
    batch: Batch,
    norms: npt.NDArray[Any] | None,
    runs: int,
    products: int,
    sums: GridSum,
) -> _Shared:
    rows = batch.rows
    norms = shared.norms(shared.tile(rows)) if norms is None else norms
    size, room = len(rows) // runs, sums.room(runs)
    return _Shared(norms, *shared.by_loops(rows, size, norms, batch.weights, room))


@dataclass(frozen=True)
class SoftPartial:
    """Sums over rows, as two limbs each; its zero is all zeros."""

    sums: exact.Ints
    """Of rows in the frame by responsibility, shape (2, n_clusters, n_features)."""
    weights: exact.Ints
    """Of responsibilities, shape (2, n_clusters)."""
    energy: exact.Ints
    """The free energy in the frame, shape (2, 1)."""


def merge_soft(a: SoftPartial, b: SoftPartial) -> SoftPartial:
    """Add two partials; exact, associative and commutative."""
    return SoftPartial(
        exact.carry(a.sums + b.sums),
        exact.carry(a.weights + b.weights),
        exact.carry(a.energy + b.energy),
    )


@dataclass(frozen=True)
class SoftGrids:
    """The grids of a `SoftPartial`."""

    sums: Grid
    weights: Grid
    energy: Grid


def soft_grids(
    n_rows: int, n_features: int, n_clusters: int, exponent: int, softness: Softness, frame: Frame
) -> SoftGrids:
    """Grids for rows of which all elements in the frame are below ``2**exponent``."""
    farthest = 2 * (exponent + 1) + n_features.bit_length()
    farthest = farthest if softness.squared else farthest // 2 + 1
    shared = math.log(n_clusters) / softness.stiffness(frame) + 1
    bound = max(farthest, math.frexp(shared)[1]) + 1
    return SoftGrids(real_grid(n_rows, exponent), real_grid(n_rows, 1), real_grid(n_rows, bound))


@dataclass(frozen=True)
class Soften:
    """Reduction: share all rows out among the centres, and add up what each gets.

    A block's state is its rows' norms, of no centres.
    """

    centers: Floats
    softness: Softness
    frame: Frame
    grids: SoftGrids
    state_kind: str | None = "soft"
    compiled: bool = False
    """Whether products are those of compiled loops, in float32 alone; bits depend on it."""

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the sums of one partial."""
        return 2 * self.centers.nbytes

    @cached_property
    def responsibilities(self) -> Responsibilities:
        return Responsibilities(self.centers, self.softness, self.frame)

    @np.errstate(under="ignore", over="ignore")
    def step(
        self, batch: Batch, state: npt.NDArray[Any] | None
    ) -> tuple[SoftPartial, npt.NDArray[Any]]:
        if is_sparse(batch.rows):
            return self._of_sparse(batch), np.empty(0)
        k, d = self.centers.shape
        n, by_loops = len(batch.rows), self.compiled and not math.isinf(self.softness.beta)
        take = _by_loops if by_loops else _by_blas
        norms = np.empty(n, dtype=self.softness.dtype) if state is None else state
        sums, weights = GridSum((k, d), self.grids.sums), []
        least, totals = np.empty((2, n))
        for at, runs, products in _groups(batch.start, n, d, k):
            part = Batch(batch.start + at.start, batch.rows[at], weights=_at(batch.weights, at))
            known = None if state is None else norms[at]
            found = take(self.responsibilities, part, known, runs, products, sums)
            norms[at], least[at], totals[at] = found.norms, found.least, found.totals
            weights.append(found.weights)
        starts = [run.start for run in tiles(batch.start, n, soft_rows(d, k))]
        partial = SoftPartial(
            sums.limbs(),
            exact.column_sums(np.concatenate(weights), self.grids.weights),
            self._energy(least, totals, norms, starts, batch.weights),
        )
        return partial, norms

    def _of_sparse(self, batch: Batch) -> SoftPartial:
        (k, d), start, rows = self.centers.shape, batch.start, batch.rows
        moved, shared = scaled(rows, self.frame), self.responsibilities
        sums, weights = GridSum((k, d), self.grids.sums), []
        least, totals = np.empty((2, len(rows)))
        runs = list(tiles(start, len(rows), SPARSE_GRAIN))
        for run in runs:
            part = moved[run]
            shares, own_least, own_totals = shared.of_sparse(part, rows[run])
            if batch.weights is not None:
                shares *= batch.weights[run]
            sums.add(np.ascontiguousarray((part.matrix().T @ shares.T).T)[np.newaxis])
            weights.append(shares.sum(axis=1))
            least[run], totals[run] = own_least.ravel(), np.ravel(own_totals)
        return SoftPartial(
            sums.limbs(),
            exact.column_sums(np.array(weights), self.grids.weights),
            self._energy(
                least, totals, moved.squares(), [run.start for run in runs], batch.weights
            ),
        )

    def _energy(
        self,
        least: Floats,
        totals: Floats,
        norms: npt.NDArray[Any],
        starts: list[int],
        row_weights: exact.Ints | None,
    ) -> exact.Ints:
        """Of the runs that begin at some rows, as limbs."""
        if self.softness.squared:
            least += norms
        if not math.isinf(self.softness.beta):
            least -= np.log(totals, out=totals) / self.softness.stiffness(self.frame)
        if row_weights is not None:
            least *= row_weights
        energies = np.add.reduceat(least, starts)
        return exact.column_sums(energies[:, np.newaxis], self.grids.energy)

    def merge(self, a: SoftPartial, b: SoftPartial) -> SoftPartial:
        return merge_soft(a, b)


def soft_centers(
    total: SoftPartial, centers: Floats, grids: SoftGrids, frame: Frame
) -> tuple[Floats, Floats]:
    """The weighted means, and each cluster's weight; one of hardly any keeps its centre."""
    weights = exact.rounded(total.weights, grids.weights)
    sums = exact.rounded(total.sums, grids.sums)
    new, held = centers.copy(), weights >= LEAST_WEIGHT
    means = sums[held] / weights[held, np.newaxis]
    if frame.exponent:
        means = np.ldexp(means, frame.exponent)
    new[held] = means if frame.shift is None else means + frame.shift
    return new, weights


def free_energy(total: SoftPartial, softness: Softness, grids: SoftGrids, frame: Frame) -> float:
    """Of all rows, in units of the data."""
    energy = float(exact.rounded(total.energy, grids.energy)[0])
    return math.ldexp(energy, (1 + softness.squared) * frame.exponent)


@dataclass(frozen=True)
class Agreement:
    """Reduction: how far one float32 step leads from a float64 step, on the first run of rows.

    The Frobenius norm of the difference of the centres, over that of the centres, in the frame.
    """

    centers: Floats
    beta: float
    metric: str
    frame: Frame
    grids: SoftGrids
    compiled: bool = False
    """As in `Soften`."""
    state_kind = None

    @np.errstate(over="ignore", invalid="ignore")
    def step(self, batch: Batch, state: None) -> tuple[float, None]:
        k, d = self.centers.shape
        run = slice(0, soft_rows(d, k))
        first = Batch(batch.start, batch.rows[run], weights=_at(batch.weights, run))
        single, double = (self._step(first, name) for name in ("float32", "float64"))
        size = float(np.linalg.norm(double))
        return float(np.linalg.norm(single - double)) / size if size else 0.0, None

    def _step(self, first: Batch, precision: str) -> Floats:
        softness = Softness(self.beta, self.metric, precision)
        loops = self.compiled and precision == "float32"
        job = Soften(self.centers, softness, self.frame, self.grids, None, loops)
        new, _ = soft_centers(job.step(first, None)[0], self.centers, self.grids, self.frame)
        return self.frame.rows64(new)

    def merge(self, a: float, b: float) -> float:
        return max(a, b)
