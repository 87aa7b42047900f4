"""Ending work early and in good order: who asked for it, and who looks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from daskcluster.errors import Interrupted


class Stop:
    """Whether the work should end: because somebody asked, or because its time is over.

    Parameters
    ----------
    seconds : float, optional
        How long the work may take, from now on.

    Examples
    --------
    >>> from daskcluster.engine import Stop
    >>> stop = Stop()
    >>> stop.request("the lights went out")
    >>> stop.reason
    'the lights went out'
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._asked: str | None = None

    def request(self, reason: str) -> None:
        """Ask for the end; safe in a signal handler."""
        self._asked = reason

    @property
    def reason(self) -> str | None:
        """Why the work should end; None while it should not."""
        if self._asked is None and self._deadline is not None and time.monotonic() > self._deadline:
            self._asked = f"the time budget of {self._seconds:g} s is over"
        return self._asked

    def check(self) -> None:
        """Raise `Interrupted` if the work should end."""
        if (reason := self.reason) is not None:
            raise Interrupted(reason)


_NEVER = Stop()
_CURRENT: ContextVar[Stop] = ContextVar("daskcluster-stop", default=_NEVER)


def current_stop() -> Stop:
    """What the work begun here looks at; see `stoppable`."""
    return _CURRENT.get()


@contextmanager
def stoppable(stop: Stop) -> Iterator[Stop]:
    """Let all work begun in the block end when ``stop`` says so, with `Interrupted`."""
    token = _CURRENT.set(stop)
    try:
        yield stop
    finally:
        _CURRENT.reset(token)
