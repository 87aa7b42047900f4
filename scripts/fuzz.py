"""Give bad input to every reader of files and to the command line, and see that nothing breaks.

Each case is a good one that was changed: bytes at random, or what a format says of itself. It must
be accepted or refused by one of the package's own errors, within a time limit, without allocating
more than a small multiple of its size, and leave nothing on disk. A process that dies of a case is
a finding too: each target runs in processes of their own.
"""

import argparse
import faulthandler
import json
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

from benchlib import arguments, emit, emit_run
from fuzzing import TARGETS
from fuzzing.changes import Case
from fuzzing.guards import Hung, bounded_space, limited
from fuzzing.target import Finding

EXAMPLE = "python scripts/fuzz.py --target idx --cases 10000 --seed 1"


def parse() -> argparse.Namespace:
    """The command line."""
    return arguments(
        __doc__,
        EXAMPLE,
        target={"nargs": "+", "choices": TARGETS, "default": list(TARGETS)},
        cases={"type": int, "default": 10_000, "help": "of each target (default %(default)s)"},
        seed={"type": int, "default": 0},
        first={"type": int, "default": 0, "help": "the number of the first case"},
        seconds={"type": float, "default": 20.0, "help": "that a case may take (default 20)"},
        keep={"type": Path, "metavar": "FOLDER", "help": "write the cases of findings there"},
        child={"action": "store_true", "help": argparse.SUPPRESS},
    )


def drawn(target: str, seed: int, number: int) -> Case:
    """A case by its number."""
    return TARGETS[target].draw(random.Random(f"{target} {seed} {number}"))


def run(options: argparse.Namespace, target: str) -> None:
    """Cases of a target in this process, a JSON line each that is a finding or was the last."""
    bounded_space()
    # To the end, not anew for each case: see `fuzzing.guards.counted`.
    tracemalloc.start(1)
    ends: Counter[str] = Counter()
    largest = 0
    with tempfile.TemporaryDirectory(prefix="daskcluster-fuzz-") as scratch:
        for number in range(options.first, options.cases):
            case = drawn(target, options.seed, number)
            # Whoever started this process learns from it which case ended it.
            print(number, file=sys.stderr, flush=True)
            # For what waits without working, which no limit on its work would end.
            faulthandler.dump_traceback_later(6 * options.seconds, exit=True)
            try:
                with limited(options.seconds):
                    end, peak = TARGETS[target].check(case, Path(scratch))
                ends[end] += 1
                largest = max(largest, peak)
            except (Finding, Hung) as error:
                found(options, target, number, f"{type(error).__name__}: {error}")
                ends["found"] += 1
    faulthandler.cancel_dump_traceback_later()
    emit("ends", target=target, largest=largest, **ends)


def found(options: argparse.Namespace, target: str, number: int, what: str) -> None:
    """Print a finding; keep its files if asked to."""
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        case = drawn(target, options.seed, number)
        texts = {name: content.decode("latin-1") for name, content in case.items()}
        (options.keep / f"{target}-{options.seed}-{number}.json").write_text(json.dumps(texts))
    emit("finding", target=target, case=number, what=what)


def run_apart(options: argparse.Namespace, target: str) -> dict[str, Any]:
    """All cases of a target, in a process that is replaced when a case ends it."""
    began, ends, n_findings, largest = time.monotonic(), Counter[str](), 0, 0
    first = options.first
    while first < options.cases:
        out, last, code = child(options, target, first)
        for line in out:
            if line["event"] == "ends":
                largest = max(largest, line.pop("largest"))
                ends.update({k: v for k, v in line.items() if k not in ("event", "target")})
            else:
                print(json.dumps(line), flush=True)
                n_findings += 1
        if code == 0:
            break
        found(options, target, last, f"the process ended with {code}")
        n_findings, first = n_findings + 1, last + 1
    return {
        "target": target, "cases": options.cases - options.first, "findings": n_findings,
        "accepted": ends["accepted"], "refused": ends["refused"], "largest_bytes": largest,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def child(
    options: argparse.Namespace, target: str, first: int
) -> tuple[list[dict[str, Any]], int, int]:
    """Lines of a process that begins with a case, the last case it began, and its exit code."""
    command = [
        sys.executable, __file__, "--child", "--target", target, "--cases", options.cases,
        "--seed", options.seed, "--first", first, "--seconds", options.seconds,
        *(["--keep", options.keep] if options.keep else []),
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    numbers = [int(line) for line in done.stderr.splitlines() if line.isdigit()]
    if done.returncode and not numbers:
        raise SystemExit(done.stderr)
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return lines, max(numbers, default=first), done.returncode


def main() -> None:
    """Run all targets, one after the other."""
    options = parse()
    if options.child:
        run(options, options.target[0])
        return
    emit_run(__file__, options, cases=options.cases, targets=len(options.target))
    results = [run_apart(options, target) for target in options.target]
    for result in results:
        emit("result", **result)
    total = sum(result["findings"] for result in results)
    cases = sum(result["cases"] for result in results)
    print(f"{cases} cases of seed {options.seed}: {total} findings")


if __name__ == "__main__":
    main()
