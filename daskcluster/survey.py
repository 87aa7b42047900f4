"""Moments of data that carries none: one pass for integers, two for reals."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from daskcluster.engine import Session
from daskcluster.kernels.frame import EASY_EXPONENT, Frame, centered
from daskcluster.kernels.moments import Extremes, Moments, SumMoments, exponent_above
from daskcluster.kernels.together import Together
from daskcluster.sizing import INTEGER_BOUNDS


def survey(session: Session, name: str, n_rows: int, dtype: str) -> Moments:
    """Exact moments of the data; raises `InputError` for what is not finite.

    ``n_rows`` is what all rows weigh, where they have weights.
    """
    return survey_with(session, name, n_rows, dtype, ())[0]


def survey_with(
    session: Session, name: str, n_rows: int, dtype: str, others: tuple[Any, ...]
) -> tuple[Moments, tuple[Any, ...]]:
    """The same, and the partials of other reductions, which share the pass over all rows."""
    exponent = 0
    if dtype not in INTEGER_BOUNDS or dtype == "int64":
        largest = session.reduce(Extremes(name), "range")
        exponent = 0 if dtype in INTEGER_BOUNDS else exponent_above(largest)
    job = SumMoments(n_rows, dtype, exponent)
    total, *found = session.reduce(Together((job, *others)), "moments")
    return job.finish(total), tuple(found)


@dataclass(frozen=True)
class Scale:
    """What the moments say of the data's size and place."""

    moments: Moments
    frame: Frame
    total_squares: Fraction
    total_variance: Fraction
    weight_unit: int = 0
    """Weights count in units of ``2**weight_unit``."""

    @property
    def mean_variance(self) -> float:
        """The mean of the columns' variances, scikit-learn's unit of ``tol``; in 4**exponent."""
        unit = Fraction(4) ** self.moments.exponent
        return float(self.total_variance / self.moments.sums.shape[1] / unit)

    @property
    def reach(self) -> int:
        """All elements of rows in the frame are below ``2**reach``."""
        exponent = self.moments.exponent
        if self.moments.dtype in INTEGER_BOUNDS:
            # No element's square is more than all squares.
            exponent = int(self.total_squares).bit_length() // 2 + 1
        return exponent + (self.frame.shift is not None) - self.frame.exponent


def scale_of(moments: Moments, *, sparse: bool = False) -> Scale:
    """Sums, variance, and the frame in which products lose least; sparse rows are not moved."""
    squares, variance = moments.total_squares, moments.total_variance()
    means = moments.means()
    # Shifting costs a subtraction an element: worth it where the offset outweighs the spread.
    offset = squares / moments.n_rows - variance > 4 * variance
    exponent = moments.exponent if abs(moments.exponent) > EASY_EXPONENT else 0
    if sparse:
        return Scale(moments, Frame(None, exponent), squares, variance)
    with np.errstate(over="ignore"):
        shift = means.astype(np.float32) if offset else None
    if shift is not None and not np.isfinite(shift).all():
        shift = None
    return Scale(moments, centered(Frame(shift, exponent), means), squares, variance)
