"""`nearest` for sparse rows: float64 products, whose errors grow with the elements stored.

Of many features few are stored in a row; the bound for float32 would be as wide as the gaps, and
the product is not what takes the time.
"""

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact, sparse_compiled
from daskcluster.kernels.frame import Floats, Frame, Singles
from daskcluster.kernels.sparse import SparseRows

TILE_ROWS = 8192  # rows whose scores are held at once
_DOWN, _UP = 1 - 2.0**-22, 1 + 2.0**-22
_TINY = 2.0**-62
_MOST = float(np.finfo(np.float32).max)


def scaled(rows: SparseRows, frame: Frame) -> SparseRows:
    """Rows in the frame, float64; sparse rows are never shifted."""
    data = rows.data.astype(np.float64, copy=False)
    return rows.with_data(np.ldexp(data, -frame.exponent) if frame.exponent else data)


def squares(rows: SparseRows) -> Floats:
    """Squared norms, float64."""
    loops = sparse_compiled.pays(len(rows.data))
    return sparse_compiled.squares(rows) if loops else rows.squares()


def lengths_above(rows: SparseRows) -> Floats:
    """Upper bounds on the rows' norms."""
    error = (rows.most_stored + 8) * 2.0**-53
    lengths: Floats = np.sqrt(squares(rows)) * (1 + error) + _TINY
    return lengths


def norms_above(rows: SparseRows, frame: Frame) -> Singles:
    """Upper bounds on the rows' distances from the frame's middle, float32."""
    if frame.middle is None:
        return upwards(lengths_above(rows))
    lengths, middle = lengths_above(rows), frame.middle_of(rows.n_features)
    own = float(middle @ middle)
    error = 4 * (rows.n_features + 8) * 2.0**-53
    squares = lengths * lengths - 2 * rows.dot(middle) + own
    squares += error * (lengths * lengths + own)
    return upwards(np.sqrt(np.maximum(squares, 0)))


def upwards(values: Floats) -> Singles:
    """float32 numbers that are not less."""
    with np.errstate(over="ignore"):
        return np.asarray(values * _UP + _TINY, dtype=np.float32)


def downwards(values: Floats) -> Singles:
    """float32 numbers that are not more than these, where they are positive; never infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(np.minimum(values * _DOWN - _TINY, _MOST), dtype=np.float32)


def two_best(values: Floats) -> tuple[npt.NDArray[np.intp], Floats, Floats]:
    """The place of the lowest score of each row, it, and the next; infinite for a single centre."""
    labels = values.argmin(axis=1)
    at = np.arange(len(values))
    best = values[at, labels]
    values[at, labels] = np.inf
    second = values.min(axis=1)
    values[at, labels] = best
    return labels, best, second


def scores(rows: SparseRows, prepared: Any, lengths: Floats | None = None) -> tuple[Floats, Floats]:
    """Scores of rows in the frame and all centres, and by how much two of them must differ.

    ``lengths`` are upper bounds on the rows' norms, where they are known.
    """
    values = rows.dot(prepared.columns)
    values *= -2
    values += prepared.squares
    return values, prepared.margin(lengths_above(rows) if lengths is None else lengths)


def distinct(centers: SparseRows) -> npt.NDArray[np.int32]:
    """The first of each that are equal, ascending."""
    alike: dict[tuple[int, bytes], list[int]] = {}
    ends = centers.indptr.tolist()
    for i, (begin, end) in enumerate(itertools.pairwise(ends)):
        # Most differ in how many elements they store, or in the first of them.
        alike.setdefault((end - begin, centers.data[begin:end][:8].tobytes()), []).append(i)
    kept = [i for some in alike.values() for i in _distinct_of(centers, some)]
    return np.array(sorted(kept), dtype=np.int32)


def _distinct_of(centers: SparseRows, some: list[int]) -> list[int]:
    if len(some) == 1:
        return some
    first: dict[tuple[bytes, bytes], int] = {}
    for i in some:
        run = slice(centers.indptr[i], centers.indptr[i + 1])
        first.setdefault((centers.indices[run].tobytes(), centers.data[run].tobytes()), i)
    return list(first.values())


def decide_exactly(
    rows: SparseRows, near: npt.NDArray[np.bool_], centers: Floats, squares: list[Fraction]
) -> npt.NDArray[np.intp]:
    """Of the centres ``near`` each row, the nearest in exact arithmetic, ties to the lowest index.

    From stored elements alone: many short rows share no column with any centre, and to them the
    centre of the least norm is the nearest.
    """
    labels = np.empty(len(rows), dtype=np.intp)
    least: dict[bytes, int] = {}
    for i, candidates in enumerate(near):
        pick = np.flatnonzero(candidates)
        run = slice(rows.indptr[i], rows.indptr[i + 1])
        weights = centers[np.ix_(pick, rows.indices[run])]
        live = weights.any(axis=0)
        if live.any():
            row = rows.data[run][live].astype(np.float64)
            dots = exact.dots(row, np.ascontiguousarray(weights[:, live]))
            scores = [squares[j] - 2 * dot for j, dot in zip(pick.tolist(), dots, strict=True)]
            labels[i] = pick[scores.index(min(scores))]
            continue
        key = candidates.tobytes()
        if key not in least:
            least[key] = min(pick.tolist(), key=squares.__getitem__)
        labels[i] = least[key]
    return labels
