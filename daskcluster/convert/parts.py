"""Documents as counts of terms, part by part: what the first pass over a corpus leaves.

A part holds the counts of some documents with term ids of its own; which terms the whole corpus
keeps, and in which columns, is known only when all parts are there.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from daskcluster.errors import InputError
from daskcluster.kernels.sparse import SparseRows
from daskcluster.sources.documents import Document
from daskcluster.store import Build, get_rows, put_rows

DOCUMENTS_PER_PART = 2048

Analyzer = Callable[[str], list[str]]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Counts of terms in some documents."""

    terms: list[str]
    """Sorted."""
    counts: SparseRows
    """Shape (n_documents, n_terms), int64; in each row terms in the order of the text."""
    names: list[str]
    labels: list[str | None]


def count_terms(documents: list[Document], analyze: Analyzer) -> Part:
    """Tokenise some documents and count."""
    found = [Counter(analyze(document.text)) for document in documents]
    terms = sorted(set().union(*found))
    place = {term: i for i, term in enumerate(terms)}
    indices = np.array([place[term] for row in found for term in row], dtype=np.int32)
    data = np.array([n for row in found for n in row.values()], dtype=np.int64)
    counts = SparseRows(data, indices, np.cumsum([0, *map(len, found)]), len(terms))
    names, labels = [d.name for d in documents], [d.label for d in documents]
    return Part(terms, counts, names, labels)


def write_part(build: Build, index: int, part: Part) -> None:
    """Write a part into a build; what is there is written over."""
    place = f"parts/{index}"
    words = [part.terms, part.names, part.labels]
    build.put(f"{place}/words", np.frombuffer(json.dumps(words).encode(), dtype=np.uint8))
    put_rows(build, place, part.counts)
    build.put(f"{place}/done", np.ones(1, dtype=np.uint8))


def is_written(build: Build, index: int) -> bool:
    """Whether a part is there, whole."""
    return build.has(f"parts/{index}/done/c/0")


def read_part(build: Build, index: int) -> Part:
    """Read a part back."""
    place = f"parts/{index}"
    terms, names, labels = json.loads(build.get(f"{place}/words").tobytes())
    return Part(terms, get_rows(build, place, len(terms)), names, labels)


@dataclass
class Census:
    """Document and term frequencies of all parts seen so far."""

    most: int
    """Terms that it may hold."""

    def __post_init__(self) -> None:
        self.n_documents = 0
        self._place: dict[str, int] = {}
        self._df = np.zeros(1024, dtype=np.int64)
        self._tf = np.zeros(1024, dtype=np.int64)

    def add(self, part: Part, path: str) -> None:
        """Add a part's documents.

        Raises
        ------
        InputError
            The vocabulary has outgrown its bound.
        """
        place = self._place
        at = np.array([place.setdefault(term, len(place)) for term in part.terms], dtype=np.intp)
        if len(place) > self.most:
            raise InputError(
                f"{path}: more than {self.most:,} different terms, the bound of --max-vocabulary: "
                "raise it where there is memory (some 200 bytes a term), or leave fewer terms with "
                "--token-pattern or --stop-words; --min-df and --max-features choose among them"
            )
        if len(place) > len(self._df):
            self._df, self._tf = (
                np.concatenate([old, np.zeros(len(place), dtype=np.int64)])
                for old in (self._df, self._tf)
            )
        indices, n = part.counts.indices, len(part.terms)
        self._df[at] += np.bincount(indices, minlength=n)
        self._tf[at] += np.bincount(indices, weights=part.counts.data, minlength=n).astype(np.int64)
        self.n_documents += len(part.counts)

    def result(self) -> tuple[list[str], Ints, Ints]:
        """Terms, sorted; in how many documents each is, and how often in all."""
        terms = sorted(self._place)
        order = np.array([self._place[term] for term in terms], dtype=np.intp)
        return terms, self._df[order], self._tf[order]


@dataclass(frozen=True)
class Gathered:
    """Reads counts of documents in the order of rows, by the columns of the corpus.

    ``order/part`` and ``order/place`` of the build say where each row's document is,
    ``parts/<i>/columns`` which column each of its terms has, -1 for none, and ``order/rank`` in
    which order the columns' terms were first seen.
    """

    build: Build
    n_features: int

    @cached_property
    def _order(self) -> tuple[Ints, Ints]:
        return self.build.get("order/part"), self.build.get("order/place")

    @cached_property
    def _rank(self) -> Ints:
        return self.build.get("order/rank")

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def rows(self, start: int, stop: int) -> SparseRows:
        """Counts of rows ``start`` to ``stop``, float64, in each row by rank.

        That is the order in which scikit-learn adds up a row's squares, to the last bit.
        """
        parts, places = (order[start:stop] for order in self._order)
        runs = [self._kept(int(i))[places[parts == i]] for i in np.unique(parts)]
        back = np.argsort(np.concatenate([np.flatnonzero(parts == i) for i in np.unique(parts)]))
        data = np.concatenate([run.data for run in runs]).astype(np.float64)
        indices = np.concatenate([run.indices for run in runs])
        indptr = np.concatenate([[0], np.cumsum(np.concatenate([run.lengths for run in runs]))])
        rows: SparseRows = SparseRows(data, indices, indptr, self.n_features)[back]
        by_rank = np.lexsort([self._rank[rows.indices], rows.row_of])
        return SparseRows(rows.data[by_rank], rows.indices[by_rank], rows.indptr, self.n_features)

    @cached_property
    def _kept(self) -> Callable[[int], SparseRows]:
        """Reads a part by columns; those read last are kept while this reader is."""

        def read(part: int) -> SparseRows:
            counts = read_part(self.build, part).counts
            return keep_columns(counts, self.build.get(f"parts/{part}/columns"), self.n_features)

        return lru_cache(maxsize=8)(read)


def keep_columns(counts: SparseRows, columns: Ints, n_features: int) -> SparseRows:
    """Counts by other columns; those of terms without one are left out."""
    at = columns[counts.indices]
    kept = at >= 0
    ends = np.concatenate([[0], np.cumsum(kept)])
    indices = at[kept].astype(np.int32)
    return SparseRows(counts.data[kept], indices, ends[counts.indptr], n_features)


def each_part(build: Build, n_parts: int) -> Iterator[Part]:
    """All parts, one at a time."""
    return (read_part(build, i) for i in range(n_parts))
