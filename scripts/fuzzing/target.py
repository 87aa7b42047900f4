"""What every target does: make good cases, change them, and see how reading them ends."""

import contextlib
import random
import shutil
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from daskcluster import InputError
from fuzzing.changes import Case, Change, change_bytes, change_files
from fuzzing.guards import FIXED_BYTES, MOST_TIMES, counted, read_case, write_case

ROWS = np.random.default_rng(0).integers(0, 9, (12, 3), dtype=np.uint8)
REALS = ROWS / 7.0
LABELS = (np.arange(12) % 3).astype(np.uint8)
TEXTS = {
    f"docs/{'ab'[i % 2]}/{i}": " ".join(("space orbit moon", "car wheel road")[i % 2].split()[: i])
    for i in range(1, 8)
}  # fmt: skip
OUT = "out"


class Finding(AssertionError):  # noqa: N818 - it says what was found
    """What should not happen."""


class Target(ABC):
    """One reader of files."""

    name: str
    fixed_bytes = FIXED_BYTES

    @cached_property
    def good(self) -> list[Case]:
        """Cases that are read as they are."""
        with tempfile.TemporaryDirectory(prefix="daskcluster-fuzz-") as scratch:
            return list(self.make(Path(scratch)))

    @abstractmethod
    def make(self, scratch: Path) -> Iterator[Case]:
        """Make them, in a folder that is deleted afterwards."""

    def change(self, name: str) -> Change:
        """How a file of that name is changed."""
        return change_bytes

    @abstractmethod
    def read(self, folder: Path) -> None:
        """Read a case that lies in the folder; what is written goes to `OUT` within."""

    def draw(self, rng: random.Random) -> Case:
        """Any case, good or bad."""
        case = rng.choice(self.good)
        return case if rng.random() < 0.02 else change_files(case, self.change, rng)

    def check(self, case: Case, scratch: Path) -> tuple[str, int]:
        """Read a case; whether it was accepted or refused, and what was allocated for it.

        Raises
        ------
        Finding
            It ended in another way, took more memory than it may, or left something.
        """
        folder = scratch / "case"
        folder.mkdir()
        try:
            write_case(folder, case)
            before = read_case(folder)
            with counted() as peak, quiet():
                end = self._end(folder)
            self._check_memory(peak.n_bytes, before)
            if end == "accepted":
                _remove(folder / OUT)
            self._check_left(before, folder)
        finally:
            shutil.rmtree(folder)
        return end, peak.n_bytes

    def _end(self, folder: Path) -> str:
        try:
            self.read(folder)
        except InputError as error:
            if len(str(error)) > 20_000:
                raise Finding(f"a message of {len(str(error))} characters") from error
            return "refused"
        except Finding:
            raise
        except Exception as error:
            raise Finding(f"{type(error).__name__}: {str(error)[:300]}") from error
        return "accepted"

    def _check_memory(self, peak: int, case: Case) -> None:
        size = sum(map(len, case.values()))
        if peak > self.fixed_bytes + MOST_TIMES * size:
            raise Finding(f"{peak} bytes allocated for an input of {size}")

    def _check_left(self, before: Case, folder: Path) -> None:
        after = read_case(folder)
        if after != before:
            names = sorted(
                name for name in before.keys() | after if before.get(name) != after.get(name)
            )
            raise Finding(f"left or changed: {names[:5]}")


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
