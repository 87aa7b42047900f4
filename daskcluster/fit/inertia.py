"""The inertia of any rows against given centres."""

import math

from daskcluster.fit.data import Dataset
from daskcluster.kernels import exact
from daskcluster.kernels.compiled import worthwhile
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.hard import Assign


def inertia_of(data: Dataset, centers: Floats) -> float:
    """Sum of squared distances to the nearest centre, in exact arithmetic, rounded once."""
    with data.session() as session:
        scale = data.scale(session)
        grid = scale.moments.sum_grid
        loops = not data.sparse and worthwhile(data.n_rows, *centers.shape)
        job = Assign(centers, None, 0, scale.frame, grid, compiled=loops, state_kind=None)
        total = session.reduce(job, "inertia")
    units = exact.inertia(scale.total_squares, total.sums, total.counts, centers, grid)
    return math.ldexp(units, scale.weight_unit)
