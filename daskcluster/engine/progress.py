"""Progress on stderr: a live line for people, JSON lines for programs, silence otherwise."""

import json
import shutil
import sys
import time
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    """Told of work while it goes on; never asked for anything."""

    def rows(self, title: str, done: int, total: int) -> None:
        """``done`` of ``total`` rows of the pass called ``title`` are through."""

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        """Something ended: a pass, an iteration, a file."""

    def close(self) -> None:
        """Leave the terminal as it was."""


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
        print(json.dumps({"event": kind, **facts}), file=self._stream, flush=True)

    def close(self) -> None: ...


class TextLine:
    """One line that is written over: rows and time left of the pass, and the last iteration.

    Where the stream is no terminal, a line an event and nothing else.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._title = ""
        self._began = self._shown = time.monotonic()
        self._last = ""
        self._width = 0

    def rows(self, title: str, done: int, total: int) -> None:
        now = time.monotonic()
        if title != self._title:
            self._title, self._began = title, now
        if not self._live or (now - self._shown < 0.1 and done < total):
            return
        self._shown = now
        left = (now - self._began) * (total - done) / max(done, 1)
        self._write(f"{title}: {done:,} of {total:,} rows, {left:.0f} s left{self._last}")

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        told = ", ".join(f"{k} {_short(v)}" for k, v in facts.items() if k != kind)
        self._last = f" | {kind} {facts.get(kind, '')}: {told}"
        if self._live:
            self._write(self._last[3:])
        else:
            print(self._last[3:], file=self._stream, flush=True)

    def close(self) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._stream, flush=True)
        self._width, self._last = 0, ""

    def _write(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        print("\r" + text.ljust(self._width), end="", file=self._stream, flush=True)
        self._width = len(text)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}"
