"""The rows that initial centres are drawn from.

A row of weight w is w rows of weight 1: what is drawn is one of the copies.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from daskcluster.engine import Ask, Asking, Session, alone
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.seeds import TakeRows
from daskcluster.sizing import Cut

_DRAW_BITS = 128


@dataclass(frozen=True)
class Population:
    """The rows that are drawn from, each as often as it weighs."""

    cut: Cut
    weights: npt.NDArray[np.int64] | None = None
    """Shape (n_rows,); None where each row is one."""
    copies: bool = True
    """Whether weights are numbers of copies, and not shares of a row."""

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        assert self.weights is not None
        return np.cumsum(self.weights)

    @property
    def size(self) -> int:
        """Copies of all rows."""
        return self.cut.n_rows if self.weights is None else int(self._ends[-1])

    def row(self, copy: int) -> int:
        """The row that a copy is of."""
        if self.weights is None:
            return copy
        return int(np.searchsorted(self._ends, copy, side="right"))

    def draw(self, rng: np.random.Generator) -> int:
        """A row, in proportion to its weight."""
        return self.row(below(self.size, rng))


def random_rows(
    population: Population, n_clusters: int, rng: np.random.Generator
) -> Asking[Floats]:
    """``n_clusters`` distinct copies of rows, uniformly; shape (n_clusters, n_features).

    Where there are not so many, copies are drawn more than once.
    """
    if not population.copies:
        return (yield from rows_at(population.cut, _distinct(population, n_clusters, rng)))
    few = population.size < n_clusters
    copies = rng.choice(population.size, n_clusters, replace=few, shuffle=False)
    return (yield from rows_at(population.cut, [population.row(int(i)) for i in copies]))


def _distinct(population: Population, n_clusters: int, rng: np.random.Generator) -> list[int]:
    """Rows drawn one after the other in proportion to their weights, none twice if possible."""
    assert population.weights is not None
    possible = min(n_clusters, int(np.count_nonzero(population.weights)))
    found: dict[int, None] = {}
    for _ in range(64 * n_clusters):
        if len(found) == possible:
            break
        found[population.draw(rng)] = None
    # Rows that weigh next to nothing: the first that are left.
    for row in np.flatnonzero(population.weights).tolist() if len(found) < possible else ():
        if len(found) < possible:
            found[row] = None
    rows = list(found)
    return [rows[i % len(rows)] for i in range(n_clusters)]


def rows_at(cut: Cut, indices: list[int]) -> Asking[Floats]:
    """Rows by absolute index, in the order given, as float64."""
    blocks = sorted({i // cut.rows_per_block for i in indices})
    found = yield Ask(TakeRows(tuple(indices)), "rows", blocks)
    return np.stack([found[i] for i in indices]).astype(np.float64)


def take_rows(session: Session, indices: list[int]) -> Floats:
    """The same at once."""
    return alone(session, rows_at(session.cut, indices))


def below(limit: int, rng: np.random.Generator) -> int:
    """An integer in [0, limit), uniform to within 2**-64; ``limit`` may leave int64."""
    return int.from_bytes(rng.bytes(_DRAW_BITS // 8), "little") * limit >> _DRAW_BITS
