"""One run of a fit: initial centres, then iterations, from whatever stage it had come to."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from daskcluster.engine import Asking, Session
from daskcluster.errors import InputError
from daskcluster.fit.budget import Spending, leading_directions
from daskcluster.fit.data import Dataset
from daskcluster.fit.ledger import Page
from daskcluster.fit.lloyd import Lloyd, Progression, lloyd
from daskcluster.fit.options import Options, RunKey, given_centers
from daskcluster.fit.refined import refined_start
from daskcluster.fit.soft import SoftFit, SoftProgression, choose_precision, soften
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.projection import Basis
from daskcluster.kernels.responsibilities import Softness
from daskcluster.kernels.rowmaps import unit_rows
from daskcluster.kernels.sampling import Parts
from daskcluster.seeding import Population, kmeans_parallel, kmeans_plusplus, random_rows
from daskcluster.survey import Scale


@dataclass(frozen=True)
class Shared:
    """What the runs of a fit have in common."""

    session: Session
    data: Dataset
    scale: Scale
    spending: Spending
    sampled: dict[RunKey, Parts] = field(default_factory=dict)
    """What refined starts look at, where the pass that surveyed the data has gathered it."""

    @cached_property
    def basis(self) -> Basis | None:
        """What rows are projected on, if anything."""
        directions = self.spending.directions
        return leading_directions(self.session, self.data, self.scale, directions)

    @property
    def population(self) -> Population:
        """The rows that are drawn from."""
        return Population(self.session.cut, self.data.weights, self.data.weight_unit == 0)


def hard_restart(
    shared: Shared, options: Options, page: Page, about: dict[str, Any]
) -> Asking[Lloyd]:
    """Lloyd's algorithm."""
    if (found := page.get("found")) is not None:
        return Lloyd(**found)
    unit = options.metric == "cosine"
    if (state := page.get("lloyd")) is None:
        start = yield from _initial(shared, options, page)
        run = Progression(unit_rows(start) if unit else start)
    else:
        run = Progression.from_state(state)
    best = yield from lloyd(
        shared.session, shared.scale, run, max_iter=options.max_iter, tol=options.tol,
        bounded=options.algorithm != "lloyd", basis=shared.basis, paired=shared.spending.pairs,
        loops=not shared.data.sparse, sparse=shared.data.wide, unit=unit, about=about,
        labelled=shared.data.reader.in_memory,
        keep=lambda state: page.keep("lloyd", state),
    )  # fmt: skip
    page.keep("found", {k: v for k, v in vars(best).items() if k != "labels"})
    return best


def soft_restart(
    shared: Shared, options: Options, page: Page, about: dict[str, Any]
) -> Asking[SoftFit]:
    """Soft k-means."""
    if (found := page.get("found")) is not None:
        return SoftFit(**found)
    assert options.beta is not None
    assert options.metric is not None
    if (state := page.get("lloyd")) is None:
        run = SoftProgression((yield from _initial(shared, options, page)))
        precision = yield from _precision(shared, options, run.centers)
    else:
        precision = state["precision"]
        run = SoftProgression(**{k: v for k, v in state.items() if k != "precision"})
    best = yield from soften(
        shared.session, shared.scale, run, Softness(options.beta, options.metric, precision),
        max_iter=options.max_iter, tol=options.tol, about=about,
        keep=lambda state: page.keep("lloyd", state | {"precision": precision}),
    )  # fmt: skip
    page.keep("found", vars(best))
    return best


def _precision(shared: Shared, options: Options, centers: Floats) -> Asking[str]:
    """The precision that was asked for, or that serves."""
    assert options.beta is not None
    assert options.metric is not None
    sparse = shared.data.sparse
    if sparse and options.precision == "float32":
        raise InputError("sparse rows have products in float64 alone: precision='float64'")
    if options.precision != "auto":
        assert options.precision is not None
        return options.precision
    return (
        yield from choose_precision(
            shared.scale, centers, options.beta, options.metric, sparse=sparse
        )
    )


def _initial(shared: Shared, options: Options, page: Page) -> Asking[Floats]:
    """Initial centres; draws are keyed by the seed and the restart."""
    if (centers := given_centers(options, shared.data.n_features)) is not None:
        return centers
    k, key = options.n_clusters, (options.seed, options.restart)
    if options.init == "refined":
        unit = options.metric == "cosine"
        sampled, progress = shared.sampled.pop(options.key, None), shared.session.progress
        return (
            yield from refined_start(shared.data, k, key, sampled, unit=unit, progress=progress)
        )
    rng = np.random.Generator(np.random.Philox(key=list(key)))
    if options.init == "random":
        return (yield from random_rows(shared.population, k, rng))
    shape = (shared.population, shared.scale, shared.data.dtype, k)
    stages: dict[str, Any] = {
        "before": page.get("seeds"), "keep": lambda state: page.keep("seeds", state),
    }  # fmt: skip
    if options.init == "k-means||":
        return (yield from kmeans_parallel(*shape, key, **stages))
    return (yield from kmeans_plusplus(*shape, rng, **stages))
