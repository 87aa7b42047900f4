"""Exact sums of sparse rows by cluster, and centres, of which only what is not 0 is kept.

Of very many features a cluster's rows have few. What is done to all n_clusters x n_features
numbers of an iteration would take longer than what is done to the rows.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact, sparse_compiled
from daskcluster.kernels.doubled import can_count, certified
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.sparse import SparseRows
from daskcluster.sizing import Grid

Places = npt.NDArray[np.int64]

_RUN = 1 << 14  # elements that stay in cache with what is made of them


@dataclass(frozen=True)
class SparseSums:
    """Limbs of the sums that are not 0, by place; carried, so one value has one form."""

    n_clusters: int
    n_features: int
    places: Places
    """``cluster * n_features + feature``, ascending, shape (n,)."""
    limbs: exact.Ints
    """Shape (n_limbs, n)."""

    @classmethod
    def gathered(
        cls, n_clusters: int, n_features: int, places: Places, limbs: exact.Ints
    ) -> "SparseSums":
        """Of elements at places in any order, at most 2**14 of them at one place."""
        if not len(places):
            return cls(n_clusters, n_features, places, limbs)
        order = np.argsort(places)
        ordered = places[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        sums = exact.carry(np.add.reduceat(limbs[:, order], starts, axis=1))
        return cls(n_clusters, n_features, ordered[starts], sums)._without_zeros()

    @classmethod
    def of(cls, dense: exact.Ints) -> "SparseSums":
        """Of limbs of shape (n_limbs, n_clusters, n_features)."""
        n_limbs, k, d = dense.shape
        flat = dense.reshape(n_limbs, -1)
        places = np.flatnonzero(flat.any(axis=0))
        return cls(k, d, places, flat[:, places])

    def dense(self) -> exact.Ints:
        """Limbs of shape (n_limbs, n_clusters, n_features)."""
        flat = np.zeros((len(self.limbs), self.n_clusters * self.n_features), dtype=np.int64)
        flat[:, self.places] = self.limbs
        return flat.reshape(len(self.limbs), self.n_clusters, self.n_features)

    def plus(self, other: "SparseSums") -> "SparseSums":
        """The sum of two; exact."""
        if not len(other.places):
            return self
        if not len(self.places):
            return other
        if len(self.limbs) == 2 and sparse_compiled.pays(len(self.places) + len(other.places)):
            joint = sparse_compiled.plus(self.places, self.limbs, other.places, other.limbs)
            return SparseSums(self.n_clusters, self.n_features, *joint)
        at = np.searchsorted(self.places, other.places)
        known = self.places[np.minimum(at, len(self.places) - 1)] == other.places
        limbs = self.limbs.copy()
        mine = at[known]
        limbs[:, mine] = exact.carry(limbs[:, mine] + other.limbs[:, known])
        fresh = ~known
        places = np.insert(self.places, at[fresh], other.places[fresh])
        limbs = np.insert(limbs, at[fresh], other.limbs[:, fresh], axis=1)
        return SparseSums(self.n_clusters, self.n_features, places, limbs)._without_zeros()

    def _without_zeros(self) -> "SparseSums":
        held = self.limbs.any(axis=0)
        if held.all():
            return self
        return SparseSums(self.n_clusters, self.n_features, self.places[held], self.limbs[:, held])

    @property
    def ends(self) -> Places:
        """Where the sums of each cluster begin and end, shape (n_clusters + 1,)."""
        return np.searchsorted(self.places, np.arange(self.n_clusters + 1) * self.n_features)

    def means(self, counts: exact.Ints, grid: Grid) -> SparseRows:
        """``S / n`` rounded to the nearest float64, for counts (n_clusters,) above 0."""
        ends = self.ends
        first = np.repeat(np.arange(self.n_clusters) * self.n_features, np.diff(ends))
        indices = (self.places - first).astype(np.int32)
        return SparseRows(self._quotients(ends, counts, grid), indices, ends, self.n_features)

    def _quotients(self, ends: Places, counts: exact.Ints, grid: Grid) -> Floats:
        if self._loops(grid):
            return sparse_compiled.quotients(self.limbs, ends, counts, grid)
        own = np.repeat(counts, np.diff(ends))
        data = np.empty(len(self.places))
        for i in range(0, len(data), _RUN):
            run = slice(i, i + _RUN)
            data[run] = exact.quotients(self.limbs[:, run], own[run], grid)
        return data

    def _loops(self, grid: Grid) -> bool:
        pays = sparse_compiled.pays(len(self.places))
        return pays and sparse_compiled.can_divide(grid)

    def inertia(
        self, squares: Fraction, counts: exact.Ints, centers: SparseRows, grid: Grid
    ) -> float:
        """`exact.inertia` of sparse centres, in exact arithmetic, rounded once."""
        if not len(self.places):  # a zero somewhere stands for all
            n_limbs = len(self.limbs)
            zero = np.zeros((n_limbs, 1), dtype=np.int64)
            held = SparseSums(self.n_clusters, self.n_features, np.zeros(1, np.int64), zero)
            return held.inertia(squares, counts, centers, grid)
        counted = can_count(counts)
        if counted and self._loops(grid):
            terms = sparse_compiled.own_terms(self.places, self.limbs, centers, counts, grid)
            rounded = certified(squares, *terms)
            if rounded is not None:
                return rounded
        at, known = self._at(centers)
        # Two float64 hold two limbs, and products of them far above what underflows.
        if counted and len(self.limbs) <= 2 and grid.exponent > -400:
            terms = self._own_terms(counts, centers, at, known, grid)
            rounded = certified(squares, *terms)
            if rounded is not None:
                return rounded
        return self._exactly(squares, counts, centers, at, known, grid)

    def _at(self, centers: SparseRows) -> tuple[Places, npt.NDArray[np.bool_]]:
        """Where the sums of the centres' elements are, and which are not 0."""
        wanted = centers.row_of * np.int64(self.n_features) + centers.indices
        if len(wanted) == len(self.places) and (wanted == self.places).all():
            return np.arange(len(wanted)), np.ones(len(wanted), dtype=bool)
        at = np.minimum(np.searchsorted(self.places, wanted), len(self.places) - 1)
        return at, self.places[at] == wanted

    def _own_terms(
        self,
        counts: exact.Ints,
        centers: SparseRows,
        at: Places,
        known: npt.NDArray[np.bool_],
        grid: Grid,
    ) -> tuple[Floats, Floats, float, int]:
        """In doubled precision; the terms' size, and how many are added up in one."""
        large, small = np.zeros((2, _RUN))
        size = 0.0
        rows = centers.row_of
        for i in range(0, len(at), _RUN):
            run = slice(i, i + _RUN)
            c, n = centers.data[run], counts[rows[run]].astype(np.float64)
            high, low = exact.two_floats(self.limbs[:, at[run]] * known[run])
            high, low = exact.shifted(high, grid.exponent), exact.shifted(low, grid.exponent)
            # c (n c - 2 S), each product with what it lacks.
            inner, lost = exact.two_product(n, c)
            inner, more = exact.two_sum(inner, -2 * high)
            lost += more - 2 * low
            term, rest = exact.two_product(c, inner)
            rest += c * lost
            m = len(c)
            large[:m], more = exact.two_sum(large[:m], term)
            small[:m] += more + rest
            size += float(np.abs(c) @ (n * np.abs(c) + 2 * np.abs(high)))
        return large, small, size, len(at) // _RUN

    def _exactly(
        self,
        squares: Fraction,
        counts: exact.Ints,
        centers: SparseRows,
        at: Places,
        known: npt.NDArray[np.bool_],
        grid: Grid,
    ) -> float:
        total = squares
        limbs = self.limbs[:, at] * known
        for k, count in enumerate(counts):
            run = slice(centers.indptr[k], centers.indptr[k + 1])
            total += exact.own_terms(
                limbs[:, np.newaxis, run], count[np.newaxis], centers.data[run][np.newaxis], grid
            )
        return max(float(total), 0.0)


def squared_moves(new: SparseRows, old: SparseRows) -> Floats:
    """The squared distance that each centre moved, shape (n_clusters,)."""
    if sparse_compiled.pays(len(new.data)):
        pairs = ((new[j : j + 1], old[j : j + 1]) for j in range(len(new)))
        return np.array([np.square(sparse_compiled.differences(*pair)).sum() for pair in pairs])
    moved = new.matrix() - old.matrix()
    return np.asarray(moved.multiply(moved).sum(axis=1), dtype=np.float64).ravel()


def squared_shift(new: SparseRows, old: SparseRows, exponent: int) -> float:
    """Sum of squared differences of centres, in units of ``4**exponent``."""
    if sparse_compiled.pays(len(new.data)):
        moved = sparse_compiled.differences(new, old)
    else:
        moved = (new.matrix() - old.matrix()).data
    with np.errstate(over="ignore"):
        return float(np.square(np.ldexp(moved, -exponent) if exponent else moved).sum())


def same(a: SparseRows, b: SparseRows) -> bool:
    """Whether centres are equal, element by element."""
    return all(
        np.array_equal(x, y)
        for x, y in ((a.indptr, b.indptr), (a.indices, b.indices), (a.data, b.data))
    )


def dense_centers(centers: Any) -> Floats:
    """Centres as an array (n_clusters, n_features)."""
    return np.asarray(centers, dtype=np.float64)
