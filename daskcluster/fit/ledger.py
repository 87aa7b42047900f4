"""What the runs of a fit have come to, kept for a checkpoint, and what it has cost."""

import time
from typing import Any

from daskcluster.engine import Session
from daskcluster.fit.checkpoint import State, Trail


class Ledger:
    """One page a run; goes on from the state of a trail.

    Parameters
    ----------
    session : Session
        Whose counts go on from those of the fit before.
    trail : Trail
    state : dict
        What the trail had.
    """

    def __init__(self, session: Session, trail: Trail, state: State) -> None:
        self._session, self._trail, self._state = session, trail, state
        spent = state.get("spent", {"bytes": 0, "tasks": 0, "seconds": 0.0})
        session.bytes_decoded += spent["bytes"]
        session.n_tasks += spent["tasks"]
        self._began = time.perf_counter() - float(spent["seconds"])

    @property
    def seconds(self) -> float:
        """Of this fit and of those it goes on from."""
        return time.perf_counter() - self._began

    def page(self, name: int) -> "Page":
        """What is kept of a run, by its name."""
        return Page(self, f"run {name}", self._state.get(f"run {name}") or {})

    def keep(self, name: str, page: State) -> None:
        """Take the state of one run in the place of what was kept of it."""
        session = self._session
        spent = {
            "bytes": session.bytes_decoded, "tasks": session.n_tasks, "seconds": self.seconds,
        }  # fmt: skip
        self._trail.keep(spent=spent, **{name: page})


class Page:
    """The stage that one run has come to, and its state: seeds, iterations, or what it found."""

    def __init__(self, ledger: Ledger, name: str, state: State) -> None:
        self._ledger, self._name, self._state = ledger, name, state

    def get(self, stage: str) -> Any:
        """The state of a stage, where the run had come to it."""
        return self._state.get(stage)

    def keep(self, stage: str, state: Any) -> None:
        """The run is at a stage, in this state."""
        self._ledger.keep(self._name, {stage: state})
