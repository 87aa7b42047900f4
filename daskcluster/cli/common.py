"""What all commands share: progress, and how results are printed."""

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from daskcluster.engine import JsonLines, Progress, Silent, TextLine
from daskcluster.errors import InputError
from daskcluster.sources.npy import parse_npy
from daskcluster.store import zarr_array

Command = Callable[..., Any]

RESUME = click.option(
    "--resume", is_flag=True, help="Go on where the same command ended early, if it did."
)


PATH = click.Path()
"""A path or URL; shells complete it."""

WEIGHTS = click.option(
    "--weights", type=PATH, metavar="FILE.npy|ZARR", help="A row of weight w counts as w rows."
)


def load_array(option: str, path: str | None, what: str) -> Any:
    """The array in a file that an option names; None without one."""
    if path is None:
        return None
    try:
        array = None if path.endswith(".npy") else zarr_array(path)
        return parse_npy(path, Path(path).read_bytes()) if array is None else array[:]
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {path} cannot be read as {what}: {error}") from error


@dataclass(frozen=True)
class Output:
    """Where results and progress go."""

    as_json: bool
    progress: Progress

    def note(self, kind: str, text: str) -> None:
        """One fact before the work begins, where progress is shown."""
        if isinstance(self.progress, TextLine):
            click.echo(f"{kind}: {text}", err=True)
        else:
            self.progress.event(kind, {kind: text})

    def result(self, facts: dict[str, Any], lines: list[str]) -> None:
        """One JSON object, or lines for people, on stdout."""
        self.progress.close()
        text = json.dumps(facts, allow_nan=False) if self.as_json else "\n".join(lines)
        # File names may be of bytes that stand for no character, class names of any language.
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def _progress(kind: str, quiet: bool) -> Progress:
    if kind == "json":
        return JsonLines()
    if quiet or kind == "none" or not sys.stderr.isatty():
        return Silent()
    return TextLine()


def printing(command: Command) -> Command:
    """Add ``--json``, ``--quiet`` and ``--progress``; the command receives ``output``."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
    @click.option("--quiet", is_flag=True, help="No progress.")
    @click.option(
        "--progress",
        "kind",
        type=click.Choice(["auto", "json", "none"]),
        default="auto",
        show_default=True,
        help="Progress on stderr: a line at a terminal, JSON lines, or none.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, kind: str, **kwargs: Any) -> Any:
        return command(*args, output=Output(as_json, _progress(kind, quiet)), **kwargs)

    return wrapped
