"""What all commands share: options, progress, a cluster to run on, and how results are printed."""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from daskcluster.engine import JsonLines, Progress, Silent, TextLine, local_cluster, parse_bytes

Command = Callable[..., Any]


@dataclass(frozen=True)
class Output:
    """Where results and progress go."""

    as_json: bool
    progress: Progress

    def result(self, facts: dict[str, Any], lines: list[str]) -> None:
        """One JSON object, or lines for people, on stdout."""
        self.progress.close()
        click.echo(json.dumps(facts, allow_nan=False) if self.as_json else "\n".join(lines))


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


def running(command: Command) -> Command:
    """Add ``--workers`` and what belongs to it; the command runs on such a cluster."""

    @click.option(
        "--workers",
        type=click.IntRange(1),
        help="So many worker processes; without, all cores by threads.",
    )
    @click.option("--threads-per-worker", type=click.IntRange(1), help="With --workers; default 1.")
    @click.option("--memory-limit", metavar="SIZE", help="With --workers: of each, such as 2GB.")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        workers: int | None,
        threads_per_worker: int | None,
        memory_limit: str | None,
        **kwargs: Any,
    ) -> Any:
        with _cluster(workers, threads_per_worker, memory_limit):
            return command(*args, **kwargs)

    return wrapped


@contextmanager
def _cluster(workers: int | None, threads: int | None, limit: str | None) -> Iterator[None]:
    if workers is None:
        if threads is not None or limit is not None:
            raise click.UsageError("--threads-per-worker and --memory-limit need --workers")
        yield
        return
    with local_cluster(workers, threads or 1, "auto" if limit is None else parse_bytes(limit)):
        yield
