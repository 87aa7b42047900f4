"""The whole job on data that scikit-learn ships: digits to IDX, Zarr, clusters and pictures."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from daskcluster.assess import evaluate, predict_labels
from daskcluster.convert import convert_idx
from daskcluster.engine import Progress
from daskcluster.errors import InputError
from daskcluster.fit.kmeans import KMeans
from daskcluster.report import can_draw, draw_centroids, draw_contingency, draw_history

_MADE_HERE = (
    "digits-images-idx3-ubyte", "digits-labels-idx1-ubyte", "digits.zarr", "model", "labels.zarr",
    "centroids.png", "contingency.png", "convergence.png",
)  # fmt: skip


def write_idx(path: Path, values: npt.NDArray[np.uint8]) -> None:
    """Write bytes as an IDX file: magic, type 0x08, dimensions in big-endian, then the values."""
    sizes = b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes())


def run_demo(folder: str | os.PathLike[str], *, progress: Progress | None = None) -> dict[str, Any]:
    """Convert, fit, predict, evaluate and draw scikit-learn's bundled digits in ``folder``.

    Returns
    -------
    dict
        The scores of `evaluate`, and under ``files`` where everything is.
    """
    place = Path(folder)
    _check_folder(place)
    place.mkdir(parents=True, exist_ok=True)
    images, labels, store, model, out, *pictures = (place / name for name in _MADE_HERE)
    digits = load_digits()
    write_idx(images, digits.images.astype(np.uint8))
    write_idx(labels, digits.target.astype(np.uint8))
    opened = convert_idx(images, store, labels=labels, overwrite=True, progress=progress)
    kmeans = KMeans(n_clusters=10, random_state=0, tol=0).fit(store, progress=progress)
    kmeans.save(model, overwrite=True)
    predict_labels(kmeans, opened, out, overwrite=True, progress=progress)
    scores = evaluate(kmeans, opened, progress=progress)
    if can_draw():
        _draw(kmeans, scores, pictures)
    made = [str(place / name) for name in _MADE_HERE if (place / name).exists()]
    return scores | {"n_iter": kmeans.n_iter_, "files": made}


def _check_folder(place: Path) -> None:
    """Only a folder that is empty, or that the demo has filled, may be filled again."""
    if not place.exists():
        return
    if not place.is_dir():
        raise InputError(f"{place} is a file: give a folder for the demo")
    names = sorted(p.name for p in place.iterdir())
    foreign = [name for name in names if name not in _MADE_HERE]
    if names and (foreign or _MADE_HERE[0] not in names):
        raise InputError(
            f"{place} holds {(foreign or names)[0]!r}, which is not the demo's: give another folder"
        )


def _draw(kmeans: KMeans, scores: dict[str, Any], pictures: list[Path]) -> None:
    centroids, contingency, convergence = pictures
    shape = kmeans.sample_shape_ or (kmeans.n_features_in_,)
    draw_centroids(kmeans.cluster_centers_, shape, kmeans.cluster_sizes_, centroids)
    table = np.array(scores["contingency"])
    shown = {name: scores[name] for name in ("purity", "gini")}
    draw_contingency(table, scores["class_names"], contingency, shown)
    draw_history(kmeans.history_, convergence)
