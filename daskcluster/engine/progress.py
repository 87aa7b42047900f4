"""Progress on stderr: a live line for people, JSON lines for programs, silence otherwise."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    """Told of work while it goes on; never asked for anything.

    One that has a method ``decoded(facts)`` is told of ``bytes`` that were, before the rows of them
    are through. One that has a method ``passed(facts)`` is told of every pass that is no iteration.
    """

    def rows(self, title: str, done: int, total: int) -> None:
        """``done`` of ``total`` rows of the pass called ``title`` are through."""

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        """Something ended: an iteration, with its pass and its entry in the history."""

    def close(self) -> None:
        """Leave the terminal as it was."""


@dataclass(frozen=True)
class Pass:
    """What going over rows once took."""

    title: str
    rows: int
    """Gone over."""
    compared: int
    """Of these, rows that were not spared."""
    bytes_decoded: int
    seconds: float

    @property
    def facts(self) -> dict[str, Any]:
        """For progress."""
        return {
            "rows": self.rows,
            "pruned": 1 - self.compared / self.rows if self.rows else 0.0,
            "seconds": self.seconds,
            "bytes": self.bytes_decoded,
            "bytes_per_second": self.bytes_decoded / max(self.seconds, 1e-9),
        }


def tell_pass(progress: Progress | None, took: Pass) -> None:
    """Tell of a pass that is no iteration."""
    tell(progress, "passed", {"pass": took.title, **took.facts})


def tell(progress: Progress | None, hook: str, facts: dict[str, Any]) -> None:
    """Call what only some kinds of progress have."""
    if (told := getattr(progress, hook, None)) is not None:
        told(facts)


class Silent:
    """No progress at all."""

    def rows(self, title: str, done: int, total: int) -> None: ...

    def event(self, kind: str, facts: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """One JSON object a line and event, for batch systems."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def rows(self, title: str, done: int, total: int) -> None: ...

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        self._line({"event": kind, **facts})

    def passed(self, facts: dict[str, Any]) -> None:
        self._line({"event": "pass", **facts})

    def close(self) -> None: ...

    def _line(self, facts: dict[str, Any]) -> None:
        print(json.dumps(facts), file=self._stream, flush=True)


class TextLine:
    """One line that is written over: rows, bytes decoded a second and time left of the pass; the
    last iteration.

    Rates are of what came since the first rows of a pass, and are told once there is enough of it.
    Where the stream is no terminal, a line an event and nothing else.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._title = ""
        self._shown = time.monotonic()
        self._first = (self._shown, 0, 0)
        self._bytes = 0
        self._last = ""
        self._width = 0

    def decoded(self, facts: dict[str, Any]) -> None:
        self._bytes += facts["bytes"]

    def rows(self, title: str, done: int, total: int) -> None:
        now = time.monotonic()
        if title != self._title:
            self._title, self._first = title, (now, done, self._bytes)
        if not self._live or (now - self._shown < 0.1 and done < total):
            return
        self._shown = now
        told = [f"{done:,} of {total:,} rows" if done < total else f"{done:,} rows"]
        told += self._pace(now, done, total)
        self._write(f"{title}: {', '.join(told)}{self._last}")

    def _pace(self, now: float, done: int, total: int) -> list[str]:
        began, rows, n_bytes = self._first
        took, more = now - began, self._bytes - n_bytes
        if took < _ENOUGH:
            return []
        rate = [_rate(more / took)] if more else []
        if not rows < done < total:
            return rate
        return [*rate, f"{_time(took * (total - done) / (done - rows))} left"]

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        told = f"{kind} {facts.get(kind, '')}: {', '.join(_told(kind, facts))}"
        self._last = f" | {told}"
        if self._live:
            self._write(told)
        else:
            print(told, file=self._stream, flush=True)

    def passed(self, facts: dict[str, Any]) -> None:
        if not self._live:
            told = f"{facts['rows']:,} rows, {_time(facts['seconds'])}"
            print(f"{facts['pass']}: {told}", file=self._stream, flush=True)

    def close(self) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._stream, flush=True)
        self._width, self._last = 0, ""

    def _write(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        print("\r" + text.ljust(self._width), end="", file=self._stream, flush=True)
        self._width = len(text)


class Within:
    """The rows of work that is a part of other work, under a title of its own."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress, self._title = progress, title

    def rows(self, title: str, done: int, total: int) -> None:
        self._progress.rows(f"{self._title}, {title}", done, total)

    def event(self, kind: str, facts: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


_ENOUGH = 0.5  # seconds, of which a rate says something

# What a line has no room for: rows are all, seconds and bytes are in the rate.
_UNTOLD = ("rows", "seconds", "bytes", "empty")


def _told(kind: str, facts: dict[str, Any]) -> list[str]:
    """Facts for people, in their order."""
    plain = {k: v for k, v in facts.items() if k != kind and k not in _UNTOLD}
    if not plain.get("bytes_per_second"):  # of rows in memory
        plain.pop("bytes_per_second", None)
    special: dict[str, Callable[[Any], str]] = {
        "pruned": lambda share: f"{share:.0%} pruned",
        "bytes_per_second": _rate,
        "seconds_left_at_most": lambda seconds: f"at most {_time(seconds)} left",
    }
    return [special[k](v) if k in special else f"{k} {_short(v)}" for k, v in plain.items()]


def _rate(bytes_per_second: float) -> str:
    return f"{bytes_per_second / 1e6:,.0f} MB/s"


def _time(seconds: float) -> str:
    """Seconds, or minutes or hours of them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}"
