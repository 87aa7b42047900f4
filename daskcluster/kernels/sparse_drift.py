"""How far sparse centres moved, and which rows keep their label for all that.

A row's score for a centre c is ``|c|**2 - 2 x . c``. When c moves by D it changes by the change of
``|c|**2``, and by at most ``2 |x| |D|`` beside it: Hamerly's bound (2010), for scores.
"""

from dataclasses import dataclass

import numpy as np

from daskcluster.kernels.frame import Floats, Frame, Singles
from daskcluster.kernels.nearest import Labels
from daskcluster.kernels.sparse import SparseRows
from daskcluster.kernels.sparse_clusters import squared_moves
from daskcluster.kernels.sparse_nearest import downwards, scaled, squares

# More than the relative errors of a few sums and products, and less than any gap that is kept.
_SLACK, _TINY = 2.0**-40, 2.0**-60


@dataclass(frozen=True)
class SparseDrift:
    """Of centres in the frame, between two iterations."""

    moves: Floats
    """Upper bounds on the distances they moved, shape (n_clusters,)."""
    rises: Floats
    """By how much their squared norms grew at most; and ``falls``, by how much they shrank."""
    falls: Floats

    @classmethod
    def of(cls, new: SparseRows, old: SparseRows, frame: Frame) -> "SparseDrift":
        """From centres as they are; what overflows is no bound."""
        now, before = scaled(new, frame), scaled(old, frame)
        after, first = squares(now), squares(before)
        error = (new.n_features + 8) * 2.0**-53
        moves = np.sqrt(squared_moves(now, before)) * (1 + error) + _TINY
        lost = error * (after + first)
        return cls(moves, after - first + lost, first - after + lost)

    @np.errstate(over="ignore", invalid="ignore")
    def narrowed(self, labels: Labels, norms: Singles, gaps: Singles) -> Singles:
        """Lower bounds on the rows' gaps from now on; their labels stay where these are positive.

        ``norms`` are upper bounds on the rows' own; ``gaps`` are those of the centres before.
        """
        lengths = norms.astype(np.float64)
        loss = self.rises[labels] + 2 * lengths * self.moves[labels] + self._others(labels, lengths)
        return downwards(gaps - loss - _SLACK * np.abs(loss) - _TINY)

    def _others(self, labels: Labels, lengths: Floats) -> Floats:
        """How far the score of any other centre may have fallen, for rows of such lengths.

        It is convex in the length, so it is no more than the line between two of its values.
        """
        if not len(lengths):
            return lengths
        least, most = lengths.min(), lengths.max()
        low, high = (self._most_fallen(length)[labels] for length in (least, most))
        part = (lengths - least) / (most - least) if most > least else 1.0
        slack = _SLACK * (np.abs(low) + np.abs(high))
        return np.asarray(low + part * (high - low) + slack)

    def _most_fallen(self, length: float) -> Floats:
        """Of all other centres than each one."""
        fallen = 2 * length * self.moves + self.falls
        first = int(fallen.argmax())
        most = np.full(len(fallen), fallen[first])
        fallen[first] = -np.inf
        most[first] = fallen.max()
        return most
