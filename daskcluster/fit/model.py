"""Models on disk: a folder of ``model.json`` and an NPY file of centres. Nothing is pickled.

``model.json`` names the file of centres by its digest and is replaced in one rename, so a model is
always the old one or the new one.
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.engine.tasks import versions
from daskcluster.errors import ModelError
from daskcluster.fit.kmeans import KMeans

FORMAT = "daskcluster-model"
FORMAT_VERSION = 1

_FITTED = (
    "inertia_", "n_iter_", "converged_", "history_", "passes_", "seconds_", "seed_", "build_",
    "dtype_", "n_samples_", "n_features_in_", "source_",
)  # fmt: skip


def check_model_path(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Raise `ModelError` if a model may not be written to ``path``; nothing is touched."""
    folder = Path(path)
    if not folder.exists():
        parent = next(p for p in folder.absolute().parents if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise ModelError(f"{path} cannot be made: {parent} is not a folder one may write to")
        return
    if not folder.is_dir():
        raise ModelError(f"{path} is a file: a model is a folder, choose another place")
    if any(folder.iterdir()):
        if not (folder / "model.json").exists():
            raise ModelError(f"{path} exists and is not a daskcluster model: choose another place")
        if not overwrite:
            raise ModelError(f"{path} exists: choose another place, or replace it with --overwrite")


def save_model(model: KMeans, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a fitted estimator to ``path``; raises `ModelError` if something is there."""
    check_model_path(path, overwrite)
    buffer = io.BytesIO()
    np.save(buffer, model.cluster_centers_, allow_pickle=False)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    name = f"centers-{digest[:16]}.npy"
    text = json.dumps(_describe(model, name, digest), indent=1, allow_nan=False)
    with _made(Path(path)) as folder:
        try:
            _write_atomically(folder / name, buffer.getvalue())
            _write_atomically(folder / "model.json", text.encode())
        finally:
            _drop_unnamed(folder)


def _drop_unnamed(folder: Path) -> None:
    """Delete the centres that ``model.json`` does not name: those before, or those in vain."""
    file = folder / "model.json"
    text = file.read_text() if file.exists() else ""
    for centers in folder.glob("centers-*.npy"):
        if centers.name not in text:
            centers.unlink()


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """The folder; it and its parents go again if they were made here and anything goes wrong."""
    absolute = folder.absolute()
    missing = [p for p in (absolute, *absolute.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except BaseException:
        for made in missing:
            with suppress(OSError):
                made.rmdir()
        raise


def _describe(model: KMeans, centers_file: str, digest: str) -> dict[str, Any]:
    shape = model.sample_shape_
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "estimator": "KMeans",
        "params": _plain_params(model),
        "fitted": {name: getattr(model, name) for name in _FITTED}
        | {
            "cluster_sizes_": model.cluster_sizes_.tolist(),
            "sample_shape_": None if shape is None else list(shape),
        },
        "centers": {"file": centers_file, "sha256": digest},
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _plain_params(model: KMeans) -> dict[str, Any]:
    """Options as JSON; initial centres and callables are named, not stored."""
    params = {k: _plain(v) for k, v in model.get_params(deep=False).items()}
    params["random_state"] = int(model.seed_)
    if not isinstance(model.init, str):
        params["init"] = "callable" if callable(model.init) else "array"
    return params


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _write_atomically(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_model(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``model.json`` says, checked for its format."""
    file = Path(path) / "model.json"
    try:
        description = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(
            f"{path} is not a daskcluster model: write one with `daskcluster fit`"
        ) from error
    except (ValueError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}): fit again") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ModelError(f"{file} is not a daskcluster model: write one with `daskcluster fit`")
    if description.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"{file} has format version {description.get('format_version')}, this is for "
            f"{FORMAT_VERSION}: use the daskcluster that wrote it, or fit again"
        )
    return description


def load_model(path: str | os.PathLike[str]) -> KMeans:
    """Read a fitted estimator back; it has no ``labels_``, those come from `KMeans.predict`.

    Raises
    ------
    ModelError
        Not a model, of another format, or damaged.

    Examples
    --------
    >>> import numpy as np
    >>> from daskcluster import KMeans, load_model
    >>> path = getfixture("tmp_path") / "model"
    >>> KMeans(n_clusters=1).fit(np.array([[1.0], [3.0]])).save(path)
    >>> load_model(path).cluster_centers_
    array([[2.]])
    """
    description = read_model(path)
    try:
        return _restore(description, Path(path))
    except (KeyError, TypeError, ValueError, AttributeError, OSError, EOFError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: damaged model ({error!r}); fit again") from error


def _restore(description: dict[str, Any], folder: Path) -> KMeans:
    params, fitted = description["params"], description["fitted"]
    centers = _read_centers(folder, description["centers"])
    if centers.shape != (params["n_clusters"], fitted["n_features_in_"]):
        raise ModelError(
            f"{folder}: centres of shape {centers.shape} do not fit the model; fit again"
        )
    init = centers if params["init"] in ("array", "callable") else params["init"]
    model = KMeans(**(params | {"init": init}))
    for name in _FITTED:
        setattr(model, name, fitted[name])
    shape = fitted["sample_shape_"]
    model.cluster_centers_ = centers
    model.cluster_sizes_ = np.array(fitted["cluster_sizes_"], dtype=np.int64)
    if model.cluster_sizes_.shape != (len(centers),):
        raise ModelError(f"{folder}: sizes of other clusters than its centres; fit again")
    model.sample_shape_ = None if shape is None else tuple(shape)
    model._n_features_out = len(centers)
    return model


def _read_centers(folder: Path, entry: dict[str, str]) -> npt.NDArray[np.float64]:
    name = entry["file"]
    if Path(name).name != name:
        raise ModelError(f"{folder}: {name!r} points outside the model")
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ModelError(f"{folder / name} is damaged: its digest differs; fit again")
    centers = np.load(io.BytesIO(content), allow_pickle=False)
    if centers.dtype != np.float64 or centers.ndim != 2 or not np.isfinite(centers).all():
        raise ModelError(f"{folder / name}: not centres; fit again")
    return np.asarray(centers)
