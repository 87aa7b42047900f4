"""Where a command runs, and what ends it early: clusters, signals, a time budget."""

import functools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import click

from daskcluster.cli.common import PATH, Output
from daskcluster.engine import (
    Certificates,
    Stop,
    Workers,
    connected,
    dashboard_link,
    local_cluster,
    parse_bytes,
    parse_seconds,
    stoppable,
)

Command = Callable[..., Any]

_NAMES = (
    "scheduler", "scheduler_file", "tls_ca_file", "tls_cert", "tls_key", "workers",
    "threads_per_worker", "memory_limit",
)  # fmt: skip
_OPTIONS = (
    click.option("--scheduler", metavar="ADDRESS", help="Run on the Dask cluster at ADDRESS."),
    click.option(
        "--scheduler-file", type=PATH, metavar="FILE", help="The same, named by its scheduler file."
    ),
    click.option(
        "--tls-ca-file", type=PATH, metavar="FILE", help="Whom to trust; needs the two below."
    ),
    click.option("--tls-cert", type=PATH, metavar="FILE", help="This client's certificate."),
    click.option("--tls-key", type=PATH, metavar="FILE", help="The key of that certificate."),
    click.option(
        "--workers", type=click.IntRange(1),
        help="So many worker processes of this machine; without, all cores by threads.",
    ),
    click.option("--threads-per-worker", type=click.IntRange(1), help="With --workers; default 1."),
    click.option("--memory-limit", metavar="SIZE", help="With --workers: of each, such as 2GB."),
)  # fmt: skip


def running(command: Command) -> Command:
    """Add the options that say on which cluster a command runs; signals stop it in good order."""

    @functools.wraps(command)
    def wrapped(*args: Any, time_budget: str | None = None, **options: Any) -> Any:
        seconds = None if time_budget is None else parse_seconds(time_budget)
        where = {name: options.pop(name) for name in _NAMES}
        with (
            stoppable(Stop(seconds)) as stop,
            _stopped_by_signals(stop),
            _cluster(**where) as client,
        ):
            _say_where(client, options["output"])
            return command(*args, **options)

    return _placed(wrapped)


def supposing(command: Command) -> Command:
    """Add the same options; the workers that they name are not started, but handed on."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> Any:
        where = {name: options.pop(name) for name in _NAMES}
        cluster, workers = _cluster(**where), None  # which begins when it is entered
        if where["workers"] is not None:
            limit = None if where["memory_limit"] is None else parse_bytes(where["memory_limit"])
            workers = Workers(where["workers"], where["threads_per_worker"] or 1, limit)
            cluster = nullcontext()
        with stoppable(Stop()) as stop, _stopped_by_signals(stop), cluster as client:
            _say_where(client, options["output"])
            return command(*args, workers=workers, **options)

    return _placed(wrapped)


def _say_where(client: Any, output: Output) -> None:
    """The link to the cluster's dashboard, where there is one."""
    if (link := dashboard_link(client)) is not None:
        output.note("dashboard", link)


def _placed(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def _stopped_by_signals(stop: Stop) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask for the end; a second Ctrl-C does not wait for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        if stop.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.request("Ctrl-C" if number == signal.SIGINT else "SIGTERM")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cluster(
    scheduler: str | None,
    scheduler_file: str | None,
    tls_ca_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    workers: int | None,
    threads_per_worker: int | None,
    memory_limit: str | None,
) -> AbstractContextManager[Any]:
    """The cluster that the options name; none of them is this process's threads."""
    there = scheduler is not None or scheduler_file is not None
    tls = [tls_ca_file, tls_cert, tls_key]
    if (scheduler is not None) + (scheduler_file is not None) + (workers is not None) > 1:
        raise click.UsageError("give one of --scheduler, --scheduler-file and --workers")
    if workers is None and not (threads_per_worker is None and memory_limit is None):
        raise click.UsageError("--threads-per-worker and --memory-limit need --workers")
    if any(tls) and not (all(tls) and there):
        raise click.UsageError(
            "--tls-ca-file, --tls-cert and --tls-key belong together, and to --scheduler or "
            "--scheduler-file"
        )
    if there:
        certificates = Certificates(*map(str, tls)) if all(tls) else None
        return connected(scheduler, scheduler_file=scheduler_file, certificates=certificates)
    if workers is not None:
        limit = "auto" if memory_limit is None else parse_bytes(memory_limit)
        return local_cluster(workers, threads_per_worker or 1, limit)
    return nullcontext()
