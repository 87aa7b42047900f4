"""The inertia of any rows against given centres."""

from daskcluster.fit.data import Dataset
from daskcluster.kernels import exact
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.hard import Assign
from daskcluster.survey import scale_of


def inertia_of(data: Dataset, centers: Floats) -> float:
    """Sum of squared distances to the nearest centre, in exact arithmetic, rounded once."""
    with data.session() as session:
        scale = scale_of(data.known_moments(session))
        grid = scale.moments.sum_grid
        job = Assign(centers, None, 0, scale.frame, grid, state_kind=None)
        total = session.reduce(job, "inertia")
    return exact.inertia(scale.total_squares, total.sums, total.counts, centers, grid)
