"""Calls that may block for ever, made so that the caller need not."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def aside(call: Callable[[], T], every: float, look: Callable[[], Any]) -> T:
    """Return ``call()``, made in a thread; while it lasts, ``look()`` every so many seconds.

    A scheduler or worker that is stopped, or cut off, answers no call and breaks no connection.
    When ``look`` raises, the call is left to itself: its thread ends with it, or with the process.
    """
    answer: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            answer.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="daskcluster-aside", daemon=True).start()
    while not done.wait(every):
        look()
    if errors:
        raise errors[0]
    return answer[0]


def give_up() -> None:
    """A ``look`` for calls that are worth one wait and no more."""
    raise TimeoutError
