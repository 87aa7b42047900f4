"""Sources of labels: which classes there are."""

import numpy as np

from daskcluster.errors import InputError
from daskcluster.sources.base import Source
from daskcluster.sources.files import Array


def scan_classes(source: Source, rows: int = 1_000_000, limit: int = 65_536) -> Array:
    """Distinct values of a source of labels.

    Parameters
    ----------
    source : Source
        One integer per row.
    rows : int
        Rows read at a time.
    limit : int
        The most classes a label file may have.

    Returns
    -------
    ndarray, shape (n_classes,), ``source.dtype``
        Sorted.

    Raises
    ------
    InputError
        If the rows are not single integers, or have more than ``limit`` distinct values.
    """
    _check_labels(source)
    classes: Array = np.empty(0, dtype=source.dtype)
    for block in source.blocks(rows):
        classes = np.union1d(classes, block)
        if classes.size > limit:
            raise InputError(
                f"{source.path}: more than {limit} distinct classes; is this a label file?"
            )
    return classes


def _check_labels(source: Source) -> None:
    if source.n_features != 1:
        raise InputError(
            f"{source.path}: shape {source.shape} is not one label per row; give a "
            "1-dimensional file of labels"
        )
    if source.dtype.kind not in "iu":
        raise InputError(f"{source.path}: labels of type {source.dtype}; they must be integers")
