"""The state of a fit on disk: one file, replaced in one rename, of JSON and NPY. Nothing pickled.

A *state* is a dict of dicts whose leaves are arrays and what JSON can hold.
"""

import io
import json
import logging
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from daskcluster.errors import DaskClusterError, ModelError, differences
from daskcluster.files import sweep, write_atomically
from daskcluster.schema import anything, mapping, parse_json, record, whole
from daskcluster.settings import seconds
from daskcluster.sources.npy import parse_npy

_LOG = logging.getLogger(__name__)

FILE = "checkpoint.npz"
FORMAT = "daskcluster-checkpoint"
FORMAT_VERSION = 1
# A large checkpoint on a slow disk is written less often: a 200th of the time at most.
LARGEST_SHARE = 1 / 200

State = dict[str, Any]
_HEADER = "checkpoint.json"

check_about = record(
    {"options": record({"seed": whole()})},
    {name: mapping(anything) for name in ("data", "software", "sweep")},
)
"""What decided a fit, as a checkpoint or a model says it."""
_check = record({"about": check_about, "state": mapping(anything)})


class Finished(Exception):  # noqa: N818 - no error: there is nothing left to do
    """The fit that was to go on has ended."""


class Trail(Protocol):
    """Where a fit leaves its state as it goes."""

    def begin(self, about: State, check: Callable[[State], None] | None = None) -> State:
        """Say what the fit is; returns the state it had come to before, or an empty one.

        ``check`` raises `ValueError` for a state that no such fit comes to.
        """

    def keep(self, **stages: State | None) -> None:
        """The state after an iteration: takes the place of the stages named."""

    def save(self, *, even_if_empty: bool = False) -> bool:
        """Bring what was last kept to disk; says whether the fit can go on from there."""


class NoTrail:
    """Leaves nothing."""

    def begin(self, about: State, check: Callable[[State], None] | None = None) -> State:
        return {}

    def keep(self, **stages: State | None) -> None: ...

    def save(self, *, even_if_empty: bool = False) -> bool:
        return False


class Checkpoint:
    """The trail of a fit in a folder.

    Parameters
    ----------
    folder : Path
    resume : bool
        Go on from the state that is there, if any; otherwise it is written over.
    finished : dict, optional
        What decided the model that is there, if a fit like it need not be done again.
    """

    def __init__(self, folder: Path, *, resume: bool, finished: State | None = None) -> None:
        self._path = folder / FILE
        self._finished = finished
        found = read_checkpoint(folder) if resume else None
        self._about: State | None = None
        self._before: State | None = None if found is None else found["about"]
        self._state: State = {} if found is None else found["state"]
        self._due = -np.inf
        self._unwritten = False

    @property
    def seed(self) -> int | None:
        """The seed of the fit that is to go on, or is finished; None for one that begins."""
        options = (self._before or self._finished or {}).get("options", {})
        return int(options["seed"]) if "seed" in options else None

    def begin(self, about: State, check: Callable[[State], None] | None = None) -> State:
        if self._finished is not None:
            refuse_other(self._finished, about, f"the model in {self._path.parent}")
            raise Finished
        if self._before is not None:
            refuse_other(self._before, about, f"the checkpoint in {self._path.parent}")
        if self._state:
            _LOG.info("going on from %s", self._path)
            with _damaged(self._path):
                if check is not None:
                    check(self._state)
        self._about = about
        self._unwritten = True
        return self._state

    def keep(self, **stages: State | None) -> None:
        self._state = self._state | stages
        self._unwritten = True
        if time.monotonic() >= self._due:
            self.save()

    def save(self, *, even_if_empty: bool = False) -> bool:
        if self._about is None:
            return self._before is not None
        if self._unwritten and (self._state or even_if_empty):
            self._write(self._about)
        return not self._unwritten

    def _write(self, about: State) -> None:
        began = time.monotonic()
        content = _pack({"about": about, "state": self._state})
        try:
            write_atomically(self._path, content)
        except OSError as error:
            raise DaskClusterError(
                f"{self._path} cannot be written ({error.strerror or error}): make room, then run "
                "the same command again with --resume; the checkpoint before, if any, is whole"
            ) from error
        now = time.monotonic()
        interval = seconds("checkpoint-interval")
        self._due = now + (interval and max(interval, (now - began) / LARGEST_SHARE))
        self._unwritten = False
        _LOG.debug("checkpoint of %d bytes in %.3f s: %s", len(content), now - began, self._path)


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint, and what killed writers left of others."""
    (folder / FILE).unlink(missing_ok=True)
    sweep(folder)


def read_checkpoint(folder: Path) -> State | None:
    """``about`` and ``state`` of the checkpoint in a folder; None where there is none.

    Raises
    ------
    ModelError
        It is damaged, or of another version.
    """
    path = folder / FILE
    if not path.exists():
        return None
    with _damaged(path):
        found = _unpack(path.read_bytes())
        if found.pop("format") != FORMAT or found.pop("format_version") != FORMAT_VERSION:
            raise ValueError("another format")
        _check(found, "")
    return found


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Whatever is wrong with the file becomes a `ModelError` that names it."""
    try:
        yield
    # A damaged archive makes zipfile raise whatever its parsers can think of.
    except Exception as error:
        raise ModelError(
            f"{path} is no checkpoint of this version ({error}): start afresh with --overwrite"
        ) from error


def refuse_other(before: State, now: State, what: str) -> None:
    """Raise `ModelError` with all that differs between two descriptions of a fit."""
    groups = [differences(before.get(group, {}), now[group]) for group in now]
    if any(groups):
        raise ModelError(
            f"{what} is of another fit: {'; '.join(filter(None, groups))}. Give the same data and "
            "options to go on with it, or start afresh with --overwrite and without --resume"
        )


def _pack(state: State) -> bytes:
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    plain = _take_arrays(state, "", arrays)
    header = {"format": FORMAT, "format_version": FORMAT_VERSION} | plain
    text = np.frombuffer(json.dumps(header, allow_nan=False).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_HEADER: text}, **arrays)
    return buffer.getvalue()


def _take_arrays(value: Any, place: str, arrays: dict[str, Any]) -> Any:
    """``value`` with its arrays moved into ``arrays`` and named in their place."""
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {"array": place}
    if isinstance(value, dict):
        return {
            k: _take_arrays(v, f"{place}.{k}" if place else k, arrays) for k, v in value.items()
        }
    return value


def _unpack(content: bytes) -> State:
    arrays = _arrays(content)
    header: State = parse_json(arrays[_HEADER].tobytes())
    return {k: _put_arrays(v, arrays) for k, v in header.items()}


def _arrays(content: bytes) -> dict[str, Any]:
    """The arrays of an NPZ file, which packs nothing and holds nothing twice: no larger than it."""
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        members = files.infolist()
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if packed or sum(member.file_size for member in members) > len(content):
            raise ValueError("its arrays are larger than it is")
        return {
            member.filename.removesuffix(".npy"): parse_npy(member.filename, files.read(member))
            for member in members
        }


def _put_arrays(value: Any, files: dict[str, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    if set(value) == {"array"}:
        return files[value["array"]]
    return {k: _put_arrays(v, files) for k, v in value.items()}
