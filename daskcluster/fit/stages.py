"""What a checkpoint must hold for the fit that goes on from it: the stages of its runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from daskcluster.fit.data import Dataset
from daskcluster.fit.options import Options
from daskcluster.schema import (
    Check,
    flag,
    items,
    mapping,
    maybe,
    number,
    one_of,
    record,
    whole,
)
from daskcluster.sizing import LARGEST_MAGNITUDE
from daskcluster.survey import Scale

_SPENT = record({"bytes": whole(), "tasks": whole(), "seconds": number(0)})
_HISTORY = items(record({"iteration": whole(1), "passes": number(0)}))
_HISTORY_VALUES = items(mapping(number()))


def check_state(
    state: dict[str, Any], *, runs: Sequence[Options], data: Dataset, scale: Scale
) -> None:
    """Raise `ValueError` for a state that no fit of these options and rows comes to."""
    limbs = scale.moments.sum_grid.n_limbs
    pages = {f"run {i}": maybe(_page(run, data.n_features, limbs)) for i, run in enumerate(runs)}
    record({}, {"spent": _SPENT, **pages})(state, "state")


def _page(run: Options, n_features: int, limbs: int) -> Check:
    """One stage of a run."""
    k, d = run.n_clusters, n_features
    stages = _soft(k, d) if run.beta is not None else _hard(k, d, limbs)
    return record({}, stages | {"seeds": _seeds(run.init == "k-means||", d)})


def _hard(k: int, d: int, limbs: int) -> dict[str, Check]:
    counts = array((k,), "int64", low=0)
    sparse = {"n_features": one_of(d)}
    sums = record(
        {
            "n_clusters": one_of(k), **sparse, "limbs": array((limbs, None), "int64"),
            "places": array((None,), "int64", low=0, high=k * d - 1),
        }
    )  # fmt: skip
    rows = _sparse_rows(k, d)
    lloyd = {
        "centers": _one_kind(rows, _centers(k, d)), "previous": _one_kind(rows, _centers(k, d)),
        "sums": _one_kind(sums, array((limbs, k, d), "int64")), "counts": counts,
        "history": _history, "repeated": flag, "converged": flag,
    }  # fmt: skip
    labels = {"labels": maybe(array((None,), "int32", low=0, high=k - 1))}
    found = record(_found(k, d), labels, closed=True)
    return {"lloyd": _alike(record(lloyd, closed=True)), "found": found}


def _soft(k: int, d: int) -> dict[str, Check]:
    precision = one_of("float32", "float64")
    lloyd = {
        "centers": _centers(k, d), "history": _history, "converged": flag, "precision": precision,
    }  # fmt: skip
    found = _found(k, d) | {
        "objective": number(), "weights": array((k,), "float64", low=0), "precision": precision,
    }  # fmt: skip
    return {"lloyd": record(lloyd, closed=True), "found": record(found, closed=True)}


def _found(k: int, d: int) -> dict[str, Check]:
    return {
        "centers": _centers(k, d), "inertia": number(0), "n_iter": whole(), "converged": flag,
        "cluster_sizes": array((k,), "int64", low=0), "history": _history,
    }  # fmt: skip


def _seeds(parallel: bool, d: int) -> Check:
    if parallel:
        return record({"seeds": _centers(None, d), "round": whole(0)})
    words = {"counter": array((4,), "uint64"), "key": array((2,), "uint64")}
    rng = {
        "bit_generator": one_of("Philox"), "state": record(words), "buffer": array((4,), "uint64"),
        "buffer_pos": whole(0, 4), "has_uint32": whole(0, 1), "uinteger": whole(0, 2**32 - 1),
    }  # fmt: skip
    return record({"known": _centers(None, d), "candidates": _centers(None, d), "rng": record(rng)})


def _history(value: Any, place: str) -> None:
    _HISTORY(value, place)
    _HISTORY_VALUES(value, place)


def _centers(k: int | None, d: int) -> Check:
    return array((k, d), "float64", low=-LARGEST_MAGNITUDE, high=LARGEST_MAGNITUDE)


def array(
    shape: tuple[int | None, ...], dtype: str, low: float = -np.inf, high: float = np.inf
) -> Check:
    """An array of a shape, None for any extent, and a type, with no value out of a range."""

    def check(value: Any, place: str) -> None:
        found = (value.shape, value.dtype.name) if isinstance(value, np.ndarray) else value
        if not isinstance(value, np.ndarray) or value.dtype != dtype or not _fits(value, shape):
            raise ValueError(f"{place} is {found!r:.60} where there should be {(shape, dtype)}")
        if not ((value >= low) & (value <= high)).all():
            raise ValueError(f"{place} has values that are not from {low:g} to {high:g}")

    return check


def _fits(value: Any, shape: tuple[int | None, ...]) -> bool:
    return value.ndim == len(shape) and all(
        wanted in (None, extent) for wanted, extent in zip(shape, value.shape, strict=True)
    )


def _one_kind(sparse: Check, dense: Check) -> Check:
    """Centres and sums are arrays, or of very many features what is not 0 of them."""

    def check(value: Any, place: str) -> None:
        (sparse if isinstance(value, dict) else dense)(value, place)

    return check


def _alike(inner: Check) -> Check:
    """Centres and sums are of one kind, and so are limbs and their places."""

    def check(value: Any, place: str) -> None:
        inner(value, place)
        if len({isinstance(value[name], dict) for name in ("centers", "previous", "sums")}) > 1:
            raise ValueError(f"{place} is sparse in part")
        if isinstance(value["sums"], dict):
            places, limbs = value["sums"]["places"], value["sums"]["limbs"]
            if len(places) != limbs.shape[1] or not (np.diff(places) > 0).all():
                raise ValueError(f"{place}.sums has other places than values")

    return check


def _sparse_rows(k: int, d: int) -> Check:
    inner = record(
        {
            "data": array((None,), "float64", low=-LARGEST_MAGNITUDE, high=LARGEST_MAGNITUDE),
            "indices": array((None,), "int32", low=0, high=d - 1),
            "indptr": array((k + 1,), "int64", low=0), "n_features": one_of(d),
        }
    )  # fmt: skip

    def check(value: Any, place: str) -> None:
        inner(value, place)
        ends = value["indptr"]
        stored = len(value["data"])
        if ends[0] or ends[-1] != stored or len(value["indices"]) != stored:
            raise ValueError(f"{place} has other columns than values")
        if not (np.diff(ends) >= 0).all():
            raise ValueError(f"{place}.indptr goes back")

    return check
