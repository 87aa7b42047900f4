"""What a worker process of a local cluster does first, also when its nanny starts it again."""

import signal
from contextlib import suppress
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the driver, which ends the workers in good order."""
    with suppress(ValueError):  # only the main thread may say so
        signal.signal(signal.SIGINT, signal.SIG_IGN)
