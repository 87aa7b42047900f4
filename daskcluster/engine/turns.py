"""Computations that take turns at the data: what all of them ask for is read once."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from daskcluster.engine.protocols import Reduction
from daskcluster.engine.session import Session
from daskcluster.kernels.together import Together

T = TypeVar("T")


class Reduces(Protocol):
    """A session, or what does its work for rows at hand."""

    def reduce(
        self, job: Any, title: str, blocks: list[int] | None = None, *, told: bool | None = None
    ) -> Any:
        """The partials of all blocks, or of those named, merged."""


@dataclass(frozen=True)
class Ask:
    """A reduction that a computation waits for."""

    job: Reduction
    title: str
    blocks: list[int] | None = None
    """None for all."""
    told: bool | None = None
    """Whether progress is told of the pass by itself; see `Session.reduce`."""


Asking = Generator[Ask, Any, T]
"""Yields what it needs of the data, is sent the merged partials, and returns what it found."""


def alone(session: Reduces, computation: Asking[T]) -> T:
    """One computation to its end."""
    answer = None
    while True:
        try:
            ask = computation.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found
        answer = session.reduce(ask.job, ask.title, ask.blocks, told=ask.told)


def in_turns(session: Session, computations: dict[int, Asking[T]]) -> dict[int, T]:
    """Several to their ends, by name: whenever all wait for the data they share one pass."""
    found: dict[int, T] = {}
    waiting = _go_on(computations, dict.fromkeys(computations), found)
    while waiting:
        # Who needs a few blocks must not keep the others from sharing a pass.
        few = {name: ask for name, ask in waiting.items() if ask.blocks is not None}
        now = few or waiting
        answers: dict[int, Any] = {}
        for some in [{name: ask} for name, ask in few.items()] or [waiting]:
            answers |= _answer(session, some, frozenset(waiting))
        waiting = {name: ask for name, ask in waiting.items() if name not in now}
        waiting |= _go_on(computations, answers, found)
    return found


def _go_on(
    computations: dict[int, Asking[T]], answers: dict[int, Any], found: dict[int, T]
) -> dict[int, Ask]:
    """What those that were answered ask for next; what others have found by now."""
    asks = {}
    for name, answer in answers.items():
        try:
            asks[name] = computations[name].send(answer)
        except StopIteration as end:
            found[name] = end.value
    return asks


def _answer(session: Session, asks: dict[int, Ask], living: frozenset[int]) -> dict[int, Any]:
    first = next(iter(asks.values()))
    job = Together(tuple(ask.job for ask in asks.values()), tuple(asks), living)
    title = first.title if len(asks) == 1 else f"{first.title} of {len(asks)} models"
    return dict(zip(asks, session.reduce(job, title, first.blocks, told=first.told), strict=True))
