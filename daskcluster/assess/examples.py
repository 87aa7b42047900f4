"""Rows of each cluster that show what it is: the least and the most certain ones, as values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from daskcluster.engine import Ask, Asking
from daskcluster.fit import SoftKMeans
from daskcluster.fit.data import Dataset
from daskcluster.kernels.certain import Certain, Extremes, Sample
from daskcluster.kernels.frame import Floats
from daskcluster.kernels.rowmaps import Standardized
from daskcluster.kernels.sparse import SparseRows, is_sparse
from daskcluster.store import Store
from daskcluster.survey import Scale

N_EACH = 5
"""Rows of each cluster, least and most certain ones."""
MOST_CLUSTERS = 200
"""That are shown; the largest."""
MOST_LARGEST = 8
"""Features that are kept of a sparse row."""
MOST_BYTES = 1 << 26
"""Of the rows that are brought to the driver."""


@dataclass(frozen=True)
class Example:
    """A row of a cluster."""

    row: int
    """Its index in the data."""
    id: str | None
    """Its id, where the store has some."""
    known: str | None
    """Name of its true class."""
    runner_up: int | None
    """The next nearest centre; None where there is no other."""
    margin: float | None
    """By how much its own centre is nearer than the next: 0 on the border, 1 at the centre."""
    share: float | None
    """Its responsibility, in a soft model."""
    values: Floats | None
    """Its features, in the units of the data but for rows that were brought to unit length; None of
    sparse rows."""
    largest: list[tuple[int, float]]
    """Of a sparse row the features of the largest values."""


def shown_clusters(sizes: Sequence[float], row_bytes: int) -> tuple[int, ...]:
    """The clusters that are shown: all, or the largest."""
    room = max(MOST_BYTES // (2 * N_EACH * row_bytes), 1)
    order = np.argsort(-np.asarray(sizes, dtype=np.float64), kind="stable")
    return tuple(sorted(order[: min(room, MOST_CLUSTERS)].tolist()))


def choosing(
    model: Any, data: Dataset, scale: Scale, clusters: tuple[int, ...]
) -> Asking[Extremes]:
    """The least and most certain rows of some clusters, in one pass."""
    softness = model.softness_ if isinstance(model, SoftKMeans) else None
    job = Certain(model.cluster_centers_, scale.frame, N_EACH, clusters, softness)
    found: Extremes = yield Ask(job, "examples")
    return found


def examples(
    model: Any, store: Store, chosen: Extremes
) -> dict[int, tuple[list[Example], list[Example]]]:
    """What is shown of the rows that were chosen: of each cluster the least and most certain."""
    describe = _describer(model, store)
    return {
        j: (list(map(describe, least)), list(map(describe, most)))
        for j, (least, most) in chosen.items()
    }


def _describer(model: Any, store: Store) -> Callable[[Sample], Example]:
    names, soft = store.info.class_names, isinstance(model, SoftKMeans)
    ids, margins = _Ids(store), _Margins(model.cluster_centers_)

    def describe(sample: Sample) -> Example:
        runner_up, margin = margins.of(sample)
        return Example(
            row=sample.index,
            id=ids.of(sample.index),
            known=names[sample.known] if names is not None and sample.known >= 0 else None,
            runner_up=runner_up,
            margin=margin,
            share=1 - sample.doubt if soft else None,
            values=None if is_sparse(sample.row) else in_units_of_data(model, sample.dense),
            largest=_largest(sample.row) if is_sparse(sample.row) else [],
        )

    return describe


def _largest(row: SparseRows) -> list[tuple[int, float]]:
    order = np.argsort(-np.abs(row.data), kind="stable")[:MOST_LARGEST].tolist()
    return [(int(row.indices[i]), float(row.data[i])) for i in order if row.data[i] != 0]


class _Margins:
    """Next nearest centres and margins for the eye: in float64, row by row."""

    def __init__(self, centers: Floats) -> None:
        first: dict[bytes, int] = {}
        self._centers = centers
        self._twin = np.array([first.setdefault(c.tobytes(), j) for j, c in enumerate(centers)])
        self._squares = np.einsum("ij,ij->i", centers, centers)

    def of(self, sample: Sample) -> tuple[int | None, float | None]:
        gaps = self._distances(sample.row)
        own = float(gaps[sample.label])
        gaps[self._twin == self._twin[sample.label]] = np.inf
        other = int(gaps.argmin())
        if not np.isfinite(gaps[other]):
            return None, None
        return other, max(1 - own / float(gaps[other]), 0.0) if gaps[other] > 0 else 0.0

    def _distances(self, row: Any) -> Floats:
        if not is_sparse(row):
            found: Floats = cdist(row[np.newaxis].astype(np.float64), self._centers)[0]
            return found
        data = row.data.astype(np.float64)
        squares = self._squares + data @ data - 2 * self._centers[:, row.indices] @ data
        return np.asarray(np.sqrt(np.maximum(squares, 0)))


def in_units_of_data(model: Any, rows: Floats) -> Floats:
    """Rows or centres as they were before they were standardized."""
    standard = model.row_map_
    return rows * standard.scale + standard.mean if isinstance(standard, Standardized) else rows


class _Ids:
    """Ids of single rows, read by the chunk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._chunk = lru_cache(maxsize=16)(store.ids)

    def of(self, row: int) -> str | None:
        if self._store.info.ids is None:
            return None
        chunk, place = divmod(row, self._store.info.rows_per_chunk)
        return str(self._chunk(chunk)[place])
