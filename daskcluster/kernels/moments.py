"""Column sums and squares of the whole data, exact: what tells scale, variance and offset."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.errors import InputError
from daskcluster.kernels import compiled_sums, exact, sparse_compiled
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.sparse import is_sparse
from daskcluster.kernels.sparse_sums import column_sums
from daskcluster.sizing import INTEGER_BOUNDS, LARGEST_MAGNITUDE, Grid, square_grid, sum_grid

_SHORT = ("uint8", "int8", "uint16", "int16")
_CACHED = 1 << 15  # float64 elements that a core's caches hold
# So many squares of 16 bits add up below 2**53, and so many limbs below 2**62.
_MOST_ROWS = 1 << 14


@dataclass(frozen=True)
class Extremes:
    """Reduction: the largest magnitude of the data; refuses values that are not finite."""

    name: str
    """What the data is called in an error."""
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[float, None]:
        return largest_magnitude(batch.rows, batch.start, self.name), None

    def merge(self, a: float, b: float) -> float:
        return max(a, b)


def largest_magnitude(rows: Any, first_row: int, name: str) -> float:
    """``max |x|``; raises `InputError` naming the row for NaN, infinity or a value out of range."""
    limit = INTEGER_BOUNDS.get(rows.dtype.name, LARGEST_MAGNITUDE)
    if not rows.size:
        return 0.0
    # Integers are compared as such: as a float64, 2**53 + 1 would pass for 2**53.
    largest = max(rows.max().item(), -rows.min().item())
    if largest <= limit:
        return float(largest)
    if is_sparse(rows):
        rows, first_row = _first_bad(rows, first_row, limit)
    wide = rows.astype(np.float64) if rows.dtype.kind == "f" else rows
    bad = ~((wide <= limit) & (wide >= -limit))
    row, column = (int(i) for i in np.argwhere(bad)[0])
    raise InputError(
        f"{name}: row {first_row + row}, feature {column} is {wide[row, column]}: NaN, infinity "
        f"and magnitudes above {limit:.3g} cannot be clustered; drop or impute such rows"
    )


def _first_bad(rows: Any, first_row: int, limit: float) -> tuple[npt.NDArray[Any], int]:
    """The first row with an element out of range, dense, and its index."""
    wide = rows.data.astype(np.float64)
    at = int(rows.row_of[np.flatnonzero(~(np.abs(wide) <= limit))[0]])
    return rows[at][np.newaxis], first_row + at


def exponent_above(largest: float) -> int:
    """The smallest e with ``largest < 2**e``; 0 for data that is all zero."""
    return int(np.frexp(largest)[1])


@dataclass(frozen=True)
class Moments:
    """Exact first and second moments of every column."""

    n_rows: int
    dtype: str
    exponent: int
    """All magnitudes are below ``2**exponent`` (reals only; 0 for integers)."""
    sums: exact.Ints
    """Limbs of shape (n_limbs, n_features) on `sum_grid`."""
    squares: exact.Ints
    """Limbs of shape (n_limbs, n_features) on `square_grid`."""

    @property
    def sum_grid(self) -> Grid:
        return sum_grid(self.n_rows, self.dtype, self.exponent)

    @property
    def square_grid(self) -> Grid:
        return square_grid(self.n_rows, self.dtype, self.exponent)

    @property
    def total_squares(self) -> Fraction:
        """``sum ||x||^2`` over all rows."""
        return exact.scaled(exact.total(self.squares), self.square_grid.exponent)

    def means(self) -> exact.Floats:
        """Column means, shape (n_features,), correctly rounded."""
        counts = np.array([self.n_rows])
        means = exact.mean(self.sums[:, np.newaxis], counts, self.sum_grid)
        return np.asarray(means[0])

    def deviations(self) -> exact.Floats:
        """Standard deviations of the columns, shape (n_features,); 1 where one is constant."""
        n = self.n_rows
        sums, squares = exact.to_ints(self.sums), exact.to_ints(self.squares)
        unit, unit2 = self.sum_grid.exponent, self.square_grid.exponent
        variances = [
            exact.scaled(q, unit2) / n - (exact.scaled(s, unit) / n) ** 2
            for s, q in zip(sums, squares, strict=True)
        ]
        found = np.sqrt(np.array([float(max(v, Fraction(0))) for v in variances]))
        return np.where(found > 0, found, 1.0)

    def total_variance(self) -> Fraction:
        """The sum of the columns' (population) variances."""
        bits = (53 - self.sums.shape[1].bit_length()) // 2
        pieces = exact.limb_pieces(self.sums[:, np.newaxis], bits)
        (spread,), exponent = exact.row_dots(pieces, pieces, 1)
        mean_square = self.total_squares / self.n_rows
        exponent += 2 * self.sum_grid.exponent
        return mean_square - exact.scaled(spread, exponent) / self.n_rows**2


def _runs(n_rows: int, n_features: int, n_elements: int) -> Iterator[slice]:
    """Of so many rows that their elements stay in cache."""
    size = min(max(n_elements // n_features, 1), _MOST_ROWS)
    for start in range(0, n_rows, size):
        yield slice(start, start + size)


@dataclass(frozen=True)
class SumMoments:
    """Reduction: column sums and sums of squares as limbs."""

    n_rows: int
    """What all rows weigh; their number where each is one."""
    dtype: str
    exponent: int
    state_kind = None

    def step(self, batch: Batch, state: None) -> tuple[tuple[exact.Ints, exact.Ints], None]:
        sums_grid = sum_grid(self.n_rows, self.dtype, self.exponent)
        squares_grid = square_grid(self.n_rows, self.dtype, self.exponent)
        grids = sums_grid, squares_grid
        if is_sparse(batch.rows):
            return self._of_sparse(batch, *grids), None
        if batch.weights is None and batch.rows.dtype.name in _SHORT:
            return self._of_short(batch.rows, *grids), None
        if batch.weights is None and self._by_loops(batch.rows, *grids):
            unit = self._unit_grid(squares_grid)
            return compiled_sums.moments(batch.rows, self.exponent, sums_grid, unit), None
        return self._of_any(batch, *grids), None

    def _by_loops(self, rows: Any, sums_grid: Grid, squares_grid: Grid) -> bool:
        unit = self._unit_grid(squares_grid)
        pays = compiled_sums.pays(self.n_rows * rows.shape[1])
        return pays and compiled_sums.can_add_moments(self.dtype, self.exponent, sums_grid, unit)

    def _unit_grid(self, squares_grid: Grid) -> Grid:
        """The grid of squares in units of ``4**exponent``."""
        return Grid(squares_grid.exponent - 2 * self.exponent, squares_grid.n_limbs)

    def _of_short(
        self, rows: Any, sums_grid: Grid, squares_grid: Grid
    ) -> tuple[exact.Ints, exact.Ints]:
        """Of integers of 16 bits: so few that float64 holds the sums, by products with ones."""
        d = rows.shape[1]
        sums, squares = (
            np.zeros((grid.n_limbs, d), np.int64) for grid in (sums_grid, squares_grid)
        )
        for run in _runs(len(rows), d, _CACHED):
            part = rows[run].astype(np.float64)
            ones = np.ones(len(part))
            sums[0] += (ones @ part).astype(np.int64)
            squares[0] += (ones @ np.square(part, out=part)).astype(np.int64)
        return exact.carry(sums), exact.carry(squares)

    def _of_any(
        self, batch: Batch, sums_grid: Grid, squares_grid: Grid
    ) -> tuple[exact.Ints, exact.Ints]:
        total = None
        for run in _runs(len(batch.rows), batch.rows.shape[1], 1 << 18):
            part = batch.rows[run].astype(np.float64)
            own = None if batch.weights is None else batch.weights[run]
            squares = self._square_sums(part, squares_grid, own)
            one = exact.column_sums(part, sums_grid, own), squares
            total = one if total is None else self.merge(total, one)
        assert total is not None
        return total

    def _of_sparse(
        self, batch: Batch, sums_grid: Grid, squares_grid: Grid
    ) -> tuple[exact.Ints, exact.Ints]:
        rows, own = batch.rows, batch.weights
        unit = self._unit_grid(squares_grid)
        if (
            own is None
            and sparse_compiled.pays(len(rows.data))
            and sparse_compiled.can_add_moments(self.exponent, sums_grid, unit)
        ):
            return sparse_compiled.moments(rows, self.exponent, sums_grid, unit)
        values = rows.data.astype(np.float64)
        square, error, grid = self._squares(values, squares_grid)
        squares = column_sums(rows, square, grid, own) + column_sums(rows, error, grid, own)
        return column_sums(rows, values, sums_grid, own), exact.carry(squares)

    def _squares(self, values: exact.Floats, grid: Grid) -> tuple[exact.Floats, exact.Floats, Grid]:
        """Squares, what they lack, and the grid, in units of ``4**exponent``."""
        # The squares of tiny reals would vanish.
        unit = exact.shifted(values, -self.exponent)
        return *exact.two_product(unit, unit), self._unit_grid(grid)

    def _square_sums(
        self, values: exact.Floats, grid: Grid, weights: exact.Ints | None
    ) -> exact.Ints:
        square, error, grid = self._squares(values, grid)
        sums = exact.column_sums(square, grid, weights)
        if not error.any():
            return sums
        return exact.carry(sums + exact.column_sums(error, grid, weights))

    def merge(
        self, a: tuple[exact.Ints, exact.Ints], b: tuple[exact.Ints, exact.Ints]
    ) -> tuple[exact.Ints, exact.Ints]:
        return exact.carry(a[0] + b[0]), exact.carry(a[1] + b[1])

    def finish(self, total: tuple[exact.Ints, exact.Ints]) -> Moments:
        return Moments(self.n_rows, self.dtype, self.exponent, *total)
