"""Readers of other people's files, which conversions begin with."""

import gzip
import io
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daskcluster import convert_idx, convert_npy, convert_table, convert_text
from daskcluster.demo import write_idx
from daskcluster.engine import Silent
from daskcluster.sources.text import open_documents
from fuzzing.changes import (
    Case,
    Change,
    change_bytes,
    change_gzip,
    change_lines,
    change_npy,
    change_tar,
    change_text,
    to_json,
)  # fmt: skip
from fuzzing.guards import read_case
from fuzzing.target import LABELS, OUT, REALS, ROWS, TEXTS, Finding, Target


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
