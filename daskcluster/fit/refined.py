"""Refined starts: what a sample converges to, from which all rows have little left to move.

Bradley and Fayyad, "Refining initial points for k-means clustering", ICML 1998; two nested samples
in the place of their many small ones, so that the larger one need only mend what the smaller did.
"""

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from daskcluster.engine import Ask, Asking, Progress, Silent, alone
from daskcluster.engine.progress import Within
from daskcluster.fit.data import Dataset, array_dataset
from daskcluster.fit.inertia import inertia_of
from daskcluster.fit.lloyd import Lloyd, Progression, lloyd
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.rowmaps import unit_rows
from daskcluster.kernels.sampling import Parts, Sample, gathered
from daskcluster.seeding import Population, kmeans_plusplus
from daskcluster.sizing import sample_rows

_LOG = logging.getLogger(__name__)

STARTS = 4  # solutions of the smaller sample of which the larger one chooses
MOST_ITERATIONS = 300
TOL = 1e-4


def sample_of(data: Dataset, n_clusters: int, key: tuple[int, int]) -> Sample:
    """The rows that `refined_start` looks at."""
    return _drawn(data, n_clusters, key)[0]


def refined_start(
    data: Dataset,
    n_clusters: int,
    key: tuple[int, int],
    sampled: Parts | None,
    *,
    unit: bool,
    progress: Progress | None = None,
) -> Asking[Floats]:
    """Centres of a sample of the rows: one pass to gather it, and no other.

    Parameters
    ----------
    key : tuple of two int
        What all draws are keyed by: the seed and the restart.
    sampled : Parts or None
        What `sample_of` found, where a pass has gone over it already.
    unit : bool
        Whether centres are of unit length.
    progress : Progress, optional
        Told of the rows of the samples.

    Returns
    -------
    float64 ndarray of shape (n_clusters, n_features)
    """
    sample, few, rng = _drawn(data, n_clusters, key)
    if sampled is None:
        sampled = yield Ask(sample, "sample")
    rows, weights = gathered(sampled)
    nested = np.sort(rng.choice(len(rows), few, replace=False, shuffle=False))
    small = _sample(data, rows[nested], None if weights is None else weights[nested])
    found = _Converging(n_clusters, rng, unit, progress or Silent())
    starts = [found.of(small, None, f"start {i + 1} of {STARTS}") for i in range(STARTS)]
    large = _sample(data, rows, weights)
    best = min(starts, key=lambda start: inertia_of(large, start))
    return found.of(large, best, "best start")


def _drawn(
    data: Dataset, n_clusters: int, key: tuple[int, int]
) -> tuple[Sample, int, np.random.Generator]:
    """The larger sample, the size of the smaller, and what goes on drawing."""
    rng = np.random.Generator(np.random.Philox(key=list(key)))
    # Rows of no weight are nowhere.
    held = None if data.weights is None else np.flatnonzero(data.weights)
    n_rows = data.n_rows if held is None else len(held)
    few, many = sample_rows(n_rows, data.nbytes // data.n_rows, n_clusters)
    indices = np.sort(rng.choice(n_rows, many, replace=False, shuffle=False))
    return Sample(indices if held is None else held[indices]), few, rng


def _sample(data: Dataset, rows: Any, weights: Any) -> Dataset:
    """Rows in memory, surveyed once."""
    sample = replace(array_dataset(rows), name=data.name).weighing(weights, data.weight_unit)
    with sample.session() as session:
        return replace(sample, moments=sample.known_moments(session))


@dataclass(frozen=True)
class _Converging:
    """Lloyd's algorithm on samples in memory."""

    n_clusters: int
    rng: np.random.Generator
    unit: bool
    progress: Progress

    def of(self, data: Dataset, start: Floats | None, title: str) -> Floats:
        """Centres of a sample, from k-means++ where there is no start."""
        found = _converged(
            data, start, self.n_clusters, self.rng,
            unit=self.unit, progress=Within(self.progress, title),
        )  # fmt: skip
        _LOG.info("%s: %d rows, %d iterations", title, data.n_rows, found.n_iter)
        return found.centers


def _converged(
    data: Dataset,
    start: Floats | None,
    n_clusters: int,
    rng: np.random.Generator,
    *,
    unit: bool,
    progress: Progress,
) -> Lloyd:
    """Lloyd's algorithm on a sample in memory, from k-means++ where there is no start."""
    with data.session(progress) as session:
        session.recut(session.coarser())
        scale = data.scale(session)
        if start is None:
            population = Population(session.cut, data.weights)
            seeds = kmeans_plusplus(population, scale, data.dtype, n_clusters, rng)
            start = alone(session, seeds)
        run = Progression(unit_rows(start) if unit else start)
        iterations = lloyd(
            session,
            scale,
            run,
            max_iter=MOST_ITERATIONS,
            tol=TOL,
            loops=not data.sparse,
            sparse=data.wide,
            unit=unit,
        )
        return alone(session, iterations)
