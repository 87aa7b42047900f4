"""The steps of pruning in compiled loops, where numba is installed and the work is large.

Each does what a class of another module does in NumPy, which is its oracle in the tests and takes
its place without numba. Both ways prove labels, so no result depends on which was taken; rows that
coordinates leave open are compared with the centres within reach here, and with all there.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.kernels import bounds
from daskcluster.kernels.bounds import Drift
from daskcluster.kernels.compiling import LOADING, tell_of_compiling
from daskcluster.kernels.frame import Frame, Rows, Singles
from daskcluster.kernels.nearest import UNKNOWN, Found, Labels, Nearest, norm_errors
from daskcluster.kernels.products import FEWEST_PACKED, pack, tile_for
from daskcluster.kernels.projection import Narrow, Sketch
from daskcluster.kernels.scratch import aligned, scratch
from daskcluster.sizing import LANES, SHORT_LANES

# Multiplications a pass from which loading numba, and once on a machine compiling, are paid back.
WORTHWHILE = 3e8
# With more centres in reach a product with all of them is faster.
_MOST_IN_REACH = 0.5
# So few that loops over all of them are faster than products by BLAS.
FEW = 256
# With more of its own a model gains nothing from those of others.
MOST_STACKED = 256
# Of so many features products are sums of few enough terms one after the other.
_PROJECTED = 2048
# A vector at least; and 2 * 128 products of 8 by 16 bits are below 2**31.
_SHORT_FEATURES = SHORT_LANES, 128 * SHORT_LANES
_KEPT_IN_REACH = 16  # centres a row on average for which there is room
_ROOM = np.zeros(LANES, dtype=np.float32)
_NO_PAIRS = np.empty((0, 0), dtype=np.float32)

Indices = npt.NDArray[np.intp]


def worthwhile(n_rows: int, n_clusters: int, n_features: int) -> bool:
    """Whether a fit is large enough for compiled loops."""
    return n_rows * n_clusters * n_features >= WORTHWHILE


@cache
def _modules() -> tuple[Any, Any]:
    from daskcluster.kernels import loops, row_loops  # noqa: PLC0415 - numba takes a second to import

    tell_of_compiling(Path(row_loops.compare.stats.cache_path), "row_loops.compare")
    return loops, row_loops


def _loops() -> Any:
    """The compiled functions over bounds; the first call in a process loads or compiles them."""
    with LOADING:
        return _modules()[0]


def _row_loops() -> Any:
    """And those over rows."""
    with LOADING:
        return _modules()[1]


@dataclass(frozen=True)
class Reach:
    """Which centres may be nearest to each of some rows."""

    lengths: npt.NDArray[np.int32]
    """How many, shape (n,); 0 where any may."""
    centers: npt.NDArray[np.int32]
    """One row after the other."""
    least: Singles | None
    """Lower bounds on what the others' squared distances exceed that of the nearest by; None where
    there is one for each of them."""


def all_in_reach(n: int) -> Reach:
    """For ``n`` rows of which nothing is known."""
    return Reach(np.zeros(n, dtype=np.int32), np.empty(0, dtype=np.int32), None)


def lowest_lines(gain: Singles, slope: Singles, places: Singles) -> Singles:
    """`bounds.lowest_lines`."""
    if np.isnan(gain).any() or not (np.isfinite(slope).all() and np.isfinite(places).all()):
        return bounds.lowest_lines(gain, slope, places)
    lowest = np.empty((len(gain), len(places)), dtype=np.float32)
    _loops().lowest_lines(gain, slope, places, lowest)
    return lowest


def widen(drift: Drift, labels: Labels, gaps: Singles, radii: Singles) -> Indices:
    """`Drift.widen` in place; returns the rows whose gap is lost."""
    rows = np.empty(len(labels), dtype=np.intp)
    losses = drift.losses
    n_left = _loops().widen(
        labels, gaps, radii, losses.table, losses.width, losses.least, losses.slope, drift.steps,
        rows,
    )  # fmt: skip
    return rows[:n_left]


@np.errstate(over="ignore", invalid="ignore")
def narrow_pairs(
    drift: Drift, centers: Narrow, sketch: Sketch, labels: Labels, norms: Singles,
    pairs: Singles, gaps: Singles, radii: Singles,
) -> tuple[Indices, Reach | None]:  # fmt: skip
    """`widen`, and `narrow` of what it leaves, where there is a gap of each centre.

    ``pairs``, of shape (n, pairs_width(n_clusters)), holds them.
    """
    n, k = len(pairs), len(centers.squares)
    gain, apart = drift.pairs
    if not (np.isfinite(gain).all() and np.isfinite(apart).all()):
        radii[:] = np.inf
    rows, lengths = np.empty(n, dtype=np.intp), np.empty(n, dtype=np.int32)
    room = n * min(k, _KEPT_IN_REACH) + pairs.shape[1] + 1
    found = scratch("found", (room,), np.int32)
    n_left, n_found = _loops().narrow_pairs(
        sketch.coordinates, centers.coordinates, centers.squares, centers.apart, centers.alone,
        sketch.rests, centers.errors, gain, apart, drift.steps,
        labels, norms, pairs, gaps, radii,
        rows, lengths, found, max(int(_MOST_IN_REACH * k), 2), UNKNOWN,
    )  # fmt: skip
    return _reached(rows[:n_left], lengths[:n_left], found[:n_found], None)


@np.errstate(over="ignore", invalid="ignore")
def narrow(
    centers: Narrow, sketch: Sketch, at: Indices, labels: Labels, norms: Singles,
    gaps: Singles, radii: Singles,
) -> tuple[Indices, Reach | None]:  # fmt: skip
    """`Narrow.narrow` of the rows ``at`` some places, in place for those that keep their label.

    Returns
    -------
    ndarray
        The rows that are not proved to.
    Reach
        Of those; None where a product with all centres is faster.
    """
    n, k = len(at), len(centers.squares)
    most = max(int(_MOST_IN_REACH * k), 2)
    rows, lengths = np.empty(n, dtype=np.intp), np.empty(n, dtype=np.int32)
    least = np.empty(n, dtype=np.float32)
    found = scratch("found", (n * min(most, _KEPT_IN_REACH) + k,), np.int32)
    n_left, n_found = _loops().narrow(
        sketch.coordinates, centers.columns, centers.squares, centers.apart, centers.alone,
        sketch.rests, centers.errors, at, labels, norms, gaps, radii,
        rows, lengths, least, found, most,
    )  # fmt: skip
    return _reached(rows[:n_left], lengths[:n_left], found[:n_found], least[:n_left])


def _reached(
    rows: Indices, lengths: npt.NDArray[np.int32], found: npt.NDArray[np.int32],
    least: Singles | None,
) -> tuple[Indices, Reach | None]:  # fmt: skip
    if 2 * np.count_nonzero(lengths) < len(rows):
        return rows, None
    return rows, Reach(lengths, found.copy(), least)


@np.errstate(over="ignore", invalid="ignore")
def compare(
    nearest: Nearest, rows: Rows, at: Indices | None, places: Indices, reach: Reach,
    labels: Labels, norms: Singles, gaps: Singles, radii: Singles, pairs: Singles | None = None,
) -> Labels:  # fmt: skip
    """`Nearest.find` from the centres within reach alone, in place; returns the labels before.

    The rows of the table, or those ``at`` some places of it, are the rows ``places`` of the state.
    """
    at = np.arange(len(places)) if at is None else at
    if is_plain(rows, nearest.frame):
        return _compare(
            nearest, rows, at, rows, at, places, reach, labels, norms, gaps, radii, pairs
        )
    before = np.empty(len(places), dtype=np.int32)
    begins = np.concatenate([[0], np.cumsum(reach.lengths)])
    for run in nearest.tiles(len(places), rows):
        picked = rows[at[run]]
        tile = nearest.frame.rows32(picked, scratch("tile", picked.shape, np.float32))
        near = reach.centers[begins[run.start] : begins[run.stop]]
        least = None if reach.least is None else reach.least[run]
        before[run] = _compare(
            nearest, picked, np.arange(len(picked)), tile, np.arange(len(picked)), places[run],
            Reach(reach.lengths[run], near, least), labels, norms, gaps, radii, pairs,
        )  # fmt: skip
    return before


def _compare(
    nearest: Nearest, rows: Rows, at: Indices, plain: Rows, where: Indices, places: Indices,
    reach: Reach, labels: Labels, norms: Singles, gaps: Singles, radii: Singles,
    pairs: Singles | None,
) -> Labels:  # fmt: skip
    """The same, given the rows in the frame as ``plain`` and ``where`` they are in it."""
    n, single, double = len(places), nearest.single, nearest.double
    before, unsure = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.intp)
    # Few rows are compared with all centres where most are not.
    shorts = _shorts([nearest], plain if reach.centers.size == 0 else None)
    n_unsure = _row_loops().compare(
        plain, where, places, np.arange(len(single.squares), dtype=np.int32),
        reach.lengths, reach.centers, norms if reach.least is None else reach.least, plain is rows,
        single.packed, shorts.packed, shorts.scales, *tile_for(single.packed),
        single.weights, single.padded, single.errors, shorts.errors[0],
        double.weights, double.squares, double.errors,
        labels, norms, gaps, radii, _NO_PAIRS if pairs is None else pairs, before, unsure, UNKNOWN,
    )  # fmt: skip
    if n_unsure:
        left = unsure[:n_unsure]
        labels[places[left]] = nearest.decide(rows[at[left]])
    return before


def is_plain(rows: Rows, frame: Frame) -> bool:
    """Whether rows as they are stored are the frame's, to be converted in loops."""
    same = frame.shift is None and not frame.exponent
    return same and rows.dtype.name in ("uint8", "float32")


@np.errstate(over="ignore", invalid="ignore")
def find(nearest: Nearest, rows: Rows, norms: Singles | None, pairs: Singles | None) -> Found:
    """`Nearest.find` of few centres, for rows as they are stored."""
    n = len(rows)
    norms = _norms_above(rows, nearest.frame) if norms is None else norms
    found = Found(np.zeros(n, dtype=np.int32), norms, *np.empty((2, n), dtype=np.float32))
    compare(
        nearest, rows, None, np.arange(n), all_in_reach(n),
        found.labels, norms, found.gaps, found.radii, pairs,
    )  # fmt: skip
    return found


@np.errstate(over="ignore", invalid="ignore")
def find_all(models: list[Nearest], rows: Rows, norms: Singles | None) -> list[Found]:
    """`find` of several models in one frame, whose centres are factors of the same products."""
    shape = (len(models), len(rows))
    norms = _norms_above(rows, models[0].frame) if norms is None else norms
    labels, unsure = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.bool_)
    gaps, radii = np.empty((2, *shape), dtype=np.float32)
    prepared = [model.single for model in models]
    packed, shorts = pack(np.concatenate([one.weights for one in prepared])), _shorts(models, rows)
    _row_loops().find_all(
        rows, packed, shorts.packed, shorts.scales, *tile_for(packed),
        np.cumsum([len(one.squares) for one in prepared]),
        np.concatenate([*(one.squares for one in prepared), _ROOM]),
        np.array(shorts.errors), norms, labels, gaps, radii, unsure,
    )  # fmt: skip
    for model, own, left in zip(models, labels, unsure, strict=True):
        own[left] = model.decide(rows[left])
    return [Found(labels[m], norms, gaps[m], radii[m]) for m in range(len(models))]


def can_project(rows: Rows, frame: Frame) -> bool:
    """Whether `products_of` can."""
    return is_plain(rows, frame) and rows.shape[1] <= _PROJECTED


def products_of(rows: Rows, frame: Frame, vectors: Singles) -> Singles:
    """`projection.products_of`."""
    packed = pack(vectors)
    out = aligned((len(rows) + LANES, len(packed)), np.float32)
    _row_loops().products_of(rows, packed, tile_for(packed)[0], out)
    return np.ascontiguousarray(out[: len(rows), : len(vectors)])


@dataclass(frozen=True)
class _Stacked:
    """Centres of several models in 16 bits; without any where float32 is to be used."""

    packed: npt.NDArray[np.int16]
    scales: Singles
    errors: list[tuple[Any, ...]]
    """Of each model, in either precision."""


def _shorts(models: list[Nearest], rows: Rows | None) -> _Stacked:
    if rows is None or not _can_shorten(rows):
        none = np.empty((0, 0), dtype=np.int16), np.empty(0, dtype=np.float32)
        return _Stacked(*none, [model.single.errors for model in models])
    each = [model.shorts for model in models]
    # Where rows are too few for a product in 16 bits they are multiplied in float32.
    errors = [_either(model.shorts.errors, model.single.errors) for model in models]
    if len(each) == 1:
        return _Stacked(each[0].packed, each[0].scales, errors)
    sizes = [len(model.centers) for model in models]
    sizes[-1] += max(FEWEST_PACKED - sum(sizes), 0)  # zeros
    runs = [slice(size) for size in sizes]
    packed = np.concatenate([one.packed[run] for one, run in zip(each, runs, strict=True)])
    scales = np.concatenate([one.scales[run] for one, run in zip(each, runs, strict=True)])
    return _Stacked(packed, scales, errors)


def _either(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
    """Errors of which products may have either."""
    slopes, offsets, reaches = zip(first[:3], second[:3], strict=True)
    return max(slopes), max(offsets), min(reaches), *first[3:]


def _can_shorten(rows: Rows) -> bool:
    """Whether rows are bytes of which integers hold the products, on a machine that has them."""
    fits = _SHORT_FEATURES[0] <= rows.shape[1] <= _SHORT_FEATURES[1]
    return rows.dtype == np.uint8 and fits and _row_loops().HAS_SHORTS


def _norms_above(rows: Rows, frame: Frame) -> Singles:
    middle = frame.middle_of(rows.shape[1]).astype(np.float32)
    norms = np.empty(len(rows), dtype=np.float32)
    own, error, floor = norm_errors(frame, rows.shape[1])
    _row_loops().norms_above(rows, middle, own, error, floor, norms)
    return norms
