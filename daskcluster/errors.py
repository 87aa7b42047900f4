"""The package's few named exceptions.

Every message names the file or value, the limit it broke, and the way out.
"""


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
