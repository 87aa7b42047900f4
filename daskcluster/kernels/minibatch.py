"""Mini-batch k-means: centres that move towards the rows of one batch after the other.

Sculley, "Web-scale k-means clustering", WWW 2010: a centre is the mean of all rows that it was ever
the nearest to, weighted alike; with cumulated weights n_k of a centre and the sum S of a batch's
rows nearest to it, which weigh m, it moves to ``(n_k c_k + S) / (n_k + m)``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels.frame import Floats, Frame, frame_of, unmoved
from daskcluster.kernels.nearest import Labels, Nearest
from daskcluster.kernels.sparse import is_sparse
from daskcluster.kernels.spread import own_squares

_RUN = 1 << 13  # rows that are added up at once

Counts = npt.NDArray[np.float64]


def minibatch_step(
    rows: Any, weights: Floats | None, centers: Floats, counts: Counts
) -> tuple[Floats, Counts, Labels, float]:
    """One batch: new centres and counts; the rows' labels before, and their inertia then.

    Parameters
    ----------
    rows : ndarray or SparseRows of shape (n_rows, n_features)
    weights : float64 ndarray of shape (n_rows,), optional
    centers : float64 ndarray of shape (n_clusters, n_features)
    counts : float64 ndarray of shape (n_clusters,)
        What the rows that each centre has seen weigh.
    """
    labels, _ = Nearest(centers, _frame(rows, centers)).labels(rows)
    heavy = np.ones(len(rows)) if weights is None else weights
    sums, more, inertia = np.zeros(centers.shape), np.zeros(len(centers)), 0.0
    for i in range(0, len(rows), _RUN):
        run = slice(i, i + _RUN)
        part, own, w = rows[run], labels[run], heavy[run]
        pick = np.zeros((len(centers), len(own)))
        pick[own, np.arange(len(own))] = w
        sums += _sums(pick, part)
        more += pick.sum(axis=1)
        inertia += float(own_squares(part, own, centers, Frame(None, 0)) @ w)
    after = counts + more
    moved = more > 0
    new = centers.copy()
    new[moved] += (sums[moved] - more[moved, np.newaxis] * centers[moved]) / after[moved, None]
    return new, after, labels, inertia


def _frame(rows: Any, centers: Floats) -> Frame:
    return unmoved(frame_of(centers)) if is_sparse(rows) else frame_of(centers)


def _sums(pick: Floats, rows: Any) -> Floats:
    if is_sparse(rows):
        return np.ascontiguousarray((rows.matrix().T.astype(np.float64) @ pick.T).T)
    sums: Floats = pick @ rows.astype(np.float64)
    return sums
