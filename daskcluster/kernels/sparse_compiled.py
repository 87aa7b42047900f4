"""The work on sparse rows and sums in compiled loops, where numba is installed and it is large.

As in `compiled`, the same is done in NumPy elsewhere: sums, quotients and inertia come to the same
bits, and labels are proved either way.
"""

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import compiling, exact
from daskcluster.kernels.compiling import Loops
from daskcluster.kernels.frame import Floats, Singles
from daskcluster.kernels.scratch import aligned
from daskcluster.kernels.sparse import SparseRows
from daskcluster.sizing import LANES, Grid

# Elements at once from which loading numba is paid back in a fit, and those that are worth a call.
MANY = 1 << 16
WORTH_A_CALL = 1 << 12
# Powers of two beyond which a scale, or what is scaled, could leave float64.
_SCALES = 1000
_MOST_LIMBS = 2

Places = npt.NDArray[np.int64]
Summed = tuple[Places, exact.Ints]
"""Places and limbs, as in `SparseSums`."""

_loops = Loops("sparse_loops", "plus")


def pays(n_elements: int) -> bool:
    """Whether loops are faster for so many elements; where they are loaded, fewer are enough."""
    least = min(MANY, WORTH_A_CALL) if _loops.loaded else MANY
    return n_elements >= least and compiling.has_numba()


class Room:
    """Where an iteration leaves its columns for the next: fresh memory costs more than filling it.

    Whoever holds it keeps them; blocks do, in their states.
    """

    def __init__(self) -> None:
        self._left: list[Singles] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"_left": []}

    def columns_of(self, centers: SparseRows, exponent: int, owner: Any) -> Singles:
        """Centres times ``2**-exponent`` in float32, a row a feature, in whole runs of lanes.

        They are left here when their owner is no more.
        """
        columns = self._found(centers.n_features, _whole_lanes(len(centers)))
        with np.errstate(over="ignore"):
            data = np.ldexp(centers.data, -exponent) if exponent else centers.data
        _loops().fill_columns(data, centers.indices, centers.indptr, columns)
        weakref.finalize(owner, _leave, weakref.ref(self), columns).atexit = False
        return columns

    def leave(self, columns: Singles) -> None:
        """Keep these, and no others."""
        self._left = [columns]

    def clear(self) -> None:
        """Let go what was left."""
        self._left = []

    def _found(self, *shape: int) -> Singles:
        columns = self._left.pop() if self._left else None
        return aligned(shape, np.float32) if columns is None or columns.shape != shape else columns


def _leave(room: weakref.ref[Room], columns: Singles) -> None:
    found = room()
    if found is not None:
        found.leave(columns)


def dense_columns_of(weights: Floats) -> Singles:
    """The same of dense centres (n_clusters, n_features), as they are."""
    k, n_features = weights.shape
    columns = aligned((n_features, _whole_lanes(k)), np.float32)
    columns[:, k:] = 0
    with np.errstate(over="ignore"):
        columns[:, :k] = weights.T
    return columns


def _whole_lanes(n_clusters: int) -> int:
    return LANES * -(-n_clusters // LANES)


def two_best(
    rows: SparseRows, at: npt.NDArray[np.intp], columns: Singles, squares: Singles
) -> tuple[npt.NDArray[np.int32], Singles, Singles]:
    """The place of the lowest score of each row ``at`` some places, it, and the next."""
    labels = np.empty(len(at), dtype=np.int32)
    best, second = np.empty((2, len(at)), dtype=np.float32)
    arrays = rows.data, rows.indices, rows.indptr
    _loops().two_best(*arrays, at, columns, squares, labels, best, second)
    return labels, best, second


def columns_at(rows: SparseRows, columns: npt.NDArray[np.int32]) -> Floats:
    """Some ascending columns of few rows, dense."""
    out = np.zeros((len(rows), len(columns)))
    _loops().columns_at(rows.data, rows.indices, rows.indptr, columns, out)
    return out


def squares(rows: SparseRows) -> Floats:
    """`SparseRows.squares`, but for the order of sums."""
    out = np.empty(len(rows))
    _loops().squares(rows.data, rows.indptr, out)
    return out


def can_move(grid: Grid) -> bool:
    """Whether `moved` and `moments` can use the grid."""
    return grid.n_limbs <= _MOST_LIMBS and abs(grid.exponent) < _SCALES


def moved(
    rows: SparseRows, picked: npt.NDArray[np.intp], before: Any, after: Any, n_clusters: int,
    grid: Grid,
) -> Summed:  # fmt: skip
    """Sums that the rows ``picked`` carry from the clusters ``before``, if any, to ``after``."""
    labels, entries = after, np.arange(len(picked))
    if before is not None:
        labels, entries = np.concatenate([after, before]), np.concatenate([entries, ~entries])
    order = entries[np.argsort(labels, kind="stable")]
    ends = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=n_clusters))])
    n_elements = int(rows.lengths[picked].sum()) * (1 if before is None else 2)
    most = min(n_elements, n_clusters * rows.n_features) + 1
    places, sums = np.empty(most, np.int64), np.empty((grid.n_limbs, most), np.int64)
    limbs = np.zeros((rows.n_features, grid.n_limbs), dtype=np.int64)
    marks = np.zeros(rows.n_features // 64 + 1, dtype=np.uint64)
    n = _loops().moved(
        rows.data, rows.indices, rows.indptr, picked, order, ends, 2.0**-grid.exponent,
        rows.n_features, limbs, marks, places, sums,
    )  # fmt: skip
    # A copy for a while takes as much again: only of what is a small part.
    return (places[:n], sums[:, :n]) if 2 * n > most else (places[:n].copy(), sums[:, :n].copy())


def plus(places: Places, limbs: exact.Ints, other: Places, more: exact.Ints) -> Summed:
    """`SparseSums.plus`, of two limbs."""
    most = len(places) + len(other)
    joint, sums = np.empty(most, np.int64), np.empty((len(limbs), most), np.int64)
    n = _loops().plus(places, limbs, other, more, joint, sums[0], sums[1])
    return joint[:n], sums[:, :n]


def can_divide(grid: Grid) -> bool:
    """Whether `quotients` and `own_terms` can: two float64 hold two limbs."""
    return grid.n_limbs == _MOST_LIMBS and -400 < grid.exponent < _SCALES


def quotients(limbs: exact.Ints, ends: Any, counts: exact.Ints, grid: Grid) -> Floats:
    """`exact.quotients` of runs of limbs by the counts of their clusters."""
    out, loops = np.empty(limbs.shape[1]), _loops()
    for j, count in enumerate(counts.tolist()):
        run = slice(ends[j], ends[j + 1])
        loops.quotients(limbs[0, run], limbs[1, run], count, 2.0**grid.exponent, out[run])
    return out


def own_terms(
    places: Places, limbs: exact.Ints, centers: SparseRows, counts: exact.Ints, grid: Grid
) -> tuple[Floats, Floats, float, int]:
    """Terms of `SparseSums.inertia` in two floats; their size, and how many a float adds up."""
    loops = _loops()
    large, small, sizes = np.zeros((3, loops.LANE_TERMS))
    loops.own_terms(
        places, limbs[0], limbs[1], centers.data, centers.indices, centers.indptr, counts,
        centers.n_features, 2.0**grid.exponent, large, small, sizes,
    )  # fmt: skip
    depth = len(centers.data) // loops.LANE_TERMS + len(counts) + loops.FOLDS
    left = slice(loops.FOLDED)
    return large[left], small[left], float(sizes[left].sum()), depth


def differences(new: SparseRows, old: SparseRows) -> Floats:
    """The elements of ``new - old`` that are not 0, row after row."""
    out = np.empty(len(new.data) + len(old.data) + 1)
    n = _loops().differences(
        new.data, new.indices, new.indptr, old.data, old.indices, old.indptr, out
    )
    return out[:n]


def can_add_moments(exponent: int, sums: Grid, squares: Grid) -> bool:
    """Whether `moments` can: nothing of it leaves float64."""
    return max(abs(exponent), abs(sums.exponent), abs(squares.exponent)) < _SCALES


def moments(
    rows: SparseRows, exponent: int, sums: Grid, squares: Grid
) -> tuple[exact.Ints, exact.Ints]:
    """Sums of all columns, and of their squares in units of ``4**exponent``, as limbs."""
    into = np.zeros((rows.n_features, sums.n_limbs), dtype=np.int64)
    into2 = np.zeros((rows.n_features, squares.n_limbs), dtype=np.int64)
    _loops().moments(
        rows.data, rows.indices, 2.0**-sums.exponent, 2.0**-exponent, 2.0**-squares.exponent,
        into, into2,
    )  # fmt: skip
    return np.ascontiguousarray(into.T), np.ascontiguousarray(into2.T)
