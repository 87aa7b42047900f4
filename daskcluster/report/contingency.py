"""The contingency table as a heat map."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskcluster.errors import InputError
from daskcluster.report.canvas import add_bar, new_figure, save, shortened, slant

MAX_NUMBERED_CELLS = 20
MAX_TICKS = 40


def draw_contingency(
    table: NDArray[np.integer[Any]],
    class_names: Sequence[str],
    path: str | os.PathLike[str],
    scores: Mapping[str, float | None] | None = None,
) -> Path:
    """Draw the counts of clusters against classes as a heat map.

    Colour is the share of the cluster's rows, so that small clusters are as readable as large
    ones; the counts stand in the cells of tables of at most 20 by 20.

    Parameters
    ----------
    table : ndarray of shape (n_clusters, n_classes), integer
        Counts, clusters as rows and classes as columns.
    class_names : sequence of str, of length n_classes
        Names of the columns; long ones are shortened.
    path : path-like
        The PNG file to write; replaced whole or not at all.
    scores : mapping of str to float or None, optional
        Its ``purity`` and ``gini``, where given, stand in the title.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If the table is empty, the names do not fit it, or the folder is missing.
    DaskClusterError
        If matplotlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_contingency(np.eye(2, dtype=int), ["cat", "dog"], Path(folder) / "t.png").name
    't.png'
    """
    _check_contingency(table, class_names)
    counted = max(table.shape) <= MAX_NUMBERED_CELLS
    texts = _count_texts(table) if counted else None
    figure, axes = _table_axes(table, texts)
    _label_table(axes, table, [shortened(name) for name in class_names])
    axes.set_title(_title_of_table(scores), fontsize=12, pad=12)
    return save(figure, path)


def _check_contingency(table: NDArray[np.integer[Any]], class_names: Sequence[str]) -> None:
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"the table must be a filled matrix, got the shape {table.shape}")
    if len(class_names) != table.shape[1]:
        raise InputError(f"{len(class_names)} class names for {table.shape[1]} classes")


def _title_of_table(scores: Mapping[str, float | None] | None) -> str:
    given = [("purity", "purity"), ("gini", "Gini")]
    values = [(name, (scores or {}).get(key)) for key, name in given]
    known = [f"{name} {value:.4f}" for name, value in values if value is not None]
    return (
        "\n".join(["Clusters and classes", ", ".join(known)]) if known else "Clusters and classes"
    )


def _count_texts(table: NDArray[np.integer[Any]]) -> list[list[str]]:
    return [[f"{n:,}" for n in row] for row in table.tolist()]


def _table_axes(table: NDArray[np.integer[Any]], texts: list[list[str]] | None) -> tuple[Any, Any]:
    """Return a figure and its axes with the heat map, its bar and, if given, its texts."""
    k, c = table.shape
    width, height = _cell_size(texts)
    widest = 20.0 if texts is None else 40.0
    figure = new_figure(
        max(min(width * c, widest), 3.0) + 2.6, max(min(height * k, 16.0), 1.2) + 2.0
    )
    axes = figure.add_subplot()
    shares = _row_shares(table)
    shade = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    add_bar(figure, shade, axes, "share of the cluster's rows")
    if texts is not None:
        _write_cells(axes, texts, shade.to_rgba(shares))
    return figure, axes


def _cell_size(texts: list[list[str]] | None) -> tuple[float, float]:
    """Width and height of a cell in inches."""
    if texts is None:
        return 0.16, 0.16
    longest = max(len(text) for row in texts for text in row)
    return max(0.5, 0.085 * longest + 0.1), 0.36


def _row_shares(table: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    counts = table.astype(np.float64)
    # An empty cluster divides by 1, so that its row is blank and not NaN.
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return shares


def _write_cells(axes: Any, texts: list[list[str]], colours: NDArray[np.float64]) -> None:
    # The weights of ITU-R BT.601 for perceived brightness.
    brightness = colours[..., :3] @ np.array([0.299, 0.587, 0.114])
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            ink = "white" if brightness[i, j] < 0.5 else ("#7b8794" if text == "0" else "black")
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=ink)


def _label_table(axes: Any, table: NDArray[np.integer[Any]], class_names: list[str]) -> None:
    k, c = table.shape
    sizes = table.sum(axis=1).tolist()
    step_k, step_c = math.ceil(k / MAX_TICKS), math.ceil(c / (2 * MAX_TICKS))
    clusters = [f"{j} ({sizes[j]:,})" for j in range(0, k, step_k)]
    axes.set_yticks(range(0, k, step_k), clusters, fontsize=8)
    # Names are data: a dollar sign in one must not start a formula.
    axes.set_xticks(range(0, c, step_c), class_names[::step_c], fontsize=8, parse_math=False)
    if max(map(len, class_names)) > 5 or c > MAX_NUMBERED_CELLS:
        slant(axes.get_xticklabels(), 45 if c <= MAX_NUMBERED_CELLS else 90)
    axes.tick_params(length=0)
    axes.set_xlabel("class")
    axes.set_ylabel("cluster (rows)")
