"""What the parts of a corpus add up to: its terms and their columns, its rows and their order."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.convert.parts import Census, Gathered, Ints, Part, each_part
from daskcluster.convert.weighing import TextOptions, idf_of, kept_terms
from daskcluster.kernels.batch import Batch
from daskcluster.sizing import Block, chunk_rows, sparse_bytes, sparse_chunk_rows
from daskcluster.sources.documents import Documents, row_order
from daskcluster.store import Build, Store


@dataclass(frozen=True)
class Corpus:
    """How the rows of a corpus are to be written."""

    n_rows: int
    rows_per_chunk: int
    terms: list[str]
    """Of the columns."""
    idf: npt.NDArray[np.float64] | None
    stored: int
    """Elements of all rows."""
    width: int | None
    """Elements of the fullest chunk; None where rows are written dense."""
    class_names: tuple[str, ...] | None
    codes: npt.NDArray[np.int32] | None

    @property
    def n_features(self) -> int:
        return len(self.terms)

    @property
    def nbytes(self) -> int:
        """Decoded bytes of the rows."""
        if self.width is None:
            return self.n_rows * self.n_features * 8
        return sparse_bytes(self.n_rows, self.stored, 8)

    def counts(self, build: Build) -> "CountReader":
        """A reader of the rows' counts."""
        return CountReader(Gathered(build, self.n_features))

    def put_terms(self, build: Build) -> int:
        """Write terms and idf into a build; returns the bytes of the terms."""
        words = np.frombuffer(json.dumps(self.terms).encode(), dtype=np.uint8)
        build.put("terms", words)
        if self.idf is not None:
            build.put("idf", self.idf)
        return len(words)


@dataclass(frozen=True)
class CountReader:
    """Reads the counts of rows as blocks."""

    gathered: Gathered

    in_memory = False

    @property
    def token(self) -> str:
        return f"{self.gathered.build.path}#{self.gathered.build.id}/counts"

    def read(self, block: Block) -> Batch:
        return Batch(block.start, self.gathered.rows(block.start, block.stop))

    def identity(self) -> str:
        return self.gathered.build.id


@dataclass
class _Listing:
    """What is known of every document, in the order in which they were read."""

    part: list[Ints] = field(default_factory=list)
    place: list[Ints] = field(default_factory=list)
    stored: list[Ints] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)

    def add(self, index: int, part: Part, columns: Ints) -> None:
        counts, n = part.counts, len(part.counts)
        kept = columns[counts.indices] >= 0
        self.part.append(np.full(n, index, dtype=np.int64))
        self.place.append(np.arange(n, dtype=np.int64))
        self.stored.append(np.bincount(counts.row_of, weights=kept, minlength=n).astype(np.int64))
        self.names += part.names
        self.labels += part.labels

    def order(self, documents: Documents) -> Ints:
        """Places of the rows' documents."""
        if documents.sorted:
            return np.arange(len(self.names))
        keys = [row_order(name) for name in self.names]
        return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def lay_out(
    build: Build,
    n_parts: int,
    documents: Documents,
    options: TextOptions,
    most_terms: int,
    rows_per_chunk: int | None,
    *,
    dense: bool,
    model: Store | None,
) -> Corpus:
    """Decide terms, columns, weights, rows and chunks; write into the build what readers need.

    With ``model`` terms and weights are those of that store.
    """
    if model is None:
        names, idf = _choose(build, n_parts, documents, options, most_terms)
    else:
        names, idf = model.terms or [], model.idf
    listing = _columns(build, n_parts, names)
    order = listing.order(documents)
    n, stored = len(order), np.concatenate(listing.stored)[order]
    ranks = np.arange(len(names))
    if model is None:
        ranks = _ranks(build, listing.part, order, len(names))
    build.put("order/rank", ranks)
    build.put("order/part", np.concatenate(listing.part)[order])
    build.put("order/place", np.concatenate(listing.place)[order])
    if dense:
        size, width = chunk_rows(n, len(names), 8, rows_per_chunk), None
    else:
        size = sparse_chunk_rows(n, int(stored.sum()), 8, rows_per_chunk)
        width = max(int(np.add.reduceat(stored, np.arange(0, n, size)).max()), 1)
    class_names, codes = _classes([listing.labels[i] for i in order.tolist()])
    return Corpus(n, size, names, idf, int(stored.sum()), width, class_names, codes)


def _choose(
    build: Build, n_parts: int, documents: Documents, options: TextOptions, most_terms: int
) -> tuple[list[str], npt.NDArray[np.float64] | None]:
    """The terms that are kept, and their idf."""
    census = Census(most_terms)
    for part in each_part(build, n_parts):
        census.add(part, documents.path)
    terms, df, tf = census.result()
    kept = kept_terms(terms, df, tf, census.n_documents, options)
    return [terms[i] for i in kept.tolist()], idf_of(df[kept], census.n_documents, options)


def _columns(build: Build, n_parts: int, names: list[str]) -> _Listing:
    """Write the column of every part's terms."""
    column = {term: i for i, term in enumerate(names)}
    listing = _Listing()
    for i, part in enumerate(each_part(build, n_parts)):
        columns = np.array([column.get(term, -1) for term in part.terms], dtype=np.int64)
        build.put(f"parts/{i}/columns", columns)
        listing.add(i, part, columns)
    return listing


def _ranks(build: Build, sizes: list[Ints], order: Ints, n_columns: int) -> Ints:
    """In which order the columns' terms are first seen when documents are read row by row."""
    row = np.empty(len(order), dtype=np.int64)
    row[order] = np.arange(len(order))
    first = np.full(n_columns, np.iinfo(np.int64).max)
    begin = 0
    for i, part in enumerate(each_part(build, len(sizes))):
        counts = part.counts
        columns = build.get(f"parts/{i}/columns")[counts.indices]
        place = np.arange(len(columns)) - counts.indptr[counts.row_of]
        seen = (row[begin + counts.row_of] << 32) + place
        np.minimum.at(first, columns[columns >= 0], seen[columns >= 0])
        begin += len(counts)
    ranks = np.empty(n_columns, dtype=np.int64)
    ranks[np.argsort(first)] = np.arange(n_columns)
    return ranks


def _classes(
    labels: list[str | None],
) -> tuple[tuple[str, ...] | None, npt.NDArray[np.int32] | None]:
    """Names of the classes, sorted, and each row's; None where no document has a label."""
    names = tuple(sorted({label for label in labels if label is not None}))
    if not names:
        return None, None
    code: dict[Any, int] = {name: i for i, name in enumerate(names)} | {None: -1}
    return names, np.array([code[label] for label in labels], dtype=np.int32)
