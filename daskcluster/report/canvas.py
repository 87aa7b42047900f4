"""What all figures share: a canvas of their own, an atomic write, names and ticks.

Every figure is a `matplotlib.figure.Figure` of its own on an Agg canvas. Nothing goes through
pyplot, so no window opens, no figure stays behind and threads do not meet in a current figure.
"""

import importlib.util
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskcluster.errors import DaskClusterError, InputError

MAX_TICKS = 40
MAX_NAME = 24
DPI = 120


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(width: float, height: float) -> Any:
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


def save(figure: Any, path: str | os.PathLike[str]) -> Path:
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


def add_bar(figure: Any, shade: Any, axes: Any, label: str) -> None:
    # As thin on a tall figure as on a low one: the aspect is of length to thickness.
    aspect = figure.get_figheight() / 0.2
    bar = figure.colorbar(shade, ax=axes, pad=0.02, fraction=0.06, aspect=aspect)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_linewidth(0.5)


def name_rows(axes: Any, names: list[str]) -> None:
    if len(names) <= MAX_TICKS:
        axes.set_yticks(range(len(names)), names, fontsize=8)
    else:
        whole_ticks(axes.yaxis)
        axes.set_ylabel("cluster")


# --- contingency ---------------------------------------------------------------------------


def slant(labels: Sequence[Any], degrees: float) -> None:
    for label in labels:
        label.set(
            rotation=degrees,
            rotation_mode="anchor",
            ha="right",
            va="center" if degrees == 90 else "top",
        )


def whole_ticks(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - optional, as in _figure

    axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))


def shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


# --- history -------------------------------------------------------------------------------


def count_of_rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


def value_range(values: NDArray[Any]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    # A picture of one value still needs a range to be drawn in.
    margin = 0.0 if high > low else 0.5 * max(abs(low), 1.0)
    return low - margin, high + margin
