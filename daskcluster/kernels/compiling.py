"""Whether numba is here, and how what it compiles is loaded."""

import logging
import threading
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)

LOADING = threading.Lock()
"""Held by the thread that loads compiled functions."""


@cache
def has_numba() -> bool:
    """Whether numba is installed here."""
    return find_spec("numba") is not None


def tell_of_compiling(folder: Path, name: str) -> None:
    """Warn where numba's cache does not hold a function yet."""
    if not any(folder.glob(f"{name}-*.nbi")):
        loops = name.partition(".")[0].replace("_", " ")
        _LOG.warning("compiling %s, kept on this machine: this takes some seconds", loops)


class Loops:
    """A module of loops beside this one, which is imported when it is first called for.

    numba takes a second to import, and where it is not installed nothing calls.
    """

    def __init__(self, name: str, first: str) -> None:
        self._name, self._first = name, first
        self._module: Any = None

    @property
    def loaded(self) -> bool:
        """Whether it has been imported."""
        return self._module is not None

    def __call__(self) -> Any:
        """The module."""
        with LOADING:
            if self._module is None:
                module = import_module(f"daskcluster.kernels.{self._name}")
                first = getattr(module, self._first)
                tell_of_compiling(Path(first.stats.cache_path), f"{self._name}.{self._first}")
                self._module = module
        return self._module
