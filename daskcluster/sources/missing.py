"""Values that are not there: refused, their rows left out, or means put in their place."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from daskcluster.errors import InputError
from daskcluster.sizing import LARGEST_MAGNITUDE, grain_rows
from daskcluster.sources.columns import Place, Selection
from daskcluster.sources.files import Array

Mask = npt.NDArray[np.bool_]

# Runs of rows whose sums are added up and forgotten.
_RUNS_KEPT = 256


def settle(values: Array, missing: Mask, selection: Selection, place: Place) -> Mask | None:
    """Do what the selection says of missing values; ``values`` may be filled in place.

    Returns
    -------
    ndarray of bool or None
        The rows that stay; None if all do.

    Raises
    ------
    InputError
        If a value is missing and none may be.
    """
    if not missing.any():
        return None
    if selection.missing == "error":
        raise _is_missing(missing, selection.features, place)
    if selection.missing == "drop":
        return complete(missing)
    np.copyto(values, np.array(selection.means, dtype=values.dtype), where=missing)
    return None


def _is_missing(missing: Mask, names: Sequence[str], place: Place) -> InputError:
    row, column = np.unravel_index(int(missing.argmax()), missing.shape)
    return InputError(
        f"{place.row(int(row))}, column {names[int(column)]!r}: no value (null or NaN); leave such "
        "rows out with --missing drop, or put the column's mean there with --missing mean"
    )


def complete(missing: Mask) -> Mask:
    """The rows in which nothing is missing."""
    return np.asarray(~missing.any(axis=1))


def check_kept(path: str, n_rows: int, dropped: int) -> None:
    """Refuse a table of which no row is left."""
    if not n_rows:
        raise InputError(
            f"{path}: all {dropped} rows have missing values and were dropped; choose other "
            "columns with --columns, or fill in means with --missing mean"
        )


class Means:
    """Column means that depend on the rows alone, not on how they come in blocks.

    Sums are rounded once a run of a fixed number of rows, once for every 256 runs, and once
    at the end. Infinities and what else cannot be clustered stay out: reading will refuse them.
    """

    def __init__(self, n_features: int) -> None:
        self.n_missing = np.zeros(n_features, dtype=np.int64)
        self._counts = np.zeros(n_features, dtype=np.int64)
        self._n_rows = 0
        self._run = np.empty((grain_rows(n_features), n_features))
        self._filled = 0
        self._sums: list[list[float]] = []
        self._totals: list[list[float]] = []

    def add(self, values: Array, missing: Mask) -> None:
        """Add rows, of which ``missing`` are not there."""
        values = values.astype(np.float64, copy=False)
        usable = ~missing & (np.abs(values) <= LARGEST_MAGNITUDE)
        self._n_rows += len(values)
        self.n_missing += missing.sum(axis=0)
        self._counts += usable.sum(axis=0)
        rows = np.where(usable, values, 0.0)
        while len(rows):
            taken = min(len(rows), len(self._run) - self._filled)
            self._run[self._filled : self._filled + taken] = rows[:taken]
            self._filled += taken
            rows = rows[taken:]
            if self._filled == len(self._run):
                self._end_run()

    def _end_run(self) -> None:
        self._sums.append(_column_sums(self._run[: self._filled]))
        self._filled = 0
        if len(self._sums) == _RUNS_KEPT:
            self._totals.append(_column_sums(np.array(self._sums)))
            self._sums = []

    def result(self, path: str, names: Sequence[str]) -> tuple[float, ...]:
        """The means.

        Raises
        ------
        InputError
            If a column has no value at all.
        """
        for name, absent in zip(names, self.n_missing, strict=True):
            if absent == self._n_rows:
                raise InputError(
                    f"{path}: column {name!r} has no value in any row, so it has no mean; leave it "
                    "out with --columns"
                )
        self._end_run()
        totals = _column_sums(np.array(self._totals + self._sums))
        return tuple(s / max(int(n), 1) for s, n in zip(totals, self._counts, strict=True))


def _column_sums(rows: npt.NDArray[np.float64]) -> list[float]:
    return [math.fsum(column) for column in rows.T.tolist()]
