"""Imports go one way, from left to right; each room knows only its own library."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "daskcluster"
ORDER = (
    "cli", "demo", "report", "assess", "fit", "seeding", "convert", "survey", "engine", "store",
    "sources", "metrics", "kernels", "sizing", "files", "settings", "schema", "errors",
)  # fmt: skip
OWNERS = {
    "zarr": {"store"},
    "numcodecs": {"store"},
    "google_crc32c": {"store"},
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "dask": {"engine", "settings"},
    "distributed": {"engine"},
    "threadpoolctl": {"engine"},
    "matplotlib": {"report"},
    "click": {"cli"},
    "jinja2": {"report"},
    "pyarrow": {"sources"},
}
# The two entry points import what they show; pytest runs the examples in docstrings.
ENTRIES = {"__init__", "__main__", "conftest"}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if room(p) not in ENTRIES)


def test_every_room_has_its_place():
    assert {room(path) for path in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    place = ORDER.index(room(path))
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "daskcluster" and len(parts) > 1 and parts[1] in ORDER:
            assert ORDER.index(parts[1]) >= place, f"{room(path)} may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_library_has_its_room(path):
    for name in imports(path):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or room(path) in owners, f"{room(path)} may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_unpickled(path):
    assert not {"pickle", "cloudpickle", "joblib"} & {n.split(".")[0] for n in imports(path)}
    assert "allow_pickle=True" not in path.read_text()
    # It would also allocate what a header asks for; `parse_npy` reads the bytes that are there.
    assert "np.load(" not in path.read_text()
