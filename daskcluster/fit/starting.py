"""What finding initial centres takes, told from a trial."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from daskcluster.fit.data import Dataset, array_dataset
from daskcluster.fit.options import Options
from daskcluster.fit.refined import STARTS
from daskcluster.fit.restart import Shared
from daskcluster.fit.trial import Cost, Trial, iterations, mean, total
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.sampling import Sample, gathered
from daskcluster.seeding import Population, kmeans_parallel, kmeans_plusplus, random_rows
from daskcluster.seeding.parallel import ROUNDS
from daskcluster.sizing import sample_rows

SECONDS = 1.0  # a stage of a trial ends after so long
# What samples of MNIST, Fashion-MNIST took from k-means++, and the larger from the best of these.
SMALL_ITERATIONS, LARGE_ITERATIONS = 30, 60


@dataclass(frozen=True)
class Start:
    """Of one run."""

    cost: Cost
    """Of passes over the data, and of what the driver does for them."""
    alone: float
    """Seconds that no pass is shared in: of samples in memory."""
    centers: Floats
    """To go on with in the trial."""


def start(trial: Trial, shared: Shared, data: Dataset, options: Options) -> Start:
    """Time the beginning of a run's seeding; ``data`` is all of the rows, ``shared`` of some."""
    k, rng = options.n_clusters, np.random.default_rng(options.seed)
    drawn = trial.run(random_rows(shared.population, min(k, shared.data.n_rows), rng), SECONDS)
    centers = drawn.value[np.arange(k) % len(drawn.value)]
    if not isinstance(options.init, str):
        return Start(Cost(), 0.0, centers)
    if options.init == "random":
        return Start(_random(trial, data, shared, k), 0.0, centers)
    kinds = {"k-means++": _plusplus, "k-means||": _parallel, "refined": _refined}
    return kinds[options.init](trial, shared, data, options, centers)


def _random(trial: Trial, data: Dataset, shared: Shared, k: int) -> Cost:
    """The blocks in which the rows are that are drawn."""
    n_blocks = -(-data.n_rows // shared.session.cut.rows_per_block)
    return trial.read * (1 - (1 - 1 / n_blocks) ** k)


def _plusplus(
    trial: Trial, shared: Shared, data: Dataset, options: Options, centers: Floats
) -> Start:
    k, rng = options.n_clusters, np.random.default_rng(options.seed)
    seeding = kmeans_plusplus(shared.population, shared.scale, shared.data.dtype, k, rng)
    stage = trial.run(seeding, SECONDS)
    rounds = [trial.over_all(timed) for timed in stage.passes if timed.whole]
    draws = mean([timed.cost for timed in stage.passes if not timed.whole])
    every = draws + Cost(stage.driver / max(len(rounds), 1))
    cost = _rounds(rounds, k) + every * k
    return Start(cost, 0.0, stage.value if stage.ended else centers)


def _rounds(costs: list[Cost], n: int) -> Cost:
    """``n`` passes of which the first, which may be the only one that reads, are known."""
    later = mean(costs[1:] or costs)
    return total(costs, n, lambda i: later)


def _parallel(
    trial: Trial, shared: Shared, data: Dataset, options: Options, centers: Floats
) -> Start:
    k, key, kept = options.n_clusters, (options.seed, options.restart), [centers]
    seeding = kmeans_parallel(
        shared.population, shared.scale, shared.data.dtype, k, key,
        keep=lambda state: kept.append(state["seeds"]),
    )  # fmt: skip
    # The last pass weighs the candidates; what follows is not timed in whole.
    stage = trial.run(seeding, 5 * SECONDS, most=ROUNDS + 2)
    passes = [trial.over_all(timed) for timed in stage.passes]
    missing = 0 if stage.ended else ROUNDS + 2 - len(passes)
    cost = sum(passes, Cost()) + mean(passes[1:] or [trial.read]) * missing
    among = 0.0 if stage.ended else _among(kept[-1].astype(shared.data.dtype), shared, k)
    return Start(cost + Cost(stage.driver), among, stage.value if stage.ended else centers)


def _among(candidates: Any, shared: Shared, k: int) -> float:
    """Seconds of k-means++ among candidates."""
    rows = array_dataset(candidates)
    with rows.session() as session:
        seeds = kmeans_plusplus(
            Population(session.cut), shared.scale, rows.dtype, k, np.random.default_rng(0)
        )
        stage = Trial(session, session, 0.0).run(seeds, SECONDS)
    rounds = sum(timed.whole for timed in stage.passes)
    seconds = stage.driver + sum(timed.cost.seconds for timed in stage.passes)
    return seconds / max(rounds, 1) * k


def _refined(
    trial: Trial, shared: Shared, data: Dataset, options: Options, centers: Floats
) -> Start:
    """One pass for the larger sample; what is done with both of them in memory, by its first."""
    k = options.n_clusters
    few, many = sample_rows(data.n_rows, data.nbytes // data.n_rows, k)
    wanted = max(many * shared.data.n_rows // data.n_rows, min(few, shared.data.n_rows), 1)
    indices = np.unique(np.linspace(0, shared.data.n_rows - 1, wanted).astype(np.int64))
    timed, parts = trial.answered(Sample(indices), "sample")
    rows = array_dataset(gathered(parts)[0][:few])
    one, later, seeding, found = _in_memory(rows, shared, options, centers)
    small = few / rows.n_rows
    seconds = STARTS * small * (seeding + one + later * (SMALL_ITERATIONS - 1))
    seconds += many / rows.n_rows * (STARTS * one + one + later * (LARGE_ITERATIONS - 1))
    return Start(trial.over_all(timed), seconds, found)


def _in_memory(
    rows: Dataset, shared: Shared, options: Options, centers: Floats
) -> tuple[float, float, float, Floats]:
    """Seconds of a sample's first iteration, of a later one, of k-means++; and centres."""
    k = options.n_clusters
    with rows.session() as session:
        near = Shared(session, rows, rows.scale(session), replace(shared.spending, directions=0))
        trial = Trial(session, session, 0.0)
        rng = np.random.default_rng(options.seed)
        seeding = kmeans_plusplus(near.population, near.scale, rows.dtype, k, rng)
        stage = trial.run(seeding, SECONDS)
        rounds = max(sum(timed.whole for timed in stage.passes), 1)
        took = stage.driver + sum(timed.cost.seconds for timed in stage.passes)
        begin = stage.value if stage.ended else centers
        lloyd = trial.run(iterations(near, replace(options, beta=None), begin, 12), SECONDS)
    costs = [timed.cost.seconds for timed in lloyd.named("iteration")]
    driver = lloyd.driver / max(len(costs), 1)
    later = float(np.mean(costs[1:] or costs)) + driver
    return costs[0] + driver, later, took / rounds * k, begin
