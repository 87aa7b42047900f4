"""Lloyd's algorithm over a session: assign, add up, divide, until nothing moves."""

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import numpy as np

from daskcluster.engine import Ask, Asking, Session
from daskcluster.kernels import doubled, exact
from daskcluster.kernels.compiled import worthwhile
from daskcluster.kernels.farthest import FarRow, Farthest
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.hard import Assign
from daskcluster.kernels.hard_sums import HardPartial
from daskcluster.kernels.nearest import Labels
from daskcluster.kernels.projection import Basis
from daskcluster.kernels.rowmaps import unit_rows
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.kernels.sparse_clusters import (
    SparseSums,
    dense_centers,
    same,
    squared_shift,
)
from daskcluster.kernels.sparse_hard import AssignSparse, KeptLabels, SparsePartial
from daskcluster.sizing import Grid
from daskcluster.survey import Scale

Centers = Floats | SparseRows
Total = HardPartial | SparsePartial

_FEW = 64  # one row in so many is few
_MANY = 1 << 17  # elements of centres


@dataclass(frozen=True)
class Lloyd:
    """What one run of Lloyd's algorithm found."""

    centers: Floats
    """Shape (n_clusters, n_features)."""
    inertia: float
    """Of the rows' labels for ``centers``, against ``centers``."""
    n_iter: int
    converged: bool
    cluster_sizes: exact.Ints
    history: list[dict[str, Any]]
    """Per iteration: inertia of the labels against the centres they belong to, sum of squared
    shifts of the centres, rows that changed cluster, empty clusters, passes so far."""
    labels: Labels | None = None
    """Of all rows, where they were asked for."""

    @property
    def cost(self) -> float:
        """What restarts are compared by."""
        return self.inertia


@dataclass
class Progression:
    """How far a run has come: the driver's truth, from which it can go on anywhere."""

    centers: Centers
    previous: Centers | None = None
    """The centres before, to which ``total`` belongs."""
    total: Total | None = None
    """Sums and counts of the labels for ``previous``."""
    history: list[dict[str, Any]] = field(default_factory=list)
    repeated: bool = False
    converged: bool = False

    def add(self, change: Any) -> None:
        self.total = change if self.total is None else self.total.plus(change)

    def to_state(self) -> dict[str, Any]:
        """For a checkpoint, after an iteration. Nothing in it is ever changed in place."""
        assert self.total is not None
        return {
            "centers": _plain(self.centers), "previous": _plain(self.previous),
            "sums": _plain(self.total.sums), "counts": self.total.counts,
            "history": list(self.history), "repeated": self.repeated, "converged": self.converged,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Progression":
        kept = {name: state[name] for name in ("repeated", "converged")}
        places = {name: _restored(state[name]) for name in ("centers", "previous")}
        return cls(
            total=_total(_restored(state["sums"]), state["counts"]),
            history=list(state["history"]), **kept, **places,
        )  # fmt: skip


def _plain(value: Any) -> Any:
    """Sparse centres and sums as a dict of arrays, of their own kind."""
    return vars(value) if isinstance(value, (SparseRows, SparseSums)) else value


def _restored(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "places" in value:
        return SparseSums(**value)
    names = ("data", "indices", "indptr", "n_features")
    return SparseRows(**{name: value[name] for name in names})


def _total(sums: Any, counts: exact.Ints) -> Total:
    if isinstance(sums, SparseSums):
        return SparsePartial(sums, counts, 0)
    return HardPartial(sums, counts, 0)


def lloyd(
    session: Session,
    scale: Scale,
    run: Progression,
    *,
    max_iter: int,
    tol: float,
    bounded: bool = True,
    basis: Basis | None = None,
    paired: bool = False,
    loops: bool = True,
    sparse: bool = False,
    unit: bool = False,
    labelled: bool = False,
    keep: Callable[[dict[str, Any]], None] | None = None,
    about: dict[str, Any] | None = None,
) -> Asking[Lloyd]:
    """Iterate until the centres repeat, move less than ``tol`` says, or ``max_iter``.

    The rule of ``tol`` is scikit-learn's: the sum over all centres of their squared shifts is at
    most ``tol * mean(var(X, axis=0))``. With ``tol=0`` only repetition stops: strict convergence.
    ``keep`` is given the state after every iteration. ``bounded`` leaves alone the rows that
    provably keep their label, ``basis`` proves it of more, ``paired`` more often. ``loops`` are
    compiled where that pays; for sparse rows there are none. ``sparse``
    centres and sums hold only what is not 0, and nothing is proved. ``unit`` centres are of unit
    length. ``labelled`` asks for the labels of sparse rows. ``about`` is told with every
    iteration, where runs take turns.
    """
    grid = scale.moments.sum_grid
    compiled = loops and worthwhile(session.cut.n_rows, *run.centers.shape)
    if sparse and not is_sparse(run.centers):
        run.centers = SparseRows.of(run.centers)

    def assign(title: str, told: bool | None = None) -> Asking[Any]:
        place = len(run.history) + 1
        job: Any
        if is_sparse(run.centers):
            # Before few rows change cluster, the centres' moves are longer than most gaps.
            settled = bool(run.history) and _FEW * run.history[-1]["changed"] < session.cut.n_rows
            job = AssignSparse(
                run.centers, _sparse(run.previous), place, scale.frame, grid, bounded and settled
            )
        else:
            job = Assign(
                dense_centers(run.centers), _dense(run.previous), place, scale.frame, grid,
                bounded, basis, compiled, paired,
            )  # fmt: skip
        change = yield Ask(job, title, told=told)
        run.add(change)
        return change

    while len(run.history) < max_iter and not run.converged:
        change = yield from assign(f"iteration {len(run.history) + 1}", told=False)
        took = session.last
        yield from _advance(session, scale, run, change.changed, tol, unit=unit, loops=compiled)
        session.iterated(took, run.history[-1], max_iter, about or {})
        if keep is not None:
            keep(run.to_state())
    if not run.repeated:
        # The centres moved after the last labels: one more assignment makes them belong together.
        yield from assign("labels")
    assert run.total is not None
    inertia = _inertia(scale, run.total, run.centers, compiled)
    labels = (yield from _last_labels(run, scale)) if labelled else None
    return Lloyd(
        dense_centers(run.centers), inertia, len(run.history), run.converged, run.total.counts,
        run.history, labels,
    )  # fmt: skip


def _last_labels(run: Progression, scale: Scale) -> Asking[Labels | None]:
    """The labels that the rows' states hold, of sparse centres."""
    if not is_sparse(run.centers):
        return None
    place = len(run.history) + (not run.repeated)
    job = AssignSparse(run.centers, None, place, scale.frame, scale.moments.sum_grid)
    parts = yield Ask(KeptLabels(job), "labels")
    return np.concatenate([labels for _, labels in sorted(parts, key=lambda part: part[0])])


def _advance(
    session: Session,
    scale: Scale,
    run: Progression,
    changed: int,
    tol: float,
    *,
    unit: bool,
    loops: bool,
) -> Asking[None]:
    """From the labels' sums to new centres, and whether they are the last."""
    assert run.total is not None
    centers = run.centers
    # In loops, of few centres, it takes less than a thread.
    call = _at_once if loops and not is_sparse(centers) and centers.size < _MANY else _meanwhile
    inertia = call(_inertia, scale, run.total, centers, loops)
    new, n_empty = yield from _next_centers(scale, centers, run.total)
    new = _unit(new) if unit else new
    shift, repeated = _shift(new, centers, scale)
    entry = {
        "iteration": len(run.history) + 1,
        "inertia": inertia(),
        "shift": math.ldexp(shift, 2 * scale.moments.exponent),
        "changed": changed,
        "empty": n_empty,
        "passes": session.passes,
    }
    run.history.append(entry)
    run.repeated = repeated
    run.converged = run.repeated or (tol > 0 and shift <= tol * scale.mean_variance)
    run.previous, run.centers = centers, new


def _at_once(call: Callable[..., float], *args: Any) -> Callable[[], float]:
    found = call(*args)
    return lambda: found


def _meanwhile(call: Callable[..., float], *args: Any) -> Callable[[], float]:
    """A result that a thread works out: of many features it takes as long as the means do."""
    found: Future[float] = Future()

    def work() -> None:
        try:
            found.set_result(call(*args))
        except BaseException as error:
            found.set_exception(error)

    Thread(target=work, daemon=True).start()
    return found.result


def _unit(centers: Any) -> Any:
    """Centres of unit length; sparse ones by the same sums as dense ones."""
    if not is_sparse(centers):
        return unit_rows(centers)
    data = centers.data.copy()
    for i in range(len(centers)):
        run = slice(centers.indptr[i], centers.indptr[i + 1])
        data[run] = unit_rows(centers[i][np.newaxis])[0, centers.indices[run]]
    return centers.with_data(data)


def _sparse(centers: Any) -> SparseRows | None:
    assert centers is None or is_sparse(centers)
    return centers


def _dense(centers: Any) -> Floats | None:
    return None if centers is None else dense_centers(centers)


def _shift(new: Any, old: Any, scale: Scale) -> tuple[float, bool]:
    """Sum of squared shifts in units of ``4**exponent``, and whether there are none.

    In such units those of tiny reals do not vanish.
    """
    if is_sparse(new):
        return squared_shift(new, old, scale.moments.exponent), same(new, old)
    with np.errstate(over="ignore"):
        moves = new - old  # 0 where, and only where, both are equal
        repeated = not moves.any()
        if scale.moments.exponent:
            moves = exact.shifted(moves, -scale.moments.exponent)
        return float(np.square(moves, out=moves).sum()), repeated


def _inertia(scale: Scale, total: Any, centers: Any, loops: bool) -> float:
    squares, grid = scale.total_squares, scale.moments.sum_grid
    if isinstance(total, SparsePartial):
        units = total.sums.inertia(squares, total.counts, centers, grid)
    else:
        units = doubled.inertia(squares, total.sums, total.counts, centers, grid, loops=loops)
    return math.ldexp(units, scale.weight_unit)


def _next_centers(scale: Scale, centers: Any, total: Any) -> Asking[tuple[Any, int]]:
    """The means of the clusters, empty ones refilled; and how many were empty."""
    grid = scale.moments.sum_grid
    n_empty = int((total.counts == 0).sum())
    if n_empty == 0:
        if isinstance(total, SparsePartial):
            return total.sums.means(total.counts, grid), 0
        return exact.mean(total.sums, total.counts, grid), 0
    # As many more as there are clusters: a donor's last row is passed over.
    job = Farthest(dense_centers(centers), scale.frame, n_empty + len(centers))
    far_rows = yield Ask(job, "farthest rows")
    if isinstance(total, SparsePartial):
        total = HardPartial(total.sums.dense(), total.counts, 0)
    sums, counts = _refill(total, far_rows, grid, copies=scale.weight_unit == 0)
    new, filled = dense_centers(centers).copy(), counts > 0
    new[filled] = exact.mean(sums[:, filled], counts[filled], grid)
    return SparseRows.of(new) if is_sparse(centers) else new, n_empty


def _refill(
    total: HardPartial, far_rows: list[FarRow], grid: Grid, *, copies: bool
) -> tuple[exact.Ints, exact.Ints]:
    """Give each empty cluster, in order, the farthest row left, and take it from its donor.

    With ``copies`` a row of weight w is w rows, of which one goes; else it goes as a whole.
    """
    sums, counts = total.sums.copy(), total.counts.copy()
    empty = np.flatnonzero(counts == 0).tolist()
    for far in far_rows:
        weight = 1 if copies else far.weight
        for _ in range(min(far.weight, len(counts)) if copies else 1):
            if not empty or far.distance == 0:
                return exact.carry(sums), counts
            if counts[far.label] <= weight:
                break
            row = exact.to_grid(far.row.astype(np.float64), grid)
            row = exact.times(row, np.array(weight))
            target = empty.pop(0)
            sums[:, target] += row
            counts[target] += weight
            sums[:, far.label] -= row
            counts[far.label] -= weight
    return exact.carry(sums), counts
