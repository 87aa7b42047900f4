"""k-means||: many candidates in a few passes, and k-means++ among them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.engine import Ask, Asking, alone
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.oversampling import NUMBER_BITS, CountNearest, Drawn, Oversample
from daskcluster.kernels.seeds import unit_exponent
from daskcluster.seeding.plusplus import kmeans_plusplus
from daskcluster.seeding.population import Population, rows_at
from daskcluster.sizing import Cut
from daskcluster.survey import Scale

# The paper's experiments: after five rounds of twice as many draws as clusters more change little.
ROUNDS = 5
OVERSAMPLING = 2
# Where clusters are so many that five rounds did not find as many candidates.
_MOST_ROUNDS = 40


def kmeans_parallel(
    population: Population,
    scale: Scale,
    dtype: str,
    n_clusters: int,
    key: tuple[int, int],
    *,
    before: dict[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> Asking[Floats]:
    """k-means||: a pass a round, one that weighs the candidates, and none for those among them.

    Parameters
    ----------
    key : tuple of two int
        What all draws are keyed by: the seed and the restart.
    before, keep
        As in `kmeans_plusplus`.

    Returns
    -------
    float64 ndarray of shape (n_clusters, n_features)
        Rows of the data.

    References
    ----------
    Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable k-means++", Proceedings of the
    VLDB Endowment 5, 2012.
    """
    rng = np.random.Generator(np.random.Philox(key=list(key)))
    shared: dict[str, Any] = {
        "frame": scale.frame, "dtype": dtype,
        "unit": unit_exponent(scale.total_variance, dtype),
    }  # fmt: skip
    if before is None:
        seeds, done = (yield from rows_at(population.cut, [population.draw(rng)])), 0
    else:
        seeds, done = before["seeds"], before["round"]
        population.draw(rng)  # as the run before did
    while done < ROUNDS or (len(seeds) < n_clusters and done < _MOST_ROUNDS):
        fresh = yield from _round(seeds, n_clusters, (*key, done), shared)
        if fresh is None:
            break
        seeds, done = np.concatenate([seeds, fresh]), done + 1
        if keep is not None:
            keep({"seeds": seeds, "round": done})
    counts = yield Ask(CountNearest(seeds=seeds, **shared), "k-means|| weights")
    candidates = Batch(0, seeds.astype(dtype), weights=counts)
    own = Population(Cut(len(seeds), len(seeds)), counts)
    return alone(_AtHand(candidates), kmeans_plusplus(own, scale, dtype, n_clusters, rng))


def _round(
    seeds: Floats, n_clusters: int, key: tuple[int, int, int], shared: dict[str, Any]
) -> Asking[Floats | None]:
    """The rows that are drawn, in their order; None where all rows are candidates' equals."""
    expected = OVERSAMPLING * n_clusters
    words = np.random.SeedSequence(key).generate_state(2, np.uint64)
    job = Oversample(
        seeds=seeds, key=(int(words[0]), int(words[1])), most=most_drawn(expected), **shared
    )
    total, first = yield Ask(job, f"k-means|| {key[2] + 1}")
    if total == 0:
        return None
    drawn = sorted((one for one in first if _is_drawn(one, expected, total)), key=lambda d: d[1])
    rows: list[npt.NDArray[Any]] = [np.asarray(row, dtype=np.float64) for *_, row in drawn]
    return np.concatenate([np.empty((0, seeds.shape[1])), *rows])


def _is_drawn(one: Drawn, expected: int, total: int) -> bool:
    _, _, number, distance, _ = one
    return number * total < (expected * distance) << NUMBER_BITS


def most_drawn(expected: int) -> int:
    """So many that more are drawn with a probability below 1e-15 (a Poisson number's tail)."""
    return expected + 9 * math.isqrt(expected) + 32


class _AtHand:
    """Rows that are all in one block, in the place of a session."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._state: Any = None

    def reduce(
        self, job: Any, title: str, blocks: list[int] | None = None, *, told: bool | None = None
    ) -> Any:
        keeps = job.state_kind is not None
        partial, state = job.step(self._batch, self._state if keeps else None)
        self._state = state if keeps else self._state
        return partial
