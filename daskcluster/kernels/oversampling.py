"""k-means||: rows drawn independently in proportion to their squared distances, round by round.

Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable k-means++", Proceedings of the VLDB
Endowment 5, 2012, algorithm 2.
A row's draw is the number of its own that a counter-based generator has for it, and its distance a
whole number, so chunks and workers cannot matter.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Singles
from daskcluster.kernels.near import squared_norms
from daskcluster.kernels.seeds import (
    Seeding,
    Weights,
    exact_total,
    nearer,
)

Drawn = tuple[float, int, int, int, Any]
"""Rank, row, its number, its distance with its weight, and its elements, shape (1, n_features)."""

NUMBER_BITS = 64


@dataclass
class CandidateState:
    """Each row's nearest candidate so far, and the distance to it in units.

    With its norm 16 bytes a row.
    """

    n_seeds: int
    weights: Weights
    nearest: npt.NDArray[np.int32]
    norms: Singles
    """As in `near.squared_norms`."""

    @property
    def nbytes(self) -> int:
        return self.weights.nbytes + self.nearest.nbytes + self.norms.nbytes


@dataclass(frozen=True)
class _Measured(Seeding):
    state_kind: str | None = "candidates"

    def measure(self, batch: Batch, state: CandidateState | None) -> CandidateState:
        """Measure the candidates that the state has not seen; of equals the first is nearest."""
        n, known = len(batch.rows), 0
        if state is None or state.n_seeds > len(self.seeds):
            weights, nearest = np.full(n, np.iinfo(np.int64).max), np.zeros(n, dtype=np.int32)
            norms = squared_norms(batch.rows, self.frame)
        else:
            known, norms = state.n_seeds, state.norms
            weights, nearest = state.weights.copy(), state.nearest.copy()
        if known < len(self.seeds):
            for at, fresh in nearer(batch.rows, self.seeds[known:], self, weights, norms):
                best = fresh.argmin(axis=1)
                least = fresh[np.arange(len(fresh)), best]
                closer = least < weights[at]
                nearest[at[closer]] = known + best[closer]
                weights[at[closer]] = least[closer]
        return CandidateState(len(self.seeds), weights, nearest, norms)


@dataclass(frozen=True)
class Oversample(_Measured):
    """Reduction: the sum of all distances, and of all rows those that are drawn first.

    A row is drawn if its number is below ``expected * distance / total``. The total is known only
    at the end, but not needed to rank them: by number over distance.
    """

    key: tuple[int, int] = (0, 0)
    """Of the generator: two numbers of 64 bits."""
    most: int = 0
    """Rows that are kept: far more are drawn once in the lifetime of nobody."""

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the rows of one partial."""
        return self.most * int(self.seeds.shape[1]) * 8

    def step(
        self, batch: Batch, state: CandidateState | None
    ) -> tuple[tuple[int, list[Drawn]], CandidateState]:
        state = self.measure(batch, state)
        total = exact_total(state.weights, batch.weights)
        return (total, self._first(batch, state.weights)), state

    def _first(self, batch: Batch, weights: Weights) -> list[Drawn]:
        numbers = row_numbers(self.key, batch.start, len(weights))
        heavy = weights.astype(np.float64)
        if batch.weights is not None:
            heavy *= batch.weights
        with np.errstate(divide="ignore"):
            ranks = numbers.astype(np.float64) / heavy
        some = np.flatnonzero(heavy > 0)
        if len(some) > self.most:
            some = some[np.argpartition(ranks[some], self.most - 1)[: self.most]]
        times = np.ones(len(weights), np.int64) if batch.weights is None else batch.weights
        return sorted(
            (
                (
                    float(ranks[i]), batch.start + i, int(numbers[i]),
                    int(weights[i]) * int(times[i]), batch.rows[i : i + 1].copy(),
                )
                for i in some.tolist()
            ),
            key=_order,
        )  # fmt: skip

    def merge(
        self, a: tuple[int, list[Drawn]], b: tuple[int, list[Drawn]]
    ) -> tuple[int, list[Drawn]]:
        return a[0] + b[0], sorted(a[1] + b[1], key=_order)[: self.most]


@dataclass(frozen=True)
class CountNearest(_Measured):
    """Reduction: the weight of the rows nearest to each candidate, shape (n_candidates,)."""

    def step(
        self, batch: Batch, state: CandidateState | None
    ) -> tuple[npt.NDArray[np.int64], CandidateState]:
        state = self.measure(batch, state)
        counts = np.zeros(len(self.seeds), dtype=np.int64)
        np.add.at(counts, state.nearest, 1 if batch.weights is None else batch.weights)
        return counts, state

    def merge(self, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return a + b


def _order(drawn: Drawn) -> tuple[float, int]:
    return drawn[:2]


def row_numbers(key: tuple[int, int], start: int, n: int) -> npt.NDArray[np.uint64]:
    """The numbers of ``n`` rows from ``start``: uniform, 64 bits, each row's own."""
    generator = np.random.Philox(key=np.array(key, dtype=np.uint64))
    # It makes four at a time.
    generator.advance(start // 4)
    return generator.random_raw(n + start % 4)[start % 4 :]
