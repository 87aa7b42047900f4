"""Labels and responsibilities on disk, read back."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.engine.lazy import lazy_rows
from daskcluster.errors import InputError
from daskcluster.kernels.batch import Batch
from daskcluster.schema import check_writable, one_of, record, text, whole
from daskcluster.sizing import Cut
from daskcluster.store import BuildReader
from daskcluster.store.layout import plain_path
from daskcluster.store.reading import BuildArray, build_array, root_attributes

LABELS_FORMAT = "daskcluster-labels"
RESPONSIBILITIES_FORMAT = "daskcluster-responsibilities"

_LABELS = {"build": text("[0-9a-f]{12}", "the name of a build"), "n_rows": whole(1)}
_SHARES = {
    "n_clusters": whole(1), "rows_per_chunk": whole(1), "dtype": one_of("float32", "float64"),
}  # fmt: skip
_KINDS = {LABELS_FORMAT: record(_LABELS), RESPONSIBILITIES_FORMAT: record(_LABELS | _SHARES)}


def open_labels(path: str | os.PathLike[str]) -> npt.NDArray[np.int32]:
    """All labels that `predict_labels` wrote.

    Parameters
    ----------
    path : path or URL
        What was given as ``out``.

    Returns
    -------
    int32 ndarray of shape (n_rows,)
        The cluster of each row, in their order.

    Raises
    ------
    InputError
        There are no labels there.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, convert_npy, open_labels, predict_labels
    >>> np.save("rows.npy", np.array([[0.0], [9.0], [8.0]]))
    >>> store = convert_npy("rows.npy", "rows.zarr")
    >>> model = KMeans(2, init=[[0.0], [9.0]]).fit(store)
    >>> _ = predict_labels(model, store, "labels.zarr")
    >>> open_labels("labels.zarr")
    array([0, 1, 1], dtype=int32)
    """
    path = plain_path(path)
    attributes = describe_prediction(path, LABELS_FORMAT)
    return BuildArray(path, attributes["build"], "labels").rows(0, attributes["n_rows"])


def open_responsibilities(path: str | os.PathLike[str]) -> Any:
    """What `predict_responsibilities` wrote.

    Parameters
    ----------
    path : path or URL
        What was given as ``out``.

    Returns
    -------
    dask Array of shape (n_rows, n_clusters)
        Lazy, in the precision of the fit; each row sums to 1.

    Raises
    ------
    InputError
        There are no responsibilities there.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import (
    ...     SoftKMeans, convert_npy, open_responsibilities, predict_responsibilities,
    ... )
    >>> np.save("rows.npy", np.array([[0.0], [9.0], [4.5]]))
    >>> store = convert_npy("rows.npy", "rows.zarr")
    >>> model = SoftKMeans(2, init=[[0.0], [9.0]], random_state=0).fit(store)
    >>> _ = predict_responsibilities(model, store, "shares.zarr")
    >>> shares = open_responsibilities("shares.zarr")
    >>> shares.shape, shares[0].compute().round(2).tolist()
    ((3, 2), [1.0, 0.0])
    """
    path = plain_path(path)
    facts = describe_prediction(path, RESPONSIBILITIES_FORMAT)
    reader = BuildReader(path, facts["build"], name="responsibilities")
    cut = Cut(facts["n_rows"], facts["rows_per_chunk"])
    return lazy_rows(reader, cut, _rows, np.dtype(facts["dtype"]), facts["n_clusters"])


def _rows(batch: Batch) -> npt.NDArray[Any]:
    rows: npt.NDArray[Any] = batch.rows
    return rows


def describe_prediction(path: str | os.PathLike[str], kind: str | None = None) -> dict[str, Any]:
    """What labels or responsibilities on disk say of themselves, checked; of one kind, or any."""
    path = plain_path(path)
    attributes = root_attributes(path)
    kinds = (LABELS_FORMAT, RESPONSIBILITIES_FORMAT) if kind is None else (kind,)
    if not isinstance(attributes, dict) or attributes.get("format") not in kinds:
        name = "responsibilities" if kind == RESPONSIBILITIES_FORMAT else "labels"
        proba = " --proba" if kind == RESPONSIBILITIES_FORMAT else ""
        raise InputError(f"{path} holds no {name}: write them with `daskcluster predict{proba}`")
    try:
        check_writable(attributes)
        _KINDS[attributes["format"]](attributes, "")
        _check_array(path, attributes)
    except ValueError as error:
        raise InputError(
            f"{path}: damaged attributes ({error}); run `daskcluster predict` again"
        ) from error
    return attributes


def _check_array(path: str, facts: dict[str, Any]) -> None:
    """Raise `ValueError` for an array that is not what the attributes say."""
    kind = facts["format"].removeprefix("daskcluster-")
    array = build_array(path, facts["build"], kind)
    shape: tuple[int, ...] = (facts["n_rows"],)
    if facts["format"] == RESPONSIBILITIES_FORMAT:
        shape = (facts["n_rows"], facts["n_clusters"])
    dtype = facts.get("dtype", "int32")
    if (array.shape, array.dtype.name) != (shape, dtype):
        raise ValueError(f"an array of {array.shape} {array.dtype}, not {shape} {dtype}")
