"""k-means++: integer squared distances to the nearest seed, and draws by inverting their sums.

A draw must not depend on chunks or workers, so what it is compared with is an integer: a squared
distance in whole units of a power of two. Where rounding errors leave the integer open, the
distance is computed exactly.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats, Frame, Singles
from daskcluster.kernels.near import FARTHEST, Near, squared_norms
from daskcluster.kernels.scratch import scratch
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.kernels.sparse_nearest import TILE_ROWS, scaled
from daskcluster.sizing import INTEGER_BOUNDS

Weights = npt.NDArray[np.int64]

# Finer units would leave many more rows to exact arithmetic and change no draw one could notice.
_UNIT_BITS = 24
_RUN_BYTES = 1 << 22
_RUN = 1024  # rows gone through one by one
_MANY = 3  # one row in so many


def unit_exponent(total_variance: Fraction, dtype: str) -> int:
    """Exponent of the unit of squared distance: 2**-24 of the variance; 0 at least for integers."""
    if total_variance <= 0:
        return 0
    ratio = total_variance
    exponent = ratio.numerator.bit_length() - ratio.denominator.bit_length() - _UNIT_BITS
    return max(exponent, 0) if dtype in INTEGER_BOUNDS else exponent


@dataclass
class SeedState:
    """Least distance of each row to the seeds so far, in units: 12 bytes a row with its norm."""

    n_seeds: int
    weights: Weights
    norms: Singles
    """As in `near.squared_norms`."""

    @property
    def nbytes(self) -> int:
        return self.weights.nbytes + self.norms.nbytes


@dataclass(frozen=True)
class Seeding:
    """What the reductions of seeding share."""

    seeds: Floats
    """The seeds so far, shape (n_seeds, n_features)."""
    frame: Frame
    unit: int
    dtype: str
    state_kind: str | None = "seeds"

    def least(self, batch: Batch, state: SeedState | None) -> SeedState:
        """Bring the state up to date with the seeds; rebuild it when it was lost."""
        if state is None or state.n_seeds > len(self.seeds):
            farthest = np.full(len(batch.rows), np.iinfo(np.int64).max)
            state = SeedState(0, farthest, squared_norms(batch.rows, self.frame))
        if state.n_seeds == len(self.seeds):
            return state
        weights = state.weights.copy()
        fresh = self.seeds[state.n_seeds :]
        for at, found in nearer(batch.rows, fresh, self, state.weights, state.norms):
            weights[at] = np.minimum(weights[at], found.min(axis=1))
        return SeedState(len(self.seeds), weights, state.norms)


@dataclass(frozen=True)
class Potentials(Seeding):
    """Reduction: for each candidate, a block's sum of least distances if it became a seed."""

    candidates: Floats | None = None

    def step(
        self, batch: Batch, state: SeedState | None
    ) -> tuple[list[tuple[int, list[int]]], SeedState]:
        assert self.candidates is not None
        state = self.least(batch, state)
        # Python integers: the sum of many squared distances may leave int64.
        whole = exact_total(state.weights, batch.weights)
        return [(batch.start, [whole - saved for saved in self._saved(batch, state)])], state

    def _saved(self, batch: Batch, state: SeedState) -> list[int]:
        """By how much each candidate would bring the sum down."""
        assert self.candidates is not None
        saved = [0] * len(self.candidates)
        for at, found in nearer(batch.rows, self.candidates, self, state.weights, state.norms):
            gains = np.subtract(state.weights[at, np.newaxis], found, out=found)
            np.maximum(gains, 0, out=gains)
            times = None if batch.weights is None else batch.weights[at]
            saved = [
                one + exact_total(gain, times) for one, gain in zip(saved, gains.T, strict=True)
            ]
        return saved

    def merge(
        self, a: list[tuple[int, list[int]]], b: list[tuple[int, list[int]]]
    ) -> list[tuple[int, list[int]]]:
        return a + b


@dataclass(frozen=True)
class Invert(Seeding):
    """Reduction: the rows at which the cumulated least distances pass some numbers."""

    targets: dict[int, list[tuple[int, int]]] | None = None
    """Per first row of a block: (place of the draw, number left of it within the block)."""

    def step(
        self, batch: Batch, state: SeedState | None
    ) -> tuple[list[tuple[int, int, npt.NDArray[Any]]], SeedState]:
        assert self.targets is not None
        state = self.least(batch, state)
        found: list[tuple[int, int, npt.NDArray[Any]]] = []
        targets = self.targets.get(batch.start, [])
        ends = _ends_of_runs(state.weights, batch.weights) if targets else []
        for place, left in targets:
            i = _passed(state.weights, left, batch.weights, ends)
            found.append((place, batch.start + i, batch.rows[i].copy()))
        return found, state

    def merge(
        self,
        a: list[tuple[int, int, npt.NDArray[Any]]],
        b: list[tuple[int, int, npt.NDArray[Any]]],
    ) -> list[tuple[int, int, npt.NDArray[Any]]]:
        return a + b


@dataclass(frozen=True)
class TakeRows:
    """Reduction: rows by absolute index."""

    indices: tuple[int, ...]
    state_kind = None

    @cached_property
    def _sorted(self) -> npt.NDArray[np.int64]:
        return np.array(sorted(set(self.indices)), dtype=np.int64)

    def step(self, batch: Batch, state: None) -> tuple[dict[int, npt.NDArray[Any]], None]:
        low, high = np.searchsorted(self._sorted, [batch.start, batch.start + len(batch.rows)])
        wanted = self._sorted[low:high].tolist()
        return {i: batch.rows[i - batch.start].copy() for i in wanted}, None

    def merge(
        self, a: dict[int, npt.NDArray[Any]], b: dict[int, npt.NDArray[Any]]
    ) -> dict[int, npt.NDArray[Any]]:
        return a | b


def exact_total(values: Weights, times: Weights | None = None) -> int:
    """Their sum as a Python integer, each so many times; none is negative."""
    if times is None:
        high = values >> 31
        return (int(high.sum()) << 31) + int((values - (high << 31)).sum())
    # Products of these parts stay below 2**62.
    total = 0
    for shift, part in _parts(times):
        total += exact_total((values >> 31) * part) << (shift + 31)
        total += exact_total((values & (2**31 - 1)) * part) << shift
    return total


def _parts(values: Weights) -> list[tuple[int, Weights]]:
    """Numbers of 30 bits of which these are made, and where they stand."""
    parts = [(0, values & (2**30 - 1))]
    high = values >> 30
    return [*parts, (30, high)] if high.any() else parts


def _ends_of_runs(values: Weights, times: Weights | None) -> list[int]:
    """Cumulated values, each so many times, after each run of rows."""
    runs = [slice(start, start + _RUN) for start in range(0, len(values), _RUN)]
    totals = (exact_total(values[run], None if times is None else times[run]) for run in runs)
    return list(accumulate(totals))


def _passed(values: Weights, left: int, times: Weights | None, ends: list[int]) -> int:
    """The first index at which the cumulated values, each so many times, exceed ``left``."""
    run = bisect_right(ends, left)
    if run == len(ends):
        raise ValueError("the number drawn exceeds the sum of the weights")
    left -= ends[run - 1] if run else 0
    some = slice(run * _RUN, (run + 1) * _RUN)
    own = values[some].tolist()
    copies = [1] * len(own) if times is None else times[some].tolist()
    within = accumulate(value * copy for value, copy in zip(own, copies, strict=True))
    return some.start + next(i for i, end in enumerate(within) if left < end)


def nearer(
    rows: Any, points: Floats, job: Seeding, below: Weights, norms: Singles
) -> Iterator[tuple[npt.NDArray[np.intp], Weights]]:
    """Places of the rows that may be nearer to some point than ``below``, and their `distances`.

    Run by run of rows, each at most once; the others are not nearer. ``norms`` are those of
    `squared_norms`.
    """
    whole = is_sparse(rows)
    near = None if whole else Near(points, job.frame, job.unit)
    for run in runs_of_rows(rows, len(points)):
        n = len(below[run])
        at = np.arange(n) if near is None else near.rows(rows[run], below[run], norms[run])
        # Where many are, to find out which costs more than it saves.
        near = None if _MANY * len(at) > n else near
        some = rows[run] if len(at) == n else rows[run][at]
        if len(at):
            yield at + run.start, distances(some, points, job, below[run][at])


def distances(
    rows: npt.NDArray[Any], points: Floats, job: Seeding, below: Weights | None = None
) -> Weights:
    """Squared distances in whole units, ``floor(d / unit + 1/3)`` exactly; (n_rows, n_points).

    Distances of rows on a binary grid, such as float32 far from the origin, are themselves whole or
    half units: a third is a place to round at where none of them lies. Those that are not less than
    the row's weight in ``below`` are known to be so, and no more: they lose the next minimum.
    """
    if below is None:
        below = np.full(len(rows), np.iinfo(np.int64).max)
    out = np.empty((len(rows), len(points)), dtype=np.int64)
    for run in runs_of_rows(rows, len(points)):
        out[run] = _run_distances(rows[run], points, job, below[run])
    return out


def runs_of_rows(rows: npt.NDArray[Any], n_points: int) -> list[slice]:
    """Runs of rows that stay in cache with their distances from so many points."""
    size = max(_RUN_BYTES // (8 * (rows.shape[1] + n_points)), 1)
    if is_sparse(rows):
        size = min(TILE_ROWS, max(_RUN_BYTES // (8 * n_points), 64))
    return [slice(i, min(i + size, len(rows))) for i in range(0, len(rows), size)]


def _run_distances(rows: npt.NDArray[Any], points: Floats, job: Seeding, below: Weights) -> Weights:
    if is_sparse(rows):
        return _sparse_distances(rows, points, job, below)
    bound = INTEGER_BOUNDS.get(job.dtype)
    if bound is not None and 4 * rows.shape[1] * bound * bound <= 2**53:
        # Products of such integers, and all their sums, are float64 without rounding.
        x = scratch("rows64", rows.shape, np.float64)
        x[...] = rows
        whole = _squares(x, points).astype(np.int64)
        return (3 * whole + (1 << job.unit)) // (3 << job.unit)
    x = job.frame.rows64(rows, scratch("rows64", rows.shape, np.float64))
    values, errors = _products(x, job.frame.rows64(points))
    return _whole(rows, points, values, errors, job, below)


def _whole(
    rows: Any, points: Floats, values: Floats, errors: Floats, job: Seeding, below: Weights
) -> Weights:
    """Squared distances in the frame to whole units, exactly where the error leaves them open."""
    scale = 2 * job.frame.exponent - job.unit
    # Of rows that weigh little some may be so far that all farther ones count alike.
    low = np.minimum(np.floor(exact.shifted(values - errors, scale) + 1 / 3), FARTHEST)
    high = np.minimum(np.floor(exact.shifted(values + errors, scale) + 1 / 3), FARTHEST)
    out = np.maximum(low, 0).astype(np.int64)
    unsure = (low != high) & (out < below[:, np.newaxis])
    for i, j in np.argwhere(unsure).tolist():
        distance = exact.squared_distance(rows[i].astype(np.float64), points[j])
        units = (distance / Fraction(2) ** job.unit + Fraction(1, 3)) // 1
        out[i, j] = min(units, int(FARTHEST))
    return out


def _sparse_distances(rows: SparseRows, points: Floats, job: Seeding, below: Weights) -> Weights:
    """The same of sparse rows: errors grow with the elements that are stored."""
    x, y = scaled(rows, job.frame), job.frame.rows64(points)
    xx, yy = x.squares()[:, np.newaxis], np.einsum("ij,ij->i", y, y)
    values = x.dot(np.ascontiguousarray(y.T))
    values *= -2
    values += xx + yy
    gamma = (rows.most_stored + 8) * 2.0**-53
    # The points are dense: their own squares err with all features.
    wide = (rows.n_features + 8) * 2.0**-53
    errors = 2.2 * (gamma * (np.sqrt(xx) + np.sqrt(yy)) ** 2 + wide * yy)
    errors += rows.n_features * 2.0**-1000
    return _whole(rows, points, values, errors, job, below)


def _squares(x: Floats, y: Floats) -> Floats:
    """``||x - y||^2`` by products, in a buffer of this thread."""
    values = np.matmul(x, y.T, out=scratch("products", (len(x), len(y)), np.float64))
    values *= -2
    values += np.einsum("ij,ij->i", x, x)[:, np.newaxis]
    values += np.einsum("ij,ij->i", y, y)
    return values


def _products(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The same, and bounds on its error (Higham, section 3.1)."""
    xx = np.einsum("ij,ij->i", x, x)[:, np.newaxis]
    yy = np.einsum("ij,ij->i", y, y)
    gamma = (x.shape[1] + 8) * 2.0**-53
    errors = 2.2 * gamma * (np.sqrt(xx) + np.sqrt(yy)) ** 2 + x.shape[1] * 2.0**-1000
    return _squares(x, y), errors
