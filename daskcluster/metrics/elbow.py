"""Where a curve of costs bends: a suggestion for the number of clusters."""

from collections.abc import Sequence

import numpy as np

METHOD = "the point farthest from the chord (Satopaa et al., Kneedle, ICDCSW 2011)"


def elbow(n_clusters: Sequence[int], costs: Sequence[float]) -> int | None:
    """The number of clusters after which more of them gain least.

    Both axes are scaled to [0, 1]; of the points below the chord from the first to the last it is
    the one farthest from it (Satopaa, Albrecht, Irwin and Raghavan, "Finding a 'kneedle' in a
    haystack: detecting knee points in system behavior", ICDCS Workshops 2011, without their
    smoothing).

    Parameters
    ----------
    n_clusters : sequence of int
        Ascending.
    costs : sequence of float
        The least cost found for each, such as inertia.

    Returns
    -------
    int or None
        None for fewer than three points, or where the curve does not bend.

    Examples
    --------
    >>> elbow([1, 2, 3, 4, 5], [100.0, 40.0, 12.0, 10.0, 9.0])
    3
    >>> elbow([1, 2, 3], [3.0, 2.0, 1.0]) is None
    True
    """
    x, y = np.array(n_clusters, dtype=np.float64), np.array(costs, dtype=np.float64)
    if len(x) < 3 or y[0] <= y[-1]:
        return None
    along = (x - x[0]) / (x[-1] - x[0])
    left = (y - y[-1]) / (y[0] - y[-1])
    below = 1 - along - left
    best = int(below.argmax())
    return int(x[best]) if below[best] > 1e-9 else None
