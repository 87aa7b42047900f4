"""The package's few named exceptions.

Every message names the file or value, the limit it broke, and the way out.
"""

from collections.abc import Mapping
from typing import Any


class DaskClusterError(Exception):
    """Base class of all errors raised on purpose by this package."""


class InputError(DaskClusterError, ValueError):
    """A file, value or option that cannot be used as given; nothing was changed on disk."""


class StoreError(InputError):
    """A store that is missing, unsealed, foreign, incomplete or damaged."""


class ModelError(InputError):
    """A model directory that is missing, foreign or does not fit the data."""


class BudgetError(InputError):
    """A job whose memory bound exceeds what a worker has; the message says what would fit."""


class EngineError(DaskClusterError, RuntimeError):
    """The scheduler or its workers could not finish the work."""


class Stopped(DaskClusterError):  # noqa: N818 - it says what happened, and is no error
    """Work that ended early through no fault of its own; what it had done may be kept."""

    kept = False
    """Whether the same work can go on later, with ``resume``."""


class Interrupted(Stopped):
    """A signal, Ctrl-C or the end of the time budget stopped the work."""


class ClusterLost(Stopped, EngineError):  # noqa: N818 - as above
    """The scheduler is gone, or had no worker for too long."""


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of ``now`` was otherwise before, for a message; empty where all is the same.

    Examples
    --------
    >>> differences({"rows": 3, "seed": 1}, {"rows": 4, "seed": 1})
    'rows was 3 and is 4'
    """
    changed = [name for name, value in now.items() if before.get(name) != value]
    return "; ".join(f"{name} was {before.get(name)!r} and is {now[name]!r}" for name in changed)
