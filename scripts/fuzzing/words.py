"""The command line: any words, in any order."""

import contextlib
import io
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from daskcluster import InputError, KMeans, SoftKMeans, sweep
from daskcluster.cli import main as command_line
from daskcluster.demo import write_idx
from fuzzing.changes import WEIRD, Case, to_json
from fuzzing.guards import counted, read_case, write_case
from fuzzing.saved import Stores
from fuzzing.target import LABELS, REALS, ROWS, TEXTS, Finding, Target, quiet

_COMMANDS = {
    "convert idx": 2, "convert npy": 2, "convert text": 2, "convert table": 2, "info": 1,
    "fit": 2, "predict": 3, "evaluate": 2, "sweep": 2, "convert": 0, "nonsense": 1,
}  # fmt: skip
_SENSIBLE = {
    "convert idx": ("rows", "out store"), "convert npy": ("rows.npy", "out"),
    "convert text": ("docs docs.jsonl", "out text"), "convert table": ("t.csv", "out"),
    "info": ("store text model soft sweep",), "fit": ("store text", "out model"),
    "predict": ("model soft", "store", "out out.parquet"), "evaluate": ("model soft", "store"),
    "sweep": ("store text", "out sweep"),
}  # fmt: skip
_OPTIONS = (
    "--k", "--labels", "--rows-per-chunk", "--codec", "--overwrite", "--resume", "--json",
    "--quiet", "--progress", "--columns", "--label-column", "--id-column", "--missing",
    "--max-features",
    "--min-df", "--max-df", "--ngram-range", "--stop-words", "--token-pattern", "--norm", "--ties",
    "--max-vocabulary", "--encoding", "--decode-error", "--text-field", "--label-field",
    "--subfolder", "--like", "--dense", "--soft", "--beta", "--metric", "--standardize",
    "--precision", "--weights", "--max-iter", "--tol", "--seed", "--algorithm", "--memory-budget",
    "--time-budget", "--init", "--n-init", "--restarts", "--proba", "--help", "--version", "--no",
    "--threads-per-worker", "--memory-limit", "--tls-cert", "--scheduler-file", "-h", "--",
)  # fmt: skip
_FLAGS = {"--overwrite", "--resume", "--json", "--quiet", "--dense", "--soft", "--standardize",
          "--proba", "--help", "--version", "--no", "-h", "--"}  # fmt: skip
_PLACES = (
    "rows", "labels", "rows.npy", "t.csv", "docs", "docs.jsonl", "store", "text", "model", "soft",
    "sweep", "out", "out", "out.parquet", "missing/out", "rows/out", "", ".", "memory://x", "file://",
    "nonsense://x", "::", "\udcff", "n" * 300, "-", "*", "~", "centres.npy", "out.npy",
)  # fmt: skip
_VALUES = (
    "1", "2", "3", "0", "-1", "1e3", "nan", "inf", "-inf", "1e400", "9" * 30, "9" * 5000, "2,3",
    "2,,3", "x", "x,y", "id", "", " ", "auto", "random", "k-means++", "k-means||", "refined", "lz4",
    "zstd", "none", "l2", "drop", "mean", "utf-8", "utf-7", "punycode", "hex", "replace", "english",
    "(", "(?P<a>.)", "(a)(b)", "json", "cosine", "sqeuclidean", "hamerly", "float32", "1GB", "-1GB",
    "1e30TB", "10s", "-3h", "nan s", "9" * 400 + "h", "\udcff", "0.5", "2.5", "\n",
)  # fmt: skip


class Arguments(Target):
    """The command line: any words, in any order."""

    name = "cli"

    def make(self, scratch: Path) -> Iterator[Case]:
        stores = Stores()
        np.save(scratch / "rows.npy", REALS)
        np.save(scratch / "centres.npy", REALS[:2])
        (scratch / "t.csv").write_text("id,x,y\na,1,2\nb,3,5\nc,7,1\n")
        write_idx(scratch / "rows", ROWS)
        write_idx(scratch / "labels", LABELS)
        write_case(scratch, {name: text.encode() for name, text in TEXTS.items()})
        lines = [to_json({"text": text, "label": "a"}) for text in TEXTS.values()]
        (scratch / "docs.jsonl").write_bytes(b"\n".join(lines))
        dense, _, words, _ = stores.good
        for name, case in (("store", dense), ("text", words)):
            write_case(scratch, {path.replace("store", name, 1): x for path, x in case.items()})
        KMeans(2, random_state=0).fit(scratch / "store").save(scratch / "model")
        SoftKMeans(2, random_state=0, max_iter=3).fit(scratch / "store").save(scratch / "soft")
        sweep(KMeans(random_state=0), scratch / "store", scratch / "sweep", n_clusters=[2, 3])
        yield read_case(scratch)

    def check(self, case: Case, scratch: Path) -> tuple[str, int]:
        """As for all, but in one folder that stays: its files are many."""
        folder = scratch / "case"
        if not folder.exists():
            folder.mkdir()
            write_case(folder, self.good[0])
        self._words = json.loads(case["arguments"])
        end = "broken"
        try:
            with counted() as peak, quiet():
                end = self._end(folder)
            self._check_memory(peak.n_bytes, self.good[0])
            if end == "refused":
                self._check_left(self.good[0], folder)
        finally:
            # What was asked for goes, and with --overwrite what it replaced comes back.
            if end != "refused" or read_case(folder) != self.good[0]:
                shutil.rmtree(folder)
        return end, peak.n_bytes

    def draw(self, rng: random.Random) -> Case:
        command = rng.choice(list(_COMMANDS))
        words = command.split()
        if sensible := rng.random() < 0.6:
            words += [rng.choice(names.split()) for names in _SENSIBLE.get(command, [])]
        else:
            n_places = max(0, _COMMANDS[command] + rng.choice([0] * 8 + [-1, 1]))
            words += [self._place(rng) for _ in range(n_places)]
        if command in ("fit", "sweep") and rng.random() < 0.9:
            words += ["--k", rng.choice(["2", "3", "2", "3"] if sensible else list(_VALUES))]
        for _ in range(rng.choice([0, 1, 1, 2] if sensible else [0, 1, 2, 3])):
            option = rng.choice(_OPTIONS)
            words.append(option)
            if option == "--scheduler-file":  # one that is not there is waited for
                words.append(rng.choice(["rows", "t.csv", "docs.jsonl", "model/model.json", "."]))
            elif option not in _FLAGS and rng.random() < 0.95:
                words.append(rng.choice([*_VALUES, *_PLACES]))
        if rng.random() < 0.1:
            rng.shuffle(words)
        return {"arguments": json.dumps(words).encode()}

    def _place(self, rng: random.Random) -> str:
        # No shell hands over a zero byte, or half a character that stands for no byte.
        odd = {"/", "\0", "\ud800"}
        weird = [word for word in WEIRD if isinstance(word, str) and not odd & set(word)]
        return str(rng.choice([*_PLACES, *weird]))

    def read(self, folder: Path) -> None:
        words, before = self._words, Path.cwd()
        out = io.TextIOWrapper(io.BytesIO(), "utf-8")
        err = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                command_line(words)
        except SystemExit as end:
            said = _said(err)
            self._check_end(end.code, words, _said(out), said)
            if end.code == 2:
                raise InputError(said[:1000]) from end
        finally:
            os.chdir(before)

    def _check_end(self, code: Any, words: list[str], out: str, err: str) -> None:
        if code not in (0, 1, 2, 75, 130):
            raise Finding(f"exit code {code}: {words}")
        if "Traceback" in err or (code and not err.strip()):
            raise Finding(f"{words}: {err[-300:]!r}")
        if code == 1:
            raise Finding(f"exit code 1: {words}: {err[-300:]!r}")
        if code == 0 and "--json" in words and not {"-h", "--help", "--version"} & set(words):
            json.loads(out, parse_constant=_no_json)


def _said(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def _no_json(constant: str) -> None:
    raise Finding(f"{constant} is not JSON")
