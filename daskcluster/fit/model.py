"""Models on disk: a folder of ``model.json`` and an NPY file of centres. Nothing is pickled.

``model.json`` names the file of centres by its digest and is replaced in one rename, so a model is
always the old one or the new one.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.engine.blas import blas_build
from daskcluster.engine.machine import machine
from daskcluster.engine.tasks import versions
from daskcluster.errors import ModelError
from daskcluster.files import LEFTOVER, LOCK, nearest_folder, only_writer, write_atomically
from daskcluster.fit.checkpoint import FILE as CHECKPOINT
from daskcluster.fit.checkpoint import check_about
from daskcluster.kernels.compiling import has_numba
from daskcluster.schema import parse_json
from daskcluster.sizing import LARGEST_MAGNITUDE
from daskcluster.sources.npy import parse_npy

FORMAT = "daskcluster-model"
FORMAT_VERSION = 1


MODEL = "model.json"


@contextmanager
def model_folder(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    main: str = MODEL,
) -> Iterator[Path]:
    """The folder of a model to be written, with nobody else writing there; empty, it goes again.

    ``main`` is the file that says what is there.

    Raises
    ------
    ModelError
        Something is there that ``overwrite`` and ``resume`` do not allow to replace or to go on
        with, or the folder cannot be made.
    InputError
        Another process is writing there.
    """
    folder = Path(path)
    _check_place(folder, main)
    with only_writer(folder):
        _check_content(folder, main, overwrite, resume)
        yield folder


def _check_place(folder: Path, main: str) -> None:
    if not folder.exists():
        parent = nearest_folder(folder)
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise ModelError(f"{folder} cannot be made: {parent} is not a folder one may write to")
        return
    if not folder.is_dir():
        kind = Path(main).stem
        raise ModelError(f"{folder} is a file: a {kind} is a folder, choose another place")
    names = {p.name for p in folder.iterdir() if not p.name.startswith(LEFTOVER)}
    if names and not names & {main, CHECKPOINT, LOCK}:
        raise ModelError(
            f"{folder} exists and is not a daskcluster {Path(main).stem}: choose another place"
        )


def _check_content(folder: Path, main: str, overwrite: bool, resume: bool) -> None:
    if overwrite or resume:
        return
    if (folder / main).exists():
        raise ModelError(f"{folder} exists: choose another place, or replace it with --overwrite")
    if (folder / CHECKPOINT).exists():
        raise ModelError(
            f"{folder} holds a fit that did not end: go on with --resume, start afresh with "
            "--overwrite, or choose another place"
        )


def write_model(
    folder: Path,
    estimator: str,
    params: dict[str, Any],
    fitted: dict[str, Any],
    centers: npt.NDArray[np.float64],
    about: dict[str, Any] | None,
) -> None:
    """Write options, results and centres to a `model_folder`.

    ``estimator`` is the name of its class; ``about`` is what decided the results.
    """
    buffer = io.BytesIO()
    np.save(buffer, centers, allow_pickle=False)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    name = f"centers-{digest[:16]}.npy"
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "estimator": estimator,
        "params": params,
        "fitted": fitted,
        "about": about,
        "centers": {"file": name, "sha256": digest},
        "versions": versions() | {"blas": blas_build()} | _numba(),
        "machine": machine(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(description, indent=1, allow_nan=False)
    try:
        write_atomically(folder / name, buffer.getvalue())
        write_atomically(folder / "model.json", text.encode())
    finally:
        _drop_unnamed(folder)


def _numba() -> dict[str, str]:
    """Its version, where it is installed: large soft fits compute with it."""
    return {"numba": version("numba")} if has_numba() else {}


def _drop_unnamed(folder: Path) -> None:
    """Delete the centres that ``model.json`` does not name: those before, or those in vain."""
    file = folder / "model.json"
    text = file.read_text() if file.exists() else ""
    for centers in folder.glob("centers-*.npy"):
        if centers.name not in text:
            centers.unlink()


def is_model_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a model is there, or a fit that did not end."""
    return any((Path(path) / name).exists() for name in ("model.json", CHECKPOINT))


def read_model(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``model.json`` says, checked for its format."""
    file = Path(path) / "model.json"
    try:
        description = parse_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        if (Path(path) / CHECKPOINT).exists():
            raise ModelError(
                f"{path} holds a fit that did not end: go on with `daskcluster fit ... --resume`"
            ) from error
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


def finished_fit(folder: Path) -> dict[str, Any] | None:
    """What decided the model in a folder, where it is there and no later fit was begun."""
    if (folder / CHECKPOINT).exists() or not (folder / "model.json").exists():
        return None
    return read_about(folder, read_model(folder))


def read_about(folder: Path, description: dict[str, Any]) -> dict[str, Any]:
    """What decided it, checked; nothing where a model does not know."""
    about: dict[str, Any] = description.get("about") or {}
    try:
        if about:
            check_about(about, "about")
    except ValueError as error:
        raise ModelError(f"{folder} is damaged ({error}): start afresh with --overwrite") from error
    return about


def read_centers(folder: Path, entry: dict[str, str]) -> npt.NDArray[np.float64]:
    """The centres that ``model.json`` names, checked against their digest."""
    name = entry["file"]
    if re.fullmatch(r"centers-[0-9a-f]{16}\.npy", name) is None:
        raise ModelError(f"{folder}: {name!r} is no file of centres within the model; fit again")
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ModelError(f"{folder / name} is damaged: its digest differs; fit again")
    centers: npt.NDArray[np.float64] = parse_npy(str(folder / name), content)
    if centers.dtype != np.float64 or centers.ndim != 2:
        raise ModelError(f"{folder / name}: not centres; fit again")
    if not (np.abs(centers) <= LARGEST_MAGNITUDE).all():
        raise ModelError(
            f"{folder / name}: NaN, infinity or magnitudes above {LARGEST_MAGNITUDE:.3g}; fit again"
        )
    return centers


def outcome(model: Any) -> dict[str, Any]:
    """What a fit came to, in a few words and numbers."""
    return {
        "n_rows": model.n_samples_,
        "n_features": model.n_features_in_,
        "n_clusters": len(model.cluster_centers_),
        "n_iter": model.n_iter_,
        "inertia": model.inertia_,
        "objective": getattr(model, "objective_", None),
        "converged": model.converged_,
        "passes": model.passes_,
        "seconds": model.seconds_,
        "seed": model.seed_,
        "init": model.init_,
    }
