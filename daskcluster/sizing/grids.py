"""Types of rows, and fixed-point numbers on which their sums are exact."""

from dataclasses import dataclass
from typing import Any

from daskcluster.errors import InputError

LIMB_BITS = 48
GRID_BITS = 96
# The square of a float64 has twice its digits, and an inertia far below them is what is left.
SQUARE_GRID_BITS = 144
INT64_SAFE_BITS = 62
# Every integer of these types is a float64, so a centre and a row meet in exact arithmetic.
INTEGER_BOUNDS = {
    "uint8": 2**8 - 1, "int8": 2**7, "uint16": 2**16 - 1, "int16": 2**15,
    "uint32": 2**32 - 1, "int32": 2**31, "int64": 2**53,
}  # fmt: skip
ROW_TYPES = (*INTEGER_BOUNDS, "float32", "float64")
# Beyond it a squared distance no longer fits float64.
LARGEST_MAGNITUDE = 2.0**480


def check_row_type(dtype: Any, where: str) -> str:
    """Return the name of ``dtype`` if rows may have it; raise `InputError` otherwise."""
    name = str(getattr(dtype, "name", dtype))
    if name not in ROW_TYPES:
        raise InputError(
            f"{where}: rows of type {name} are not supported; use {', '.join(ROW_TYPES)}"
        )
    return name


@dataclass(frozen=True)
class Grid:
    """Fixed-point numbers: ``sum(limb[l] * 2**(48 l)) * 2**exponent`` with int64 limbs."""

    exponent: int
    n_limbs: int


def integer_grid(n_rows: int, bound: int) -> Grid:
    """The grid on which ``n_rows`` integers of magnitude up to ``bound`` add without overflow."""
    bits = (n_rows * bound).bit_length()
    return Grid(0, 1 if bits <= INT64_SAFE_BITS else -(-bits // LIMB_BITS))


def real_grid(n_rows: int, exponent: int, bits: int = GRID_BITS) -> Grid:
    """The grid for ``n_rows`` reals below ``2**exponent``: its unit is ``bits`` below their sum."""
    return Grid(exponent + n_rows.bit_length() - bits, bits // LIMB_BITS)


def sum_grid(n_rows: int, dtype: str, exponent: int) -> Grid:
    """The grid for sums of elements of ``dtype`` (reals: all below ``2**exponent``)."""
    if dtype in INTEGER_BOUNDS:
        return integer_grid(n_rows, INTEGER_BOUNDS[dtype])
    return real_grid(n_rows, exponent)


def square_grid(n_rows: int, dtype: str, exponent: int) -> Grid:
    """The grid for sums of squares of elements of ``dtype``."""
    if dtype in INTEGER_BOUNDS:
        return integer_grid(n_rows, INTEGER_BOUNDS[dtype] ** 2)
    return real_grid(n_rows, 2 * exponent, SQUARE_GRID_BITS)
