"""Whether numba is here, and how what it compiles is loaded."""

import logging
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path

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
