"""Hard k-means: one reduction from rows and centres to exact cluster sums and counts."""

from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

import numpy as np

from daskcluster.kernels import compiled, compiled_centers, compiled_sums, compiling
from daskcluster.kernels.batch import Batch, Indices
from daskcluster.kernels.bounds import Drift
from daskcluster.kernels.frame import Floats, Frame, Rows, Singles
from daskcluster.kernels.hard_sums import HardPartial, merge_hard, moved
from daskcluster.kernels.nearest import UNKNOWN, Found, Labels, Nearest
from daskcluster.kernels.prepared import move
from daskcluster.kernels.projection import Basis, Narrow, Sketch, products_of, sketch_of
from daskcluster.kernels.scratch import aligned
from daskcluster.sizing import Grid, pairs_width

_FEW_ELEMENTS = 1 << 18  # of centres


@dataclass
class HardState:
    """What a worker remembers of a block: 16 bytes a row, and a sketch where the budget allows.

    Rebuilt from rows and centres when lost.
    """

    iteration: int
    """The iteration whose centres all of it belongs to."""
    labels: Labels
    norms: Singles
    gaps: Singles
    radii: Singles
    """As in `nearest.Found`."""
    sketch: Sketch | None = None
    """Of centres and iterations it does not depend."""
    pairs: Singles | None = None
    """A gap of each centre, shape (n, pairs_width(n_clusters)), as in `Nearest.find`."""

    @property
    def nbytes(self) -> int:
        arrays = (self.labels, self.norms, self.gaps, self.radii)
        more = [extra.nbytes for extra in (self.sketch, self.pairs) if extra is not None]
        return sum(array.nbytes for array in arrays) + sum(more)


@dataclass(frozen=True)
class Asked:
    """A block's state, and the rows that its step must see."""

    state: HardState | None
    rows: Indices | None
    """Ascending places in the block; None for all."""
    reach: compiled.Reach | None = None
    """Which centres they must be compared with; None for all."""


@dataclass(frozen=True)
class Assign:
    """Reduction: label all rows, return what moved between the clusters.

    The partial is always the change from the labels of ``previous`` to those of ``centers``, also
    where a block's state was lost: then both are computed. Without ``previous`` it is all rows.
    """

    centers: Floats
    previous: Floats | None
    iteration: int
    frame: Frame
    grid: Grid
    bounded: bool = True
    """Whether rows that provably keep their label are left alone."""
    basis: Basis | None = None
    """What sketches are made on; None to do without."""
    compiled: bool = False
    """Whether the fit is large enough for compiled loops, where a worker has them."""
    paired: bool = False
    """Whether a gap of each centre is kept, beside sketches, where a worker has compiled loops."""
    state_kind: str | None = "hard"

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the sums of one partial."""
        return self.grid.n_limbs * self.centers.nbytes

    @cached_property
    def nearest(self) -> Nearest:
        loops = self._by_loops and compiled_centers.can_move(self.frame)
        return Nearest(self.centers, self.frame, compiled_centers.move if loops else move)

    @cached_property
    def nearest_before(self) -> Nearest:
        assert self.previous is not None
        return Nearest(self.previous, self.frame)

    @cached_property
    def drift(self) -> Drift:
        assert self.previous is not None
        known = None if self.nearest.repeats else self.nearest.moved
        loops = self._by_loops and compiled_centers.can_drift(self.frame)
        kind = compiled_centers.CompiledDrift if loops else Drift
        return kind(self.previous, self.centers, self.frame, known)

    @cached_property
    def narrow(self) -> Narrow:
        """Of distinct centres."""
        assert self.basis is not None
        kind = compiled_centers.CompiledNarrow if self._by_loops else Narrow
        return kind(self.nearest.moved, self.frame, self.basis)

    @cached_property
    def _unprepared(self) -> list[str]:
        """What all blocks need; taken from the end, so that no two threads do the same."""
        narrow = self.basis is not None and not self.nearest.repeats
        apart, coordinates = (["narrow.apart"], ["narrow.coordinates"]) if narrow else ([], [])
        # Without loops float64 is for the few rows that float32 leaves open.
        double = ["nearest.double"] if self._by_loops else []
        begin = [*double, "nearest.single", "nearest.moved"]
        if self._keeps_pairs:
            return [*coordinates, "drift.pairs", *apart, *begin, "drift.parting"]
        # Rows of one limb are integers, most often bytes.
        bytes_for_all = self._compares_all and not narrow and self.grid.n_limbs == 1
        shorts = ["nearest.shorts"] if bytes_for_all else []
        return [*coordinates, *apart, "drift.losses", *shorts, *begin, "drift.steps"]

    def prepare(self) -> None:
        """Before threads begin: they would wait for each other longer than it takes alone."""
        if self.centers.size < _FEW_ELEMENTS:
            self._prepare()

    @np.errstate(over="ignore", invalid="ignore")
    def _prepare(self) -> None:
        """Threads that come here at once share the work, and do not wait for one that does all."""
        while self.bounded and self.previous is not None:
            try:
                part = self._unprepared.pop()
            except IndexError:
                return
            attrgetter(part)(self)

    def ask(self, state: HardState | None) -> Asked:
        """Bring the bounds up to date; the rows for which they no longer hold must be seen."""
        if not (self.bounded and self._follows(state)):
            return Asked(state, None)
        assert state is not None
        self._prepare()
        if self.nearest.repeats:
            state.pairs = None
        if state.pairs is not None and state.sketch is not None:
            return Asked(
                state,
                *compiled.narrow_pairs(
                    self.drift, self.narrow, state.sketch,
                    state.labels, state.norms, state.pairs, state.gaps, state.radii,
                ),
            )  # fmt: skip
        rows = self._loose(state)
        if self.basis and state.sketch and len(rows) and not self.nearest.repeats:
            return self._narrowed(state, state.sketch, rows)
        return Asked(state, rows)

    @property
    def _by_loops(self) -> bool:
        return self.compiled and compiling.has_numba()

    @property
    def _keeps_pairs(self) -> bool:
        kept = self.paired and self.basis is not None and self._by_loops
        return kept and not self.nearest.repeats

    def _loose(self, state: HardState) -> Indices:
        """The rows whose gap the move of the centres may have closed."""
        labels, gaps, radii = state.labels, state.gaps, state.radii
        if self._by_loops:
            return compiled.widen(self.drift, labels, gaps, radii)
        state.gaps, state.radii = self.drift.widen(labels, gaps, radii)
        return np.flatnonzero(~(state.gaps > 0))

    def _narrowed(self, state: HardState, sketch: Sketch, rows: Indices) -> Asked:
        """Leave of ``rows`` those of which the sketch does not prove that they keep their label."""
        labels, norms, gaps, radii = state.labels, state.norms, state.gaps, state.radii
        if self._by_loops:
            return Asked(
                state, *compiled.narrow(self.narrow, sketch, rows, labels, norms, gaps, radii)
            )
        found = self.narrow.narrow(sketch, norms, rows)
        kept = (found.gaps > 0) & (found.labels == labels[rows])
        proved = rows[kept]
        gaps[proved] = found.gaps[kept]
        radii[proved] = np.minimum(radii[proved], found.radii[kept])
        return Asked(state, rows[~kept])

    def likely(self, state: HardState, n: int) -> Indices:
        """The ``n`` rows most likely to be asked for next."""
        known = np.where(state.gaps > 0, state.gaps, 0)
        return np.sort(np.argpartition(known, n)[:n])

    def looks(self, asked: Asked | None) -> Nearest | None:
        """The centres that all rows of a block are to be compared with, in compiled loops."""
        whole = asked is None or asked.rows is None or asked.state is None
        return self.nearest if whole and self._by_loops and not self._keeps_pairs else None

    def step(
        self, batch: Batch | None, asked: Asked | None, found: Found | None = None
    ) -> tuple[HardPartial, HardState]:
        """Label the rows of a block, or those asked for (None where that is none).

        ``found`` is what is known already of what `looks` asked.
        """
        state = None if asked is None else asked.state
        if asked is None or asked.rows is None or state is None:
            assert batch is not None
            return self._step_all(batch, state, found)
        state.iteration = self.iteration
        if batch is None:
            return self._nothing(), state
        at = asked.rows if batch.picked is None else None
        reach = asked.reach
        if reach is None and self._compares_all:
            reach = compiled.all_in_reach(len(asked.rows))
        if reach is None:
            before = state.labels[asked.rows]
            pairs = None if state.pairs is None else state.pairs[asked.rows]
            found = self.nearest.find(batch.rows, state.norms[asked.rows], at, pairs)
            if state.pairs is not None:
                state.pairs[asked.rows] = pairs
            state.labels[asked.rows] = found.labels
            state.gaps[asked.rows] = found.gaps
            state.radii[asked.rows] = found.radii
        else:
            before = compiled.compare(
                self.nearest, batch.rows, at, asked.rows, reach,
                state.labels, state.norms, state.gaps, state.radii, state.pairs,
            )  # fmt: skip
        return self._moved(batch, before, state.labels[asked.rows], at), state

    def _step_all(
        self, batch: Batch, state: HardState | None, found: Found | None
    ) -> tuple[HardPartial, HardState]:
        pairs, rows = None, batch.rows
        if self._keeps_pairs:
            # Columns that are no centre's must never look lost.
            pairs = aligned((len(rows), pairs_width(len(self.centers))), np.float32)
            pairs[:] = UNKNOWN
        if found is None:
            found = self._find_all(rows, state.norms if state else None, pairs)
        before = self._labels_before(rows, state, found)
        partial = self._moved(batch, before, found.labels, None)
        sketch = None if state is None else state.sketch
        if sketch is None and self.basis is not None:
            loops = self._by_loops and compiled.can_project(rows, self.frame)
            products = compiled.products_of if loops else products_of
            sketch = sketch_of(rows, found.norms, self.frame, self.basis, products)
        return partial, HardState(
            self.iteration, found.labels, found.norms, found.gaps, found.radii, sketch, pairs
        )

    def _find_all(self, rows: Rows, norms: Singles | None, pairs: Singles | None) -> Found:
        if self._compares_all and compiled.is_plain(rows, self.frame):
            return compiled.find(self.nearest, rows, norms, pairs)
        return self.nearest.find(rows, norms, pairs=pairs)

    @property
    def _compares_all(self) -> bool:
        """Whether loops are faster for rows of which nothing is known."""
        few = len(self.centers) <= compiled.FEW
        return few and self._by_loops and not self.nearest.repeats

    def _follows(self, state: HardState | None) -> bool:
        """Whether a state is that of ``previous``."""
        same = state is not None and state.iteration == self.iteration - 1
        return same and self.previous is not None

    def _labels_before(self, rows: Rows, state: HardState | None, found: Found) -> Labels | None:
        if self.previous is None:
            return None
        if state is not None and self._follows(state):
            return state.labels
        return self.nearest_before.find(rows, found.norms).labels

    def _moved(
        self, batch: Batch, before: Labels | None, after: Labels, at: Indices | None
    ) -> HardPartial:
        k, grid, rows = len(self.centers), self.grid, batch.rows
        loops = self._by_loops and batch.weights is None
        if not (loops and compiled_sums.can_add(rows, grid)):
            return moved(rows, before, after, k, grid, at, batch.weights)
        if before is None:
            return HardPartial(*compiled_sums.add(rows, after, k, grid), len(after))
        picked = np.flatnonzero(before != after)
        places = picked if at is None else at[picked]
        sums, counts = compiled_sums.move(rows, places, before[picked], after[picked], k, grid)
        return HardPartial(sums, counts, len(picked))

    def _nothing(self) -> HardPartial:
        k, d = self.centers.shape
        zeros = np.zeros((self.grid.n_limbs, k, d), dtype=np.int64)
        return HardPartial(zeros, np.zeros(k, dtype=np.int64), 0)

    def merge(self, a: HardPartial, b: HardPartial) -> HardPartial:
        # Of two changes of which one is none, the other is the sum.
        return merge_hard(a, b) if a.changed else b
