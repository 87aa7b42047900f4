"""What the fuzzer gives bad input to: a target makes good cases, changes them, and reads them."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzzlib import (
    FIXED_BYTES,
    MOST_TIMES,
    WEIRD,
    Case,
    Change,
    change_bytes,
    change_chunk,
    change_files,
    change_gzip,
    change_json,
    change_lines,
    change_npy,
    change_npz,
    change_tar,
    change_text,
    counted,
    read_case,
    to_json,
    write_case,
)

from daskcluster import (
    InputError,
    Interrupted,
    KMeans,
    SoftKMeans,
    convert_idx,
    convert_npy,
    convert_table,
    convert_text,
    fit_model,
    load_model,
    load_sweep,
    open_labels,
    open_responsibilities,
    open_store,
    predict_labels,
    predict_responsibilities,
    sweep,
)
from daskcluster.cli import main as command_line
from daskcluster.cli.show import path_facts, sweep_facts, sweep_lines, table_lines
from daskcluster.demo import write_idx
from daskcluster.engine import Silent
from daskcluster.sources.text import open_documents

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
            with counted() as peak, _quiet():
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
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _convert(call: Callable[..., Any], *sources: Any, folder: Path, **options: Any) -> None:
    store = call(*sources, folder / OUT, progress=Silent(), **options)
    if len(store.rows(0, store.info.n_rows).shape) != 2:
        raise Finding("no rows")


class Idx(Target):
    """IDX images, plain and gzipped, alone and with labels."""

    name = "idx"

    def make(self, scratch: Path) -> Iterator[Case]:
        for rows in (ROWS, ROWS.reshape(3, 4, 3), ROWS[:, 0]):
            content = _idx(rows, scratch)
            yield {"rows": content}
            yield {"rows": gzip.compress(content, mtime=0)}
        types = [_idx_of(code, kind) for code, kind in
                 ((9, "i1"), (0xB, ">i2"), (0xC, ">i4"), (0xD, ">f4"), (0xE, ">f8"))]  # fmt: skip
        yield from ({"rows": content} for content in types)
        labels = _idx(LABELS, scratch)
        yield {"rows": _idx(ROWS, scratch), "labels": labels}
        yield {"rows": gzip.compress(types[-1]), "labels": gzip.compress(labels, mtime=0)}

    def change(self, name: str) -> Change:
        return lambda data, rng: (
            change_gzip(change_bytes) if data.startswith(b"\x1f\x8b") else change_bytes
        )(data, rng)

    def read(self, folder: Path) -> None:
        labels = folder / "labels"
        given = {"labels": labels} if labels.exists() else {}
        _convert(convert_idx, folder / "rows", folder=folder, **given)


def _idx(rows: Any, scratch: Path) -> bytes:
    write_idx(scratch / "idx", rows)
    return (scratch / "idx").read_bytes()


def _idx_of(code: int, kind: str) -> bytes:
    return bytes([0, 0, code, 2, 0, 0, 0, 12, 0, 0, 0, 3]) + ROWS.astype(kind).tobytes()


class Npy(Target):
    """NPY files of rows."""

    name = "npy"

    def make(self, scratch: Path) -> Iterator[Case]:
        types = [REALS.astype(">f4"), REALS.astype("f2"), ROWS.astype("u8"), ROWS > 3]
        for rows in (ROWS, REALS, np.asfortranarray(REALS), ROWS.reshape(2, 2, 3, 3), *types):
            buffer = io.BytesIO()
            np.save(buffer, rows)
            yield {"rows": buffer.getvalue()}

    def change(self, name: str) -> Change:
        return change_npy

    def read(self, folder: Path) -> None:
        _convert(convert_npy, folder / "rows", folder=folder)


class Table(Target):
    """Tables with labels and ids; what is missing is refused, dropped or made up for."""

    def read(self, folder: Path) -> None:
        missing = ("error", "drop", "mean")[sum(map(len, read_case(folder).values())) % 3]
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if not files:
            return
        columns = {"label_column": "kind", "id_column": "id"} if len(files) > 1 else {}
        _convert(convert_table, files, folder=folder, missing=missing, **columns)


class Csv(Table):
    """CSV files, plain and gzipped."""

    name = "csv"

    def make(self, scratch: Path) -> Iterator[Case]:
        lines = [f"{i},k{i % 3},{i / 7},{i * 3}" for i in range(9)]
        plain = "\n".join(["id,kind,x,y", *lines, ""]).encode()
        yield {"a.csv": plain}
        yield {"a.csv": plain, "b.csv": gzip.compress(plain, mtime=0)}
        yield {"a.csv": b"x\n1\n\n2\n"}
        yield {"a.csv": b'"x","y z"\r\n1.5,NA\r\n2,3\r\n'}

    def change(self, name: str) -> Change:
        return lambda data, rng: (
            change_gzip(change_text) if data.startswith(b"\x1f\x8b") else change_text
        )(data, rng)


class Parquet(Table):
    """Parquet files."""

    name = "parquet"

    def make(self, scratch: Path) -> Iterator[Case]:
        table = pa.table({
            "id": list(range(9)), "kind": [f"k{i % 3}" for i in range(9)],
            "x": [None, *(i / 7 for i in range(8))], "y": pa.array(range(9), pa.int16()),
        })  # fmt: skip
        for options in ({"compression": "none"}, {"compression": "snappy", "row_group_size": 4},
                        {"use_dictionary": False, "write_page_checksum": True}):  # fmt: skip
            pq.write_table(table, scratch / "t", **options)
            yield {"a.parquet": (scratch / "t").read_bytes()}
        content = (scratch / "t").read_bytes()
        yield {"a.parquet": content, "b.parquet": content}


class Text(Target):
    """Documents as TF-IDF rows."""

    source: str

    def read(self, folder: Path) -> None:
        # The whole conversion takes long; a few suffice to see what it leaves.
        if sum(map(len, read_case(folder).values())) % 4:
            for _ in open_documents(folder / self.source).stream():
                pass
            return
        _convert(convert_text, folder / self.source, folder=folder, min_df=1)


class Folder(Text):
    """A folder of categories."""

    name, source = "folder", "docs"

    def make(self, scratch: Path) -> Iterator[Case]:
        yield {name: text.encode() for name, text in TEXTS.items()}

    def draw(self, rng: random.Random) -> Case:
        case = super().draw(rng)
        if rng.random() < 0.3:
            new = rng.choice(
                [
                    "docs/loose",
                    "docs/a/b/c",
                    "docs/c/\u00e9",
                    f"docs/a/{'n' * 200}",
                    "docs/a/\udcff",
                ]
            )
            case = case | {new: b"moon"}
        return case


class Archive(Text):
    """Tar archives, packed in the ways that are known."""

    name, source = "tar", "docs.tar"

    def make(self, scratch: Path) -> Iterator[Case]:
        for mode in ("w", "w:gz", "w:bz2", "w:xz"):
            for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
                buffer = io.BytesIO()
                with tarfile.open(fileobj=buffer, mode=mode, format=kind) as archive:
                    for name, text in {**TEXTS, f"docs/a/{'long' * 30}\u00e9": "moon"}.items():
                        member = tarfile.TarInfo(name)
                        member.size = len(text.encode())
                        archive.addfile(member, io.BytesIO(text.encode()))
                yield {self.source: buffer.getvalue()}

    def change(self, name: str) -> Change:
        def change(data: bytes, rng: random.Random) -> bytes:
            if data.startswith(b"\x1f\x8b"):
                return change_gzip(change_tar)(data, rng)
            packed = data.startswith((b"BZh", b"\xfd7z"))
            return (change_bytes if packed else change_tar)(data, rng)

        return change


class Jsonl(Text):
    """JSON lines, plain and gzipped."""

    name, source = "jsonl", "docs.jsonl"

    def make(self, scratch: Path) -> Iterator[Case]:
        lines = [to_json({"text": text, "label": name[5], "more": [1, {"a": None}]})
                 for name, text in TEXTS.items()]  # fmt: skip
        plain = b"\n".join(lines)
        yield {self.source: plain}
        yield {self.source: gzip.compress(plain, mtime=0)}

    def change(self, name: str) -> Change:
        return lambda data, rng: (
            change_gzip(change_lines) if data.startswith(b"\x1f\x8b") else change_lines
        )(data, rng)


def _kinds(name: str) -> Change:
    """How a file of a store, a model or a sweep is changed."""
    if name.endswith(".json"):
        return change_json
    if name.endswith(".npz"):
        return change_npz
    return change_npy if name.endswith(".npy") else change_chunk


def _check_json(facts: Any) -> None:
    """What `info` prints, in both ways."""
    json.dumps(facts, allow_nan=False)
    "\n".join(table_lines(facts)).encode(errors="backslashreplace")


class Stores(Target):
    """Stores: dense, sparse, of a table; opened, read whole, described and fitted."""

    name = "store"

    def make(self, scratch: Path) -> Iterator[Case]:
        write_idx(scratch / "rows", ROWS)
        write_idx(scratch / "labels", LABELS)
        np.save(scratch / "rows.npy", REALS)
        write_case(scratch, {name: text.encode() for name, text in TEXTS.items()})
        (scratch / "t.csv").write_text("id,x,y\na,1,2\nb,3,5\nc,7,1\n")
        quiet: Any = {"progress": Silent()}
        labels = scratch / "labels"
        convert_idx(scratch / "rows", scratch / "a", labels=labels, rows_per_chunk=32, **quiet)
        convert_npy(scratch / "rows.npy", scratch / "b", codec="zstd", **quiet)
        convert_text(scratch / "docs", scratch / "c", min_df=1, codec="none", **quiet)
        convert_table(scratch / "t.csv", scratch / "d", id_column="id", **quiet)
        for name in "abcd":
            yield {f"store/{path}": content for path, content in read_case(scratch / name).items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def read(self, folder: Path) -> None:
        store = open_store(folder / "store")
        _check_json(path_facts(folder / "store"))
        # All of them is what a caller asks for who has the memory.
        most = min(store.info.n_rows, 1000)
        if store.rows(0, most).shape != (most, store.info.n_features):
            raise Finding(f"other rows than it says: {store.info}")
        if store.terms is not None and len(store.terms) != store.info.n_features:
            raise Finding("terms of other columns")
        _ = store.idf
        if store.has_labels and most == store.info.n_rows:
            store.labels()
        for chunk in range(min(store.info.n_chunks, 9) if store.info.ids else 0):
            store.ids(chunk)
        KMeans(2, random_state=0, max_iter=2).fit(store).labels_.compute()


class Predictions(Target):
    """Labels and responsibilities that `predict` wrote."""

    name = "predictions"

    def make(self, scratch: Path) -> Iterator[Case]:
        np.save(scratch / "rows.npy", REALS)
        store = convert_npy(scratch / "rows.npy", scratch / "s", progress=Silent())
        predict_labels(KMeans(2, random_state=0).fit(store), store, scratch / "a")
        soft = SoftKMeans(2, random_state=0, max_iter=3).fit(store)
        predict_responsibilities(soft, store, scratch / "b")
        for name in "ab":
            yield {f"given/{path}": content for path, content in read_case(scratch / name).items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def read(self, folder: Path) -> None:
        path = folder / "given"
        facts = path_facts(path)
        _check_json(facts)
        if facts["kind"] == "labels":
            open_labels(path)
        else:
            open_responsibilities(path).compute()


class Models(Target):
    """Models: loaded, described, and asked for labels."""

    name = "model"

    def make(self, scratch: Path) -> Iterator[Case]:
        kinds = (KMeans(2, random_state=0), KMeans(2, random_state=0, standardize=True),
                 SoftKMeans(2, random_state=0, max_iter=4, beta=float("inf")),
                 KMeans(2, random_state=0, init=REALS[:2], metric="cosine"))  # fmt: skip
        for at, model in enumerate(kinds):
            model.fit(REALS + 1).save(scratch / str(at))
            files = read_case(scratch / str(at))
            yield {f"model/{path}": content for path, content in files.items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def draw(self, rng: random.Random) -> Case:
        case = super().draw(rng)
        return _signed(case, "model/") if rng.random() < 0.7 else case

    def read(self, folder: Path) -> None:
        model = load_model(folder / "model")
        _check_json(path_facts(folder / "model"))
        _use(model)


def _use(model: Any) -> None:
    """What a model that loads must be able to do."""
    labels = model.predict(np.ones((4, model.n_features_in_)))
    if not ((labels >= 0) & (labels < len(model.cluster_centers_))).all():
        raise Finding(f"labels {labels}")
    if isinstance(model, SoftKMeans):
        model.predict_proba(np.ones((2, model.n_features_in_)))


def _signed(case: Case, folder: str) -> Case:
    """A case whose centres have the digest that the model names, whatever they are."""
    try:
        said = json.loads(case[f"{folder}model.json"])
        content = case[folder + said["centers"]["file"]]
        said["centers"]["sha256"] = hashlib.sha256(content).hexdigest()
    except (KeyError, ValueError, TypeError, RecursionError):
        return case
    return case | {f"{folder}model.json": json.dumps(said).encode()}


class _Stop(Silent):
    """Ends a fit after so many iterations."""

    def __init__(self, events: int) -> None:
        self._left = events

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        self._left -= 1
        if self._left == 0:
            raise Interrupted("enough")


class Checkpoints(Target):
    """Checkpoints of fits, which go on from them."""

    name = "checkpoint"
    _estimators = (
        KMeans(3, random_state=0, max_iter=9, tol=0, init="random", n_init=2),
        KMeans(3, random_state=0, max_iter=9, tol=0, standardize=True),
        SoftKMeans(3, random_state=0, max_iter=5, tol=0),
    )

    def make(self, scratch: Path) -> Iterator[Case]:
        for at, estimator in enumerate(self._estimators):
            for events in (1, 3):
                folder = scratch / f"{at}{events}"
                with contextlib.suppress(Interrupted):
                    fit_model(estimator, REALS, folder, progress=_Stop(events))
                yield {f"model-{at}/{path}": content for path, content in read_case(folder).items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def read(self, folder: Path) -> None:
        given = next(folder.glob("model-*"), None)
        if given is None:
            return
        work = folder / OUT
        shutil.copytree(given, work)
        estimator = self._estimators[int(given.name[-1])]
        try:
            _use(fit_model(estimator, REALS, work, resume=True))
        except InputError:
            shutil.rmtree(work)
            raise


class Sweeps(Target):
    """Sweeps: loaded and shown."""

    name = "sweep"

    def make(self, scratch: Path) -> Iterator[Case]:
        np.save(scratch / "rows.npy", REALS)
        store = convert_npy(scratch / "rows.npy", scratch / "s", progress=Silent())
        sweep(KMeans(random_state=0), store, scratch / "a", n_clusters=[2, 3], restarts=2)
        soft = SoftKMeans(random_state=0, max_iter=3)
        sweep(soft, store, scratch / "b", n_clusters=[2], betas=[0.5, 1.0])
        for name in "ab":
            yield {f"sweep/{path}": content for path, content in read_case(scratch / name).items()}

    def change(self, name: str) -> Change:
        return _kinds(name)

    def read(self, folder: Path) -> None:
        found = load_sweep(folder / "sweep")
        facts = sweep_facts(found)
        _check_json(facts)
        "\n".join(sweep_lines(facts, "out"))
        for model in found.best.values():
            _use(model)


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
            with counted() as peak, _quiet():
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


TARGETS: dict[str, Target] = {
    kind.name: kind()
    for kind in (Idx, Npy, Csv, Parquet, Folder, Archive, Jsonl, Stores, Predictions, Models,
                 Checkpoints, Sweeps, Arguments)
}  # fmt: skip
