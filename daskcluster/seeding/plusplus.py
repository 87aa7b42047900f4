"""Greedy k-means++, a pass over the data a seed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from daskcluster.engine import Ask, Asking
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.seeds import Invert, Potentials, unit_exponent
from daskcluster.seeding.population import Population, below, rows_at
from daskcluster.sizing import seed_trials
from daskcluster.survey import Scale


def kmeans_plusplus(
    population: Population,
    scale: Scale,
    dtype: str,
    n_clusters: int,
    rng: np.random.Generator,
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

    Returns
    -------
    float64 ndarray of shape (n_clusters, n_features)
        Rows of the data.

    References
    ----------
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007; the greedy
    form is the one of scikit-learn.
    """
    unit = unit_exponent(scale.total_variance, dtype)
    shared: dict[str, Any] = {
        "frame": scale.frame, "unit": unit, "dtype": dtype,
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
        block, left = _locate(totals, below(whole, rng))
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
