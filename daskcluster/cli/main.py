"""The commands, and the exit codes."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ELOOP, ENAMETOOLONG
from importlib import import_module
from typing import Any

import click

from daskcluster import __version__
from daskcluster.errors import DaskClusterError, InputError, Stopped

# Of names that no file could have.
_NO_NAMES = (ENAMETOOLONG, ELOOP)
EXIT_FAILURE, EXIT_USAGE, EXIT_STOPPED, EXIT_INTERRUPTED = 1, 2, 75, 130

# Where each command is, and what the list of them says of it.
_COMMANDS = {
    "convert": ("converting:convert", "Write source files as a chunked, checksummed Zarr store."),
    "demo": ("trying:demo", "Run the whole job on scikit-learn's digits, in FOLDER."),
    "evaluate": (
        "assessing:evaluate_",
        "Score MODEL on STORE, against its labels where it has some.",
    ),
    "fit": ("fitting:fit", "Fit k-means to STORE and save it as MODEL."),
    "info": ("assessing:info", "Say what the store, model or labels at PATH are."),
    "plan": ("planning:plan_", "Say what `fit` with the same options would take of STORE."),
    "predict": ("assessing:predict", "Write the cluster of every row of STORE to OUT."),
    "report": ("assessing:report", "Write a page on MODEL, or on what `sweep` wrote, to OUT."),
    "sweep": ("fitting:sweep_", "Fit many models to STORE at once, and save the best of each."),
}


class Late(click.Group):
    """Commands imported when they are called: the list of them, which is help, needs none."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(str(command.name)), rest


def load_command(name: str) -> click.Command:
    """The command itself, whose imports take a second or more."""
    module, _, attribute = _COMMANDS[name][0].partition(":")
    with _nothing_begun():
        command: click.Command = getattr(import_module(f"daskcluster.cli.{module}"), attribute)
    return command


@contextmanager
def _nothing_begun() -> Iterator[None]:
    """Ctrl-C ends the process at once: an import that is interrupted fails in ways of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: Any) -> None:
        os._exit(_say("stopped: Ctrl-C", EXIT_INTERRUPTED))

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@click.group(
    cls=Late, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="daskcluster")
def cli() -> None:
    """Exact k-means for data that does not fit in memory.

    \b
    Example:
      daskcluster convert idx images.idx.gz mnist.zarr --labels labels.idx.gz
      daskcluster fit mnist.zarr model --k 10
      daskcluster evaluate model mnist.zarr
    """


for _name, (_, _about) in _COMMANDS.items():
    cli.add_command(click.Command(_name, short_help=_about))


def _warn(message: Any, *_: Any, **__: Any) -> None:
    click.echo(f"daskcluster: warning: {message}", err=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    The codes: 0 done, 2 bad usage or input, 1 failure, 75 ended early and ``--resume`` goes on, 130
    ended by Ctrl-C with nothing to go on from.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        return int(cli.main(arguments, prog_name="daskcluster", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        return _stopped("Ctrl-C", error.__cause__ or error)  # Click's Abort has a cause
    except Stopped as error:
        return _stopped(str(error), error)
    except InputError as error:
        return _say(f"error: {error}{_kept(error)}", EXIT_USAGE)
    except OSError as error:
        usage = error.errno in _NO_NAMES and not getattr(error, "kept", False)
        return _say(f"error: {error}{_kept(error)}", EXIT_USAGE if usage else EXIT_FAILURE)
    except (DaskClusterError, MemoryError) as error:
        return _say(f"error: {error or type(error).__name__}{_kept(error)}", EXIT_FAILURE)


def _kept(error: BaseException) -> str:
    return "; what was done is kept for --resume" if getattr(error, "kept", False) else ""


def _stopped(reason: str, error: BaseException) -> int:
    if getattr(error, "kept", False):
        advice = "run the same command again with --resume to go on"
        return _say(f"stopped: {reason}; {advice}", EXIT_STOPPED)
    code = EXIT_INTERRUPTED if reason == "Ctrl-C" else EXIT_FAILURE
    return _say(f"stopped: {reason}", code)


def _say(text: str, code: int) -> int:
    click.echo(f"daskcluster: {text}", err=True)
    return code
