"""`nearest` for sparse centres, of which only what is not 0 is gone over."""

import itertools
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import exact, sparse_compiled, sparse_nearest
from daskcluster.kernels.frame import Floats, Frame, Singles
from daskcluster.kernels.nearest import Labels, Nearest
from daskcluster.kernels.prepared import Moved, prepare
from daskcluster.kernels.sparse import SparseRows


class NearestSparse(Nearest):
    """Assigns sparse rows to sparse centres, exactly.

    Parameters
    ----------
    centers : SparseRows of shape (n_clusters, n_features)
    frame : Frame
        Without shift and middle.
    """

    def __init__(self, centers: SparseRows, frame: Frame) -> None:
        assert frame.shift is None
        assert frame.middle is None
        self.kept = sparse_nearest.distinct(centers)
        self.repeats = len(self.kept) < len(centers)
        self.frame = frame
        self.room = sparse_compiled.Room()
        self._distinct = centers[self.kept] if self.repeats else centers

    @cached_property
    def _columns(self) -> Floats:
        """The centres with a row a feature."""
        columns: Floats = self._distinct.matrix().T.toarray(order="C")
        return columns

    @cached_property
    def centers(self) -> Floats:  # type: ignore[override]
        return self._columns.T

    @cached_property
    def _columns32(self) -> Singles:
        return self.room.columns_of(self._distinct, self.frame.exponent, self)

    @cached_property
    def moved(self) -> Moved:
        return self._with_weights(self._columns.T)

    def _with_weights(self, centers: Floats) -> Moved:
        exponent = self.frame.exponent
        # Centres far beyond the rows become infinite: what touches them is decided exactly.
        with np.errstate(over="ignore"):
            weights = np.ldexp(centers, -exponent) if exponent else centers
        return replace(self._sizes, weights=weights)

    @cached_property
    def _sizes(self) -> Moved:
        scaled = sparse_nearest.scaled(self._distinct, self.frame)
        squares, d = sparse_nearest.squares(scaled), scaled.n_features
        longest = float(np.sqrt(squares.max()))
        none, lift = np.empty((0, d)), float(squares.mean())
        single = none.astype(np.float32)
        return Moved(none, squares, squares, longest, longest, 0.0, lift, d, single)

    def join(self, room: sparse_compiled.Room) -> None:
        """Use what was left in a room, or let it go: one holds enough for all blocks."""
        if "_columns32" not in vars(self):
            self.room = room
        elif room is not self.room:
            room.clear()

    @np.errstate(over="ignore", invalid="ignore")
    def find_at(
        self, rows: SparseRows, at: npt.NDArray[np.intp], norms: Singles
    ) -> tuple[Labels, Singles]:
        """Labels and gaps, as in `Found`, of the rows ``at`` some places, whose norms are given.

        What `find` says of them, but that compiled loops read the rows where they are.
        """
        if not sparse_compiled.pays(len(rows.data)):
            found = self.find(cast("Any", rows), norms, at)
            return found.labels, found.gaps
        moved = sparse_nearest.scaled(rows, self.frame)
        places, best, second, margin = self._two_best(moved, at, norms.astype(np.float64))
        gap = second - best - margin
        sure = gap > 0
        places[~sure] = self.decide(rows[at[~sure]])
        held = sure & (not self.repeats)
        gaps = np.where(held, sparse_nearest.downwards(gap), np.float32(0))
        return self.kept[places], gaps

    def _decide(self, rows: Any) -> npt.NDArray[np.intp]:
        """From the columns of these rows alone: few rows have few."""
        columns, places = np.unique(rows.indices, return_inverse=True)
        few = SparseRows(rows.data, places.astype(np.int32), rows.indptr, len(columns))
        if sparse_compiled.pays(len(self._distinct.data)):
            centers = sparse_compiled.columns_at(self._distinct, columns)
        else:
            centers = self._distinct.matrix()[:, columns].toarray()
        prepared = prepare(self._with_weights(centers), np.float64, max(few.most_stored, 1))
        return self._decide_sparse(few, prepared, centers)

    @cached_property
    def _exact_squares(self) -> list[Fraction]:
        ends = self._distinct.indptr
        rows = (self._distinct.data[a:b] for a, b in itertools.pairwise(ends.tolist()))
        return [exact.squared_norms(row[np.newaxis])[0] for row in rows]
