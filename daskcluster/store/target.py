"""Where a build may begin, and which one may go on: what is at the path decides."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr

from daskcluster.errors import DaskClusterError, InputError, StoreError, differences
from daskcluster.files import nearest_folder
from daskcluster.store import place
from daskcluster.store.build import Build
from daskcluster.store.layout import (
    ATTRIBUTE,
    FORMAT,
    compressors,
    is_build,
    is_url,
    plain_path,
    zarr_store,
)

Recipe = dict[str, Any]
"""All that decides the bytes of a build, as JSON: one of the same recipe may go on with it."""


@contextmanager
def building(
    path: str | os.PathLike[str],
    *,
    n_rows: int,
    rows_per_chunk: int,
    codec: str = "lz4",
    kind: str = FORMAT,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Iterator[Build]:
    """Begin a build at ``path``, or go on with one, while nobody else writes there.

    Parameters
    ----------
    recipe : dict, optional
        With it, what is written stays for ``resume`` when the work ends early; without, and
        whenever the input is to blame, the build is given up and nothing of it stays.
    overwrite : bool
        Replace what is there, once the new build is sealed.
    resume : bool
        Go on with a build of this recipe that did not end; one that did is found ``sealed``.

    Raises
    ------
    StoreError
        Something is there that may not be replaced: a file, a folder or Zarr group of another
        ``kind`` (never replaced), a store, or what another recipe began.
    InputError
        Another process is writing there.
    """
    path = plain_path(path)
    compressors(codec, 1)
    before = _look(path, kind)
    nearest = "" if is_url(path) else str(nearest_folder(Path(path)))
    with place.written_by_one(path):
        found = _look(path, kind)
        root = nearest if before.is_empty else _parent(path) if found.sealed is None else None
        identity = _choose(path, found, recipe, overwrite, resume)
        sealed = identity is not None and found.sealed_id == identity
        new = Build(path, identity or _new_id(), n_rows, rows_per_chunk, codec, root, sealed)
        try:
            _prepare(new, found, recipe)
            yield new
        except BaseException as error:
            if recipe is None or _is_the_inputs_fault(error):
                new.discard()
                raise
            error.kept = True  # type: ignore[attr-defined]
            if isinstance(error, OSError):
                raise _no_room(error, path) from error
            raise


def _is_the_inputs_fault(error: BaseException) -> bool:
    """Whether the same work would fail again: not for storage that could not be reached."""
    unreachable = getattr(error.__cause__, "errno", None) is not None
    return isinstance(error, InputError) and not unreachable


def _parent(path: str) -> str:
    return "" if is_url(path) else str(Path(path).absolute().parent)


@dataclass(frozen=True)
class _Found:
    """What is at a path."""

    sealed: dict[str, Any] | None
    """The attributes of the store; None where none is sealed."""
    recipes: dict[str, Recipe]
    """Of each build that is there, by its id."""
    is_empty: bool

    @property
    def sealed_id(self) -> str | None:
        return None if self.sealed is None else str(self.sealed.get("build"))


def _look(path: str, kind: str) -> _Found:
    names = place.names(path)
    if not names:
        return _Found(None, {}, True)
    attributes = _root(path) if "zarr.json" in names else None
    builds = {name for name in names if is_build(name)}
    if attributes is None or (attributes and ATTRIBUTE not in attributes):
        raise StoreError(f"{path} exists and is not a {kind}: choose another place")
    sealed = attributes.get(ATTRIBUTE)
    if isinstance(sealed, dict):
        if sealed.get("format") != kind:
            raise StoreError(f"{path} exists and is not a {kind}: choose another place")
    elif names - builds - {"zarr.json"}:
        raise StoreError(f"{path} exists and is not a {kind}: choose another place")
    recipes = {name.removeprefix("build-"): _recipe(path, name) for name in builds}
    return _Found(sealed, recipes, False)


def _root(path: str) -> dict[str, Any] | None:
    try:
        group = zarr.open_group(zarr_store(path, read_only=True), mode="r", zarr_format=3)
        return dict(group.attrs.asdict())
    except Exception:  # foreign metadata makes Zarr raise whatever its parsers can think of
        return None


def _recipe(path: str, folder: str) -> Recipe:
    try:
        group = zarr.open_group(
            zarr_store(path, read_only=True), path=folder, mode="r", zarr_format=3
        )
        recipe = group.attrs.get(ATTRIBUTE)
    except Exception:  # begun and not even described, or damaged: nothing to go on with
        return {}
    return recipe if isinstance(recipe, dict) else {}


def _choose(
    path: str, found: _Found, recipe: Recipe | None, overwrite: bool, resume: bool
) -> str | None:
    """The id of the build to go on with; None to begin a new one."""
    if found.is_empty:
        return None
    # A build that was killed before it said what it is holds nothing to go on with.
    begun = [i for i, of in found.recipes.items() if of and i != found.sealed_id]
    if resume and recipe is not None:
        same = [i for i in begun if found.recipes[i] == recipe]
        if same:
            return same[0]
        if not overwrite and (begun or found.sealed):
            return _finished(path, found, recipe, begun)
    if overwrite or (resume and found.sealed is None):
        return None
    if found.sealed is None:
        raise StoreError(
            f"{path} was begun and never sealed: go on with --resume, or start afresh with "
            "--overwrite"
        )
    raise StoreError(f"{path} exists: choose another place, or replace it with --overwrite")


def _finished(path: str, found: _Found, recipe: Recipe, begun: list[str]) -> str:
    """The id of the sealed build, if it is the one that was to be resumed."""
    identity = found.sealed_id or begun[0]
    if found.sealed is not None and found.recipes.get(identity) == recipe:
        return identity
    other = differences(found.recipes.get(identity, {}), recipe)
    raise StoreError(
        f"{path} cannot be gone on with: {other}. Give the same input and options, choose another "
        "place, or start afresh with --overwrite"
    )


def _prepare(build: Build, found: _Found, recipe: Recipe | None) -> None:
    """Make room for a build: what nobody will go on with is deleted, the sealed store stays."""
    if build.sealed:
        build.delete_others()
        return
    for identity in found.recipes:
        if identity not in (build.id, found.sealed_id):
            place.delete(f"{build.path}/build-{identity}")
    if build.id in found.recipes:
        place.delete_partial(f"{build.path}/{build.folder}")
    elif recipe is not None:
        # The root first: without it this would be nobody's folder.
        zarr.open_group(zarr_store(build.path, read_only=False), mode="a", zarr_format=3)
        zarr.create_group(
            zarr_store(build.path, read_only=False),
            path=build.folder,
            attributes={ATTRIBUTE: recipe},
        )


def _no_room(error: OSError, path: str) -> DaskClusterError:
    return DaskClusterError(
        f"{path} cannot be written ({error}): make room, or mend what is wrong, then run the same "
        "command again with --resume; a store that was there before is whole"
    )


def _new_id() -> str:
    return uuid.uuid4().hex[:12]
