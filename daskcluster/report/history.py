"""The convergence curve."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daskcluster.errors import InputError
from daskcluster.report.canvas import new_figure, save, whole_ticks


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
    figure = new_figure(7.0, 4.2)
    axes = figure.add_subplot()
    axes.plot(iterations, inertias, marker="o", markersize=4, linewidth=1.5, color="#1f5a96")
    _style_curve(axes)
    axes.set_title("Inertia by iteration", fontsize=12, pad=10)
    return save(figure, path)


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
    whole_ticks(axes.xaxis)
    # Without an offset: "+1.234e9" beside the axis is easily overlooked.
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5), useOffset=False)
    axes.yaxis.get_major_formatter().set_useMathText(True)
    axes.grid(visible=True, color="#dde3ea", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


# --- common parts --------------------------------------------------------------------------
