"""Centroids as images, or as a heat map."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskcluster.errors import InputError
from daskcluster.report.canvas import (
    add_bar,
    count_of_rows,
    name_rows,
    new_figure,
    save,
    value_range,
    whole_ticks,
)

MAX_CENTROIDS = 100


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
    names = [f"cluster {j}: {count_of_rows(int(n))}" for j, n in enumerate(sizes[:MAX_CENTROIDS])]
    if is_image(sample_shape):
        return save(_image_grid(shown, sample_shape, names, title), path)
    return save(_centroid_map(shown, names, title), path)


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


def is_image(sample_shape: tuple[int, ...]) -> bool:
    """Whether a sample of a shape can be shown as a picture."""
    return len(sample_shape) == 2 or (len(sample_shape) == 3 and sample_shape[2] in (1, 3, 4))


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
    figure = new_figure(max(1.8 * columns + 0.9, 3.2), (1.6 * aspect + 0.5) * n_rows + 0.7)
    grid = figure.subplots(n_rows, columns, squeeze=False)
    shade = _fill_grid(list(grid.flat), images, names, aspect)
    if images.ndim == 3:
        add_bar(figure, shade, grid, "centroid value")
    figure.suptitle(title, fontsize=12)
    return figure


def _columns(k: int) -> int:
    """Return the width of a grid of k images that leaves the fewest places empty."""
    square = math.ceil(math.sqrt(k))
    return min(range(square, min(2 * square, 10) + 1), key=lambda columns: -k % columns)


def _fill_grid(axes: list[Any], images: NDArray[Any], names: list[str], aspect: float) -> Any:
    """Draw the images, blank the places left over, and return one drawn image."""
    low, high = value_range(images)
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
    low, high = value_range(images)
    if low >= 0.0 and high <= 255.0:
        low, high = 0.0, 1.0 if high <= 1.0 else 255.0
    scaled: NDArray[Any] = np.clip((np.nan_to_num(images, nan=low) - low) / (high - low), 0.0, 1.0)
    return scaled


def _centroid_map(centers: NDArray[Any], names: list[str], title: str) -> Any:
    k, n_features = centers.shape
    low, high = value_range(centers)
    figure = new_figure(min(max(0.12 * n_features, 5.0), 12.0) + 2.5, min(0.28 * k, 12.0) + 1.5)
    axes = figure.add_subplot()
    shade = axes.imshow(centers, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    name_rows(axes, names)
    whole_ticks(axes.xaxis)
    axes.set_xlabel("feature")
    axes.tick_params(labelsize=8)
    add_bar(figure, shade, axes, "centroid value")
    axes.set_title(title, fontsize=12, pad=10)
    return figure
