"""Figures from finished results: plain values in, PNG files out.

Every figure is a `matplotlib.figure.Figure` of its own on an Agg canvas. Nothing goes through
pyplot, so no window opens, no figure stays behind and threads do not meet in a current figure.
"""

import importlib.util
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskcluster.errors import DaskClusterError, InputError

MAX_CENTROIDS = 100
MAX_NUMBERED_CELLS = 20
MAX_TICKS = 40
MAX_NAME = 24
DPI = 120


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_centroids(
    centers: NDArray[np.floating[Any]],
    sample_shape: tuple[int, ...],
    sizes: NDArray[np.integer[Any]],
    path: str | os.PathLike[str],
) -> Path:
    """Draw the centroids as images if a sample is an image, else as one heat map.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), floating
        One centroid a row. At most the first 100 are drawn, and the title says so.
    sample_shape : tuple of int
        Shape of one sample: (height, width), or (height, width, channels) with 1, 3 or 4
        channels, draws images; any other shape draws a heat map.
    sizes : ndarray of shape (n_clusters,), integer
        Rows of each cluster.
    path : path-like
        The PNG file to write; replaced whole or not at all.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If the shapes do not fit each other, there is no centroid, or the folder is missing.
    DaskClusterError
        If matplotlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_centroids(np.eye(4), (2, 2), np.arange(4), Path(folder) / "c.png").name
    'c.png'
    """
    _check_centroids(centers, sample_shape, sizes)
    shown, title = centers[:MAX_CENTROIDS], _title_of_centroids(len(centers))
    names = [f"cluster {j}: {_rows(int(n))}" for j, n in enumerate(sizes[:MAX_CENTROIDS])]
    if _is_image(sample_shape):
        return _save(_image_grid(shown, sample_shape, names, title), path)
    return _save(_centroid_map(shown, names, title), path)


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
    _label_table(axes, table, [_shortened(name) for name in class_names])
    axes.set_title(_title_of_table(scores), fontsize=12, pad=12)
    return _save(figure, path)


def draw_history(history: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Draw the convergence curve: inertia against iteration.

    Parameters
    ----------
    history : sequence of mappings
        One a pass over the data, each with a number ``iteration`` and a number ``inertia``.
    path : path-like
        The PNG file to write; replaced whole or not at all.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If the history is empty or an entry lacks a number, or the folder is missing.
    DaskClusterError
        If matplotlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> steps = [{"iteration": 1, "inertia": 9.0}, {"iteration": 2, "inertia": 4.0}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_history(steps, Path(folder) / "h.png").name
    'h.png'
    """
    iterations, inertias = _curve(history)
    figure = _figure(7.0, 4.2)
    axes = figure.add_subplot()
    axes.plot(iterations, inertias, marker="o", markersize=4, linewidth=1.5, color="#1f5a96")
    _style_curve(axes)
    axes.set_title("Inertia by iteration", fontsize=12, pad=10)
    return _save(figure, path)


def _figure(width: float, height: float) -> Any:
    try:
        # An optional dependency: the engine must import and run without it.
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional
        from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 - optional
    except ImportError as error:
        raise DaskClusterError("pictures need matplotlib: pip install matplotlib") from error
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is no folder, so {target.name} cannot be written there")
    # A sibling, as a rename is atomic only within one file system.
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        figure.savefig(partial, format="png")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


# --- centroids -----------------------------------------------------------------------------


def _check_centroids(
    centers: NDArray[np.floating[Any]], sample_shape: tuple[int, ...], sizes: NDArray[Any]
) -> None:
    if centers.ndim != 2 or centers.size == 0:
        raise InputError(f"centers must be a filled matrix, got the shape {centers.shape}")
    if math.prod(sample_shape) != centers.shape[1]:
        raise InputError(
            f"samples of the shape {sample_shape} have {math.prod(sample_shape)} values, "
            f"but a centroid has {centers.shape[1]}"
        )
    if np.shape(sizes) != centers.shape[:1]:
        raise InputError(f"{len(centers)} centroids, but sizes of the shape {np.shape(sizes)}")


def _is_image(sample_shape: tuple[int, ...]) -> bool:
    return len(sample_shape) == 2 or (len(sample_shape) == 3 and sample_shape[2] in (1, 3, 4))


def _rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


def _title_of_centroids(k: int) -> str:
    if k > MAX_CENTROIDS:
        return f"Centroids of the first {MAX_CENTROIDS} of {k:,} clusters"
    return f"Centroids of {k} clusters" if k > 1 else "Centroid of 1 cluster"


def _image_grid(
    centers: NDArray[Any], sample_shape: tuple[int, ...], names: list[str], title: str
) -> Any:
    images = _as_images(centers, sample_shape)
    columns = _columns(len(images))
    n_rows = math.ceil(len(images) / columns)
    # Very long or tall images would leave no room for others; those are stretched.
    aspect = min(max(sample_shape[0] / sample_shape[1], 0.25), 2.5)
    figure = _figure(max(1.8 * columns + 0.9, 3.2), (1.6 * aspect + 0.5) * n_rows + 0.7)
    grid = figure.subplots(n_rows, columns, squeeze=False)
    shade = _fill_grid(list(grid.flat), images, names, aspect)
    if images.ndim == 3:
        _add_bar(figure, shade, grid, "centroid value")
    figure.suptitle(title, fontsize=12)
    return figure


def _columns(k: int) -> int:
    """Return the width of a grid of k images that leaves the fewest places empty."""
    square = math.ceil(math.sqrt(k))
    return min(range(square, min(2 * square, 10) + 1), key=lambda columns: -k % columns)


def _fill_grid(axes: list[Any], images: NDArray[Any], names: list[str], aspect: float) -> Any:
    """Draw the images, blank the places left over, and return one drawn image."""
    low, high = _value_range(images)
    for place in axes[len(images) :]:
        place.set_axis_off()
    for place, image, name in zip(axes, images, names, strict=False):
        shade = place.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        place.set(xticks=[], yticks=[])
        place.spines[:].set_linewidth(0.5)
        # A box of the common shape; equal to square pixels but for the stretched ones.
        place.set_aspect("auto")
        place.set_box_aspect(aspect)
        # A long size goes on a line of its own: neighbours must not overlap.
        place.set_title(name if len(name) <= 22 else name.replace(": ", ":\n"), fontsize=8, pad=3)
    return shade


def _as_images(centers: NDArray[Any], sample_shape: tuple[int, ...]) -> NDArray[Any]:
    images = centers.reshape(len(centers), *sample_shape)
    if len(sample_shape) == 2:
        return images
    if sample_shape[2] == 1:
        return images[..., 0]
    return _as_colours(images)


def _as_colours(images: NDArray[Any]) -> NDArray[Any]:
    """Bring colours to 0 to 1: bytes and unit values as they are meant, all else stretched."""
    low, high = _value_range(images)
    if low >= 0.0 and high <= 255.0:
        low, high = 0.0, 1.0 if high <= 1.0 else 255.0
    scaled: NDArray[Any] = np.clip((np.nan_to_num(images, nan=low) - low) / (high - low), 0.0, 1.0)
    return scaled


def _value_range(values: NDArray[Any]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    # A picture of one value still needs a range to be drawn in.
    margin = 0.0 if high > low else 0.5 * max(abs(low), 1.0)
    return low - margin, high + margin


def _centroid_map(centers: NDArray[Any], names: list[str], title: str) -> Any:
    k, n_features = centers.shape
    low, high = _value_range(centers)
    figure = _figure(min(max(0.12 * n_features, 5.0), 12.0) + 2.5, min(0.28 * k, 12.0) + 1.5)
    axes = figure.add_subplot()
    shade = axes.imshow(centers, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    _name_rows(axes, names)
    _whole_ticks(axes.xaxis)
    axes.set_xlabel("feature")
    axes.tick_params(labelsize=8)
    _add_bar(figure, shade, axes, "centroid value")
    axes.set_title(title, fontsize=12, pad=10)
    return figure


def _name_rows(axes: Any, names: list[str]) -> None:
    if len(names) <= MAX_TICKS:
        axes.set_yticks(range(len(names)), names, fontsize=8)
    else:
        _whole_ticks(axes.yaxis)
        axes.set_ylabel("cluster")


# --- contingency ---------------------------------------------------------------------------


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
    figure = _figure(max(min(width * c, widest), 3.0) + 2.6, max(min(height * k, 16.0), 1.2) + 2.0)
    axes = figure.add_subplot()
    shares = _row_shares(table)
    shade = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    _add_bar(figure, shade, axes, "share of the cluster's rows")
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
        _slant(axes.get_xticklabels(), 45 if c <= MAX_NUMBERED_CELLS else 90)
    axes.tick_params(length=0)
    axes.set_xlabel("class")
    axes.set_ylabel("cluster (rows)")


def _slant(labels: Sequence[Any], degrees: float) -> None:
    for label in labels:
        label.set(
            rotation=degrees,
            rotation_mode="anchor",
            ha="right",
            va="center" if degrees == 90 else "top",
        )


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


# --- history -------------------------------------------------------------------------------


def _curve(history: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    if not history:
        raise InputError("the history is empty: there is no curve to draw")
    try:
        return (
            [float(step["iteration"]) for step in history],
            [float(step["inertia"]) for step in history],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"every entry of the history needs a number as iteration and as inertia: {error!r}"
        ) from error


def _style_curve(axes: Any) -> None:
    axes.set_xlabel("iteration")
    axes.set_ylabel("inertia")
    axes.tick_params(labelsize=9)
    _whole_ticks(axes.xaxis)
    # Without an offset: "+1.234e9" beside the axis is easily overlooked.
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5), useOffset=False)
    axes.yaxis.get_major_formatter().set_useMathText(True)
    axes.grid(visible=True, color="#dde3ea", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


# --- common parts --------------------------------------------------------------------------


def _whole_ticks(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - optional, as in _figure

    axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))


def _add_bar(figure: Any, shade: Any, axes: Any, label: str) -> None:
    # As thin on a tall figure as on a low one: the aspect is of length to thickness.
    aspect = figure.get_figheight() / 0.2
    bar = figure.colorbar(shade, ax=axes, pad=0.02, fraction=0.06, aspect=aspect)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_linewidth(0.5)
