"""How responsibilities and true classes meet: tables that add up over blocks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from daskcluster.kernels import exact
from daskcluster.kernels.batch import Batch
from daskcluster.kernels.frame import Floats, Frame
from daskcluster.kernels.responsibilities import Responsibilities, Softness, run_rows, tiles
from daskcluster.sizing import Grid, real_grid


@dataclass(frozen=True)
class SoftTable:
    """Reduction: responsibilities by class, ``R^T onehot(y)``, limbs (2, 2, n_clusters, n_classes).

    Then the same of responsibilities scaled to unit length row by row, whose products are the
    bonds of pairs of rows. Rows of unknown class are left out.
    """

    centers: Floats
    softness: Softness
    frame: Frame
    n_rows: int
    """What all rows weigh."""
    n_classes: int
    state_kind = None

    @property
    def grid(self) -> Grid:
        return real_grid(self.n_rows, 1)

    @cached_property
    def responsibilities(self) -> Responsibilities:
        return Responsibilities(self.centers, self.softness, self.frame)

    @np.errstate(under="ignore", over="ignore")
    def step(self, batch: Batch, state: None) -> tuple[exact.Ints, None]:
        k = len(self.centers)
        total = np.zeros((2, 2, k, self.n_classes), dtype=np.int64)
        assert batch.labels is not None
        for run in tiles(batch.start, len(batch.rows), run_rows(batch.rows, k)):
            shares = self.responsibilities.of_rows(batch.rows[run])
            shares = shares.transpose(1, 0, 2).reshape(k, -1).astype(np.float64)
            lengths = np.sqrt(np.einsum("ij,ij->j", shares, shares))
            if batch.weights is not None:
                shares *= batch.weights[run]
            classes = batch.labels[run][:, np.newaxis] == np.arange(self.n_classes)
            tables = np.stack([shares, shares / lengths]) @ classes.astype(np.float64)
            total += exact.to_grid(tables, self.grid)
        return exact.carry(total), None

    def merge(self, a: exact.Ints, b: exact.Ints) -> exact.Ints:
        return exact.carry(a + b)

    def finish(self, total: exact.Ints) -> Floats:
        """The two tables, shape (2, n_clusters, n_classes)."""
        return exact.rounded(total, self.grid)
