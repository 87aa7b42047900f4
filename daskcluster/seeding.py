"""Initial centres: k-means++ and random rows, drawn so that chunks and workers cannot matter.

A row of weight w is w rows of weight 1: what is drawn is one of the copies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.engine import Ask, Asking, Session, alone
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.seeds import Invert, Potentials, TakeRows, unit_exponent
from daskcluster.plan import Cut, seed_trials
from daskcluster.survey import Scale

_DRAW_BITS = 128


@dataclass(frozen=True)
class Population:
    """The rows that are drawn from, each as often as it weighs."""

    cut: Cut
    weights: npt.NDArray[np.int64] | None = None
    """Shape (n_rows,); None where each row is one."""

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
        return self.row(_below(self.size, rng))


def random_rows(
    population: Population, n_clusters: int, rng: np.random.Generator
) -> Asking[Floats]:
    """``n_clusters`` distinct copies of rows, uniformly; shape (n_clusters, n_features)."""
    copies = rng.choice(population.size, n_clusters, replace=False, shuffle=False)
    return (yield from rows_at(population.cut, [population.row(int(i)) for i in copies]))


def rows_at(cut: Cut, indices: list[int]) -> Asking[Floats]:
    """Rows by absolute index, in the order given, as float64."""
    blocks = sorted({i // cut.rows_per_block for i in indices})
    found = yield Ask(TakeRows(tuple(indices)), "rows", blocks)
    return np.stack([found[i] for i in indices]).astype(np.float64)


def take_rows(session: Session, indices: list[int]) -> Floats:
    """The same at once."""
    return alone(session, rows_at(session.cut, indices))


def kmeans_plusplus(
    population: Population,
    scale: Scale,
    dtype: str,
    n_clusters: int,
    rng: np.random.Generator,
    restart: int = 0,
    *,
    before: dict[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> Asking[Floats]:
    """Greedy k-means++ with ``2 + log(k)`` trials a seed, one pass over the data a seed.

    Parameters
    ----------
    before : dict, optional
        What an earlier run gave to ``keep``, to go on from; ``rng`` is set to where it was.
    keep : callable, optional
        Given the state after every round.

    References
    ----------
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007; the greedy
    form is the one of scikit-learn.

    Returns
    -------
    float64 ndarray of shape (n_clusters, n_features)
        Rows of the data.
    """
    unit = unit_exponent(scale.total_variance, dtype)
    shared: dict[str, Any] = {
        "restart": restart, "frame": scale.frame, "unit": unit, "dtype": dtype,
    }  # fmt: skip
    n_trials = seed_trials(n_clusters)
    # Candidates of the round are measured together with the seed that the last round chose.
    if before is None:
        candidates = yield from rows_at(population.cut, [population.draw(rng)])
        known = np.empty((0, candidates.shape[1]))
    else:
        known, candidates = before["known"], before["candidates"]
        rng.bit_generator.state = before["rng"]
    while len(known) < n_clusters - 1:
        totals = yield from _potentials(known, candidates, shared)
        best = min(range(len(candidates)), key=lambda i: sum(totals[i]))
        known = np.concatenate([known, candidates[best : best + 1]])
        candidates = yield from _draw(population, known, totals[best], n_trials, rng, shared)
        if keep is not None:
            keep({"known": known, "candidates": candidates, "rng": dict(rng.bit_generator.state)})
    if n_clusters == 1:
        return candidates
    totals = yield from _potentials(known, candidates, shared)
    best = min(range(len(candidates)), key=lambda i: sum(totals[i]))
    return np.concatenate([known, candidates[best : best + 1]])


def _potentials(
    seeds: Floats, candidates: Floats, shared: dict[str, Any]
) -> Asking[list[list[int]]]:
    """For each candidate, the potential of every block if it became a seed."""
    job = Potentials(seeds=seeds, candidates=candidates, **shared)
    by_block = sorted((yield Ask(job, f"k-means++ {len(seeds) + 1}")))
    return [list(totals) for totals in zip(*(t for _, t in by_block), strict=True)]


def _draw(
    population: Population,
    seeds: Floats,
    totals: list[int],
    n_trials: int,
    rng: np.random.Generator,
    shared: dict[str, Any],
) -> Asking[Floats]:
    """Rows drawn in proportion to their squared distance from the nearest seed."""
    whole = sum(totals)
    if whole == 0:
        # Fewer distinct rows than clusters: any row repeats a seed.
        rows = [population.draw(rng) for _ in range(n_trials)]
        return (yield from rows_at(population.cut, rows))
    targets: dict[int, list[tuple[int, int]]] = {}
    for place in range(n_trials):
        block, left = _locate(totals, _below(whole, rng))
        targets.setdefault(population.cut.block(block).start, []).append((place, left))
    job = Invert(seeds=seeds, targets=targets, **shared)
    blocks = sorted(start // population.cut.rows_per_block for start in targets)
    found = sorted((yield Ask(job, "k-means++ draw", blocks)), key=lambda one: one[0])
    return np.stack([row for _, _, row in found]).astype(np.float64)


def _locate(totals: list[int], number: int) -> tuple[int, int]:
    """The block in which the cumulated totals pass ``number``, and what is left of it there."""
    for block, total in enumerate(totals):
        if number < total:
            return block, number
        number -= total
    raise ValueError("the number drawn exceeds the sum")


def _below(limit: int, rng: np.random.Generator) -> int:
    """An integer in [0, limit), uniform to within 2**-64; ``limit`` may leave int64."""
    return int.from_bytes(rng.bytes(_DRAW_BITS // 8), "little") * limit >> _DRAW_BITS
