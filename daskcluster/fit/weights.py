"""Weights of rows as whole numbers: a row of weight w counts as w rows."""

from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.engine.lazy import is_dask_array
from daskcluster.errors import InputError

# `exact.times` multiplies by less than 2**38, and counts are divided by as float64.
_FACTOR_BITS, _TOTAL_BITS = 37, 52

Whole = npt.NDArray[np.int64]


def whole_weights(sample_weight: Any, n_rows: int, name: str) -> tuple[Whole | None, int]:
    """Weights in units of a power of two, and its exponent: 0 where all are whole numbers.

    Others are rounded once, to 2**-37 of the largest, or coarser for more than 2**15 rows, so that
    the sum of all stays below 2**53. None where each row is one.

    Raises
    ------
    InputError
        Another shape; NaN, infinite or negative weights, or none above 0.

    Examples
    --------
    >>> whole_weights([1, 0, 3], 3, "X")
    (array([1, 0, 3]), 0)
    >>> whole_weights([0.5, 0.25, 1.0], 3, "X")[1]
    -36
    """
    if sample_weight is None:
        return None, 0
    weights = _checked(sample_weight, n_rows, name)
    largest = float(weights.max())
    whole = bool((weights == np.rint(weights)).all())
    if whole and largest < 2.0**_FACTOR_BITS and float(weights.sum()) < 2.0**_TOTAL_BITS:
        return (None, 0) if largest == weights.min() == 1 else (weights.astype(np.int64), 0)
    bits = min(_FACTOR_BITS, _TOTAL_BITS - n_rows.bit_length())
    unit = int(np.frexp(largest)[1]) - bits
    return np.rint(np.ldexp(weights, -unit)).astype(np.int64), unit


def _checked(sample_weight: Any, n_rows: int, name: str) -> npt.NDArray[np.float64]:
    given = sample_weight.compute() if is_dask_array(sample_weight) else sample_weight
    try:
        weights = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"sample_weight: {error}") from error
    if weights.ndim == 0:
        weights = np.full(n_rows, weights)
    if weights.shape != (n_rows,):
        raise InputError(
            f"sample_weight.shape == {weights.shape}, expected ({n_rows},): one number a row of "
            f"{name}"
        )
    bad = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
    if len(bad):
        raise InputError(
            f"sample_weight of row {bad[0]} is {weights[bad[0]]}: weights are finite and at least 0"
        )
    if not weights.any():
        raise InputError("all sample weights are zero: no row is left")
    return weights


def in_units(counts: Any, unit: int) -> Any:
    """Sums of weights as they were given: whole numbers stay whole."""
    return counts if unit == 0 else np.ldexp(counts.astype(np.float64), unit)
