"""Models on disk: a folder of ``model.json`` and an NPY file of centres. Nothing is pickled.

``model.json`` names the file of centres by its digest and is replaced in one rename, so a model is
always the old one or the new one.
"""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.engine.tasks import versions
from daskcluster.errors import ModelError

FORMAT = "daskcluster-model"
FORMAT_VERSION = 1


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


def write_model(
    path: str | os.PathLike[str],
    params: dict[str, Any],
    fitted: dict[str, Any],
    centers: npt.NDArray[np.float64],
    *,
    overwrite: bool = False,
) -> None:
    """Write options, results and centres to ``path``; raises `ModelError` if something is there."""
    check_model_path(path, overwrite)
    buffer = io.BytesIO()
    np.save(buffer, centers, allow_pickle=False)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    name = f"centers-{digest[:16]}.npy"
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "estimator": "KMeans",
        "params": params,
        "fitted": fitted,
        "centers": {"file": name, "sha256": digest},
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(description, indent=1, allow_nan=False)
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


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".writing-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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


def read_centers(folder: Path, entry: dict[str, str]) -> npt.NDArray[np.float64]:
    """The centres that ``model.json`` names, checked against their digest."""
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
