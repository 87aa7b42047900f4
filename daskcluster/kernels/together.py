"""Several reductions in one read of the data."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daskcluster.kernels.batch import Batch, Indices
from daskcluster.kernels.compiled import MOST_STACKED, find_all, is_plain
from daskcluster.kernels.nearest import Found, Nearest

States = dict[int, tuple[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """What each reduction asks for of a block, and what it gets in its state's place."""

    own: list[Any]
    states: States
    """Of those that live and are not among the reductions."""
    rows: Indices | None
    """Ascending places in the block; None for all."""


@dataclass(frozen=True)
class Together:
    """Reduction: the partials of several, as a tuple; each keeps its own state.

    Parameters
    ----------
    jobs : tuple of reductions
    names : tuple of int, optional
        Whose they are: under its name a state is found again when others have come or gone.
    living : frozenset of int, optional
        Names whose states are kept; those of ``jobs`` are.
    """

    jobs: tuple[Any, ...]
    names: tuple[int, ...] = ()
    living: frozenset[int] = field(default_factory=frozenset)

    @property
    def state_kind(self) -> str | None:
        return "together" if any(job.state_kind for job in self.jobs) or self.living else None

    @property
    def spares(self) -> bool:
        """Whether all of them say which rows they need; else blocks are read and kept whole."""
        return all(job.state_kind is not None and hasattr(job, "likely") for job in self.jobs)

    @property
    def partial_nbytes(self) -> int:
        """Bytes of the sums of one partial."""
        return sum(getattr(job, "partial_nbytes", 0) for job in self.jobs)

    @property
    def _named(self) -> list[tuple[int, Any]]:
        return list(zip(self.names or range(len(self.jobs)), self.jobs, strict=True))

    def prepare(self) -> None:
        """Let those that want to prepare."""
        for job in self.jobs:
            if hasattr(job, "prepare"):
                job.prepare()

    def ask(self, states: States | None) -> Wanted:
        """What any of the reductions needs must be read."""
        left = {} if states is None else dict(states)
        own: list[Any] = []
        for name, job in self._named:
            state = _state_of(left, name, job)
            own.append(job.ask(state) if hasattr(job, "ask") else state)
        kept = {name: state for name, state in left.items() if name in self.living}
        return Wanted(own, kept, self._rows(own))

    def _rows(self, own: list[Any]) -> Indices | None:
        wanted = []
        for job, asked in zip(self.jobs, own, strict=True):
            rows = asked.rows if hasattr(job, "ask") else None
            if rows is None:
                return None
            wanted.append(rows)
        return np.unique(np.concatenate(wanted))

    def likely(self, states: States, n: int) -> Indices:
        """The ``n`` rows most likely to be asked for next: each reduction has its share of them."""
        share = n // len(self.jobs)
        found = [job.likely(states[name][1], share) for name, job in self._named if share]
        return np.unique(np.concatenate([*found, np.empty(0, dtype=np.intp)])).astype(np.intp)

    def step(
        self, batch: Batch | None, wanted: Wanted | States | None
    ) -> tuple[tuple[Any, ...], States]:
        if not isinstance(wanted, Wanted):
            wanted = self.ask(wanted)
        states, partials = dict(wanted.states), []
        found = self._looked(batch, wanted.own)
        for i, ((name, job), own) in enumerate(zip(self._named, wanted.own, strict=True)):
            known = {"found": found[i]} if i in found else {}
            partial, state = job.step(_part(batch, job, own), own, **known)
            partials.append(partial)
            if job.state_kind is not None:
                states[name] = (job.state_kind, state)
        return tuple(partials), states

    def _looked(self, batch: Batch | None, own: list[Any]) -> dict[int, Found]:
        """What one tall product says to those that compare all rows, by their place."""
        if batch is None or batch.picked is not None:
            return {}
        asked = {i: looks for i, job in enumerate(self.jobs) if (looks := _looks(job, own[i]))}
        frames = [looks.frame for looks in asked.values()]
        alike = {
            i: looks
            for i, looks in asked.items()
            if looks.frame is frames[0] and is_plain(batch.rows, looks.frame)
        }
        if len(alike) < 2:
            return {}
        return dict(zip(alike, find_all(list(alike.values()), batch.rows, None), strict=True))

    def merge(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(job.merge(x, y) for job, x, y in zip(self.jobs, a, b, strict=True))


def _state_of(states: States, name: int, job: Any) -> Any:
    """Take out the state of a reduction, where it is of its kind; what keeps none leaves it."""
    if job.state_kind is None or name not in states:
        return None
    kind, state = states.pop(name)
    return state if kind == job.state_kind else None


def _looks(job: Any, own: Any) -> Nearest | None:
    """The centres that a reduction compares all rows with, where a tall product serves them."""
    looks: Nearest | None = job.looks(own) if hasattr(job, "looks") else None
    serves = looks is not None and len(looks.centers) <= MOST_STACKED and not looks.repeats
    return looks if serves else None


def _part(batch: Batch | None, job: Any, own: Any) -> Batch | None:
    """What a reduction gets of the rows that were read for all."""
    if batch is None or not hasattr(job, "ask") or own.rows is None:
        return batch
    if not len(own.rows):
        return None
    return batch if batch.picked is None else batch.pick(own.rows)
