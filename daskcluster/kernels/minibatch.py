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
    k = len(centers)
    labels, _ = Nearest(centers, _frame(rows, centers)).labels(rows)
    pick = np.zeros((k, len(rows)))
    pick[labels, np.arange(len(rows))] = 1.0 if weights is None else weights
    sums, more = _sums(pick, rows), pick.sum(axis=1)
    inertia = _inertia(rows, pick, sums, more, centers)
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


def _inertia(rows: Any, pick: Floats, sums: Floats, more: Counts, centers: Floats) -> float:
    """``sum w ||x||^2 - 2 c . S + m ||c||^2``, in floats."""
    if is_sparse(rows):
        squares = rows.squares()
    else:
        wide = rows.astype(np.float64)
        squares = np.einsum("ij,ij->i", wide, wide)
    own = np.einsum("ij,ij->i", centers, centers) @ more
    found = float((pick @ squares).sum() - 2 * np.einsum("ij,ij->", centers, sums) + own)
    return max(found, 0.0)
