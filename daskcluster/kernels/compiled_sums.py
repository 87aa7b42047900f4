"""Sums of rows in compiled loops, where numba is installed and the work is large.

As in `compiled`, the same is done in NumPy elsewhere, by `exact`, to the same bits.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from daskcluster.kernels import compiling, exact
from daskcluster.kernels.compiling import Loops
from daskcluster.kernels.frame import Floats, Rows
from daskcluster.kernels.nearest import Labels
from daskcluster.sizing import INTEGER_BOUNDS, LIMB_BITS, Grid

# Elements from which loading numba is paid back, and those that are worth a call.
MANY = 1 << 25
_WORTH_A_CALL = 1 << 12
# A limb of a number is below 2**47, and what so many of them add to a carried one below 2**63.
_RUN = 1 << 15
# Powers of two beyond which a number of the grid could leave float64.
_SCALES = 800
_SHORT_BYTES = 2
_WIDE = 256  # columns from which a loop over those of a row is fast

Summed = tuple[exact.Ints, exact.Ints]
"""Limbs of shape (n_limbs, n_clusters, n_features) and counts."""


_loops = Loops("sum_loops", "add")


def pays(n_elements: int) -> bool:
    """Whether loops are faster for so many elements; where they are loaded, few are enough."""
    least = min(MANY, _WORTH_A_CALL) if _loops.loaded else MANY
    return n_elements >= least and compiling.has_numba()


def can_add(rows: Rows, grid: Grid) -> bool:
    """Whether `add` and `move` may take rows of this type."""
    if rows.dtype.kind == "f":
        return _has_two_limbs(grid)
    return grid.n_limbs == 1


def _has_two_limbs(grid: Grid) -> bool:
    return grid.n_limbs == 2 and abs(grid.exponent) < _SCALES


def add(rows: Rows, labels: Labels, n_clusters: int, grid: Grid) -> Summed:
    """Sums and counts of all rows."""
    into = _sums(n_clusters, rows, grid)
    loop = _loops().add_reals if rows.dtype.kind == "f" else _loops().add
    for run in into.runs(len(labels)):
        loop(rows[run], labels[run], *into.where)
    return into.total()


def move(
    rows: Rows, at: exact.Ints, before: Labels, after: Labels, n_clusters: int, grid: Grid
) -> Summed:
    """Sums and counts that the rows ``at`` some places carry along."""
    into = _sums(n_clusters, rows, grid)
    loop = _loops().move_reals if rows.dtype.kind == "f" else _loops().move
    for run in into.runs(len(at)):
        loop(rows, at[run], before[run], after[run], *into.where)
    return into.total()


def _sums(n_clusters: int, rows: Rows, grid: Grid) -> "_IntegerSums | _RealSums":
    shape = (n_clusters, rows.shape[1])
    if rows.dtype.kind == "f":
        return _RealSums(shape, grid)
    return _IntegerSums(shape, rows.dtype)


class _IntegerSums:
    """Sums of integers, short ones in int32 while they fit: half as much to load and store."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        kind = np.int32 if dtype.itemsize <= _SHORT_BYTES else np.int64
        self._part = np.zeros(shape, dtype=kind)
        self._counts = np.zeros(shape[0], dtype=np.int64)
        self._whole = np.zeros((1, *shape), dtype=np.int64)
        self._most = np.iinfo(kind).max // INTEGER_BOUNDS[dtype.name]

    @property
    def where(self) -> tuple[Any, ...]:
        """What loops add to."""
        return self._part, self._counts

    def runs(self, n: int) -> Iterator[slice]:
        """Of so many rows that one part holds their sums."""
        for start in range(0, n, self._most):
            yield slice(start, start + self._most)
            self._whole[0] += self._part
            self._part[:] = 0

    def total(self) -> Summed:
        return self._whole, self._counts


class _RealSums:
    """Sums of reals, each rounded once to the grid, in limbs that are carried now and then."""

    def __init__(self, shape: tuple[int, int], grid: Grid) -> None:
        self._limbs = np.zeros((2, *shape), dtype=np.int64)
        self._counts = np.zeros(shape[0], dtype=np.int64)
        self._large = _large(grid)

    @property
    def where(self) -> tuple[Any, ...]:
        """What loops round with, and add to."""
        return self._large, self._limbs, self._counts

    def runs(self, n: int) -> Iterator[slice]:
        """Of so many rows that limbs have room for them."""
        for start in range(0, n, _RUN):
            yield slice(start, start + _RUN)
            exact.carry(self._limbs)

    def total(self) -> Summed:
        return self._limbs, self._counts


def _large(grid: Grid) -> tuple[float, ...]:
    """What must be added to a number, and taken away, to round it to the units of each limb."""
    limbs = range(grid.n_limbs)
    return tuple(math.ldexp(1.5, 52 + grid.exponent + LIMB_BITS * limb) for limb in limbs)


def can_add_moments(dtype: str, exponent: int, sums: Grid, squares: Grid) -> bool:
    """Whether `moments` can: rows are real, and nothing of it leaves float64."""
    near = max(abs(exponent), abs(squares.exponent)) < _SCALES
    return dtype in ("float32", "float64") and near and _has_two_limbs(sums)


def moments(rows: Rows, exponent: int, sums: Grid, squares: Grid) -> tuple[exact.Ints, exact.Ints]:
    """Sums of all columns, and of their squares in units of ``4**exponent``, as limbs."""
    n, d = rows.shape
    # A loop over the few columns of a row would hardly begin: many rows are one.
    side = max(min(_WIDE // d, n), 1)
    whole = n - n % side
    parts = [rows[:whole].reshape(-1, side * d), rows[whole:]]
    found = [_moments(part, exponent, sums, squares) for part in parts if len(part)]
    return tuple(  # type: ignore[return-value]
        exact.carry(sum(limbs.reshape(len(limbs), -1, d).sum(axis=1) for limbs in each))
        for each in zip(*found, strict=True)
    )


def _moments(rows: Rows, exponent: int, sums: Grid, squares: Grid) -> list[exact.Ints]:
    into, squared = (
        np.zeros((grid.n_limbs, rows.shape[1]), dtype=np.int64) for grid in (sums, squares)
    )
    # A single's square is a double: of it nothing is lost.
    whole = rows.dtype == np.float32
    for start in range(0, len(rows), _RUN // 4):
        _loops().real_moments(
            rows[start : start + _RUN // 4], _large(sums), 2.0**-exponent, _large(squares),
            whole, into, squared,
        )  # fmt: skip
        exact.carry(into)
        exact.carry(squared)
    return [into, squared]


def can_divide(grid: Grid) -> bool:
    """Whether `own_terms` can: two float64 hold two limbs, and products of them are not lost."""
    return grid.n_limbs <= 2 and -400 < grid.exponent < _SCALES


def own_terms(
    sums: exact.Ints, counts: exact.Ints, centers: Floats, grid: Grid
) -> tuple[Floats, Floats, float, int]:
    """Terms of `exact.own_terms` as `doubled.certified` takes them."""
    loops = _loops()
    large, small, sizes = np.zeros((3, loops.LANE_TERMS))
    floats = exact.are_floats(sums)
    loops.own_terms(sums, floats, counts, centers, 2.0**grid.exponent, large, small, sizes)
    depth = -(-centers.shape[1] // loops.LANE_TERMS) * len(counts) + loops.FOLDS
    left = slice(loops.FOLDED)
    return large[left], small[left], float(sizes[left].sum()), depth
