"""Which columns of a table are read, and as what; arithmetic on types only."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from daskcluster.errors import InputError
from daskcluster.sources.files import DType
from daskcluster.sources.npy import READ_AS

MISSING = ("error", "drop", "mean")

# How pandas names an index that has no name, in CSV and in Parquet.
INDEX_NAMES = ("", "__index_level_0__")

_MOST_NAMES = 20


@dataclass(frozen=True)
class Column:
    """A column as one file declares it.

    Parameters
    ----------
    name, type : str
        Its name, and its type in the words of the file.
    number : numpy.dtype, optional
        The type of its values, if they are numbers.
    label, id : {'int64', 'uint64', 'text'}, optional
        What it is read as when it holds labels or ids, if it can.
    empty : bool
        Whether it has no type as it has no values; then it fits any other.
    """

    name: str
    type: str
    number: DType | None = None
    label: str | None = None
    id: str | None = None
    empty: bool = False


class Listing(NamedTuple):
    """The columns of one file."""

    path: str
    columns: dict[str, Column]


@dataclass(frozen=True)
class Request:
    """What was asked of a table; see `open_table`."""

    columns: tuple[str, ...] | None
    label: str | None
    id: str | None
    missing: str


class Key(NamedTuple):
    """A column of labels or ids, and what it is read as: 'int64', 'uint64' or 'text'."""

    name: str
    kind: str

    @property
    def dtype(self) -> DType:
        return np.dtype(object if self.kind == "text" else self.kind)


@dataclass(frozen=True)
class Selection:
    """The columns that are read, and what becomes of their values."""

    features: tuple[str, ...]
    dtype: DType
    label: Key | None
    id: Key | None
    missing: str
    means: tuple[float, ...] | None = None
    left_out: tuple[str, ...] = ()
    """Where nobody chose: the columns that are no numbers, and so nothing here."""


class Wanted(NamedTuple):
    """What of a selection somebody reads."""

    features: bool = False
    labels: bool = False
    ids: bool = False

    def names(self, selection: Selection) -> list[str]:
        """The columns to decode: which rows are dropped, only the features tell."""
        names = list(selection.features) if self.features or selection.missing == "drop" else []
        names += [selection.label.name] if self.labels and selection.label else []
        names += [selection.id.name] if self.ids and selection.id else []
        return list(dict.fromkeys(names))


class Place(NamedTuple):
    """Where rows come from: those of a file from ``first`` on, after ``before`` in others."""

    path: str
    first: int
    before: int

    def row(self, index: int) -> str:
        """Name a row for a message."""
        within = self.first + int(index)
        overall = f" (row {self.before + within} of all files)" if self.before else ""
        return f"{self.path}: row {within}{overall}"


def listing(path: str, columns: Sequence[Column]) -> Listing:
    """The columns of a file by name.

    Raises
    ------
    InputError
        If two have the same name.
    """
    often = [name for name, times in Counter(c.name for c in columns).items() if times > 1]
    if often:
        raise InputError(
            f"{path}: several columns are called {named(often)}; name each column differently"
        )
    return Listing(path, {column.name: column for column in columns})


def choose(files: Sequence[Listing], request: Request) -> Selection:
    """Choose the columns of a table, and the one type of its rows.

    Raises
    ------
    InputError
        If a column is missing, has an unusable type, or differs between files; or none is left.
    """
    label = _key(files, request.label, "label")
    ids = _key(files, request.id, "id")
    features = _features(files, request)
    types = [_number(listed, files[0].path, name) for name in features for listed in files]
    dtype = row_type([kind for kind in types if kind is not None], request.missing)
    used = {*features, request.label, request.id}
    names = dict.fromkeys(name for listed in files for name in listed.columns)
    others = () if request.columns is not None else tuple(n for n in names if n not in used)
    return Selection(features, dtype, label, ids, request.missing, left_out=others)


def row_type(types: Iterable[DType], missing: str) -> DType:
    """The smallest type of rows that holds all of ``types``; means make integers float64.

    Examples
    --------
    >>> row_type([np.dtype("i8"), np.dtype("f4")], "error")
    dtype('float64')
    """
    read_as = [np.dtype(READ_AS[f"{kind.kind}{kind.itemsize}"]) for kind in types]
    if missing == "mean":
        read_as = [kind if kind.kind == "f" else np.dtype(np.float64) for kind in read_as]
    return np.result_type(*read_as) if read_as else np.dtype(np.float64)


def merge_kinds(kinds: Sequence[tuple[str, str]], name: str, role: str) -> str:
    """What a column of labels or ids is read as, given what it is in each file.

    Raises
    ------
    InputError
        If it is text in one file and holds integers in another.
    """
    (first, kind), *others = kinds or [("", "text")]
    for path, other in others:
        if (kind == "text") != (other == "text"):
            raise InputError(
                f"{path}: the {role} column {name!r} is {_words(other)}, but in {first} it is "
                f"{_words(kind)}; write it the same way in all files"
            )
    return kind if all(other == kind for _, other in others) else "int64"


def named(names: Iterable[str]) -> str:
    """Names for a message: the first of them, and how many more there are."""
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - _MOST_NAMES} more" if len(quoted) > _MOST_NAMES else ""
    return (", ".join(quoted[:_MOST_NAMES]) or "none") + more


def _words(kind: str) -> str:
    return "text" if kind == "text" else "integers"


def _key(files: Sequence[Listing], name: str | None, role: str) -> Key | None:
    if name is None:
        return None
    columns = [(listed.path, _find(listed, files[0].path, name, role)) for listed in files]
    kinds = []
    for path, column in columns:
        kind = column.label if role == "label" else column.id
        if kind is None and not column.empty:
            raise InputError(
                f"{path}: the {role} column {name!r} is of type {column.type}; {role}s are "
                "integers or text: write it as one of them, or choose another column"
            )
        kinds += [(path, kind)] if kind else []
    return Key(name, merge_kinds(kinds, name, role))


def _find(listed: Listing, first: str, name: str, role: str) -> Column:
    column = listed.columns.get(name)
    if column is None:
        has = "" if listed.path == first else f", which {first} has"
        raise InputError(
            f"{listed.path}: no {role} column {name!r}{has}; its columns are "
            f"{named(listed.columns)}"
        )
    return column


def _features(files: Sequence[Listing], request: Request) -> tuple[str, ...]:
    if request.columns is None:
        return _all_numeric(files, request)
    _check_named(files[0].path, request)
    for name in request.columns:
        _check_first(files[0], _find(files[0], files[0].path, name, "feature"))
    return request.columns


def _check_named(path: str, request: Request) -> None:
    names = request.columns or ()
    if not names:
        raise InputError(f"{path}: no columns chosen; name at least one, or leave --columns out")
    if len(set(names)) < len(names):
        often = [name for name, times in Counter(names).items() if times > 1]
        raise InputError(f"{path}: {named(often)} chosen more than once; name each column once")
    for role, name in (("label", request.label), ("id", request.id)):
        if name in names:
            raise InputError(
                f"{path}: {name!r} is the {role} column and cannot be a feature as well; leave it "
                f"out of --columns, or leave --{role}-column out"
            )


def _check_first(listed: Listing, column: Column) -> None:
    if column.number is None and not column.empty:
        raise InputError(
            f"{listed.path}: column {column.name!r} is of type {column.type}, not a number; the "
            f"numeric columns are {named(_numeric(listed))}"
        )


def _numeric(listed: Listing) -> list[str]:
    return [name for name, column in listed.columns.items() if column.number is not None]


def _all_numeric(files: Sequence[Listing], request: Request) -> tuple[str, ...]:
    names = [name for name in _candidates(files) if name not in (request.label, request.id)]
    if not names:
        raise InputError(
            f"{files[0].path}: no numeric columns but those of labels and ids; its columns are "
            f"{_described(files[0])}"
        )
    for name in names:
        if name in INDEX_NAMES:
            raise InputError(
                f"{files[0].path}: the column {name!r} looks like the row numbers that pandas "
                "writes; name the features with --columns, or write the table with index=False"
            )
    return tuple(names)


def _candidates(files: Sequence[Listing]) -> list[str]:
    """Numeric in the first file, or empty there and numeric in another."""
    others = {name for listed in files[1:] for name in _numeric(listed)}
    first = files[0].columns
    return [n for n, c in first.items() if c.number is not None or (c.empty and n in others)]


def _described(listed: Listing) -> str:
    columns = [f"{column.name!r} ({column.type})" for column in listed.columns.values()]
    more = f" and {len(columns) - _MOST_NAMES} more" if len(columns) > _MOST_NAMES else ""
    return (", ".join(columns[:_MOST_NAMES]) or "none") + more


def _number(listed: Listing, first: str, name: str) -> DType | None:
    column = _find(listed, first, name, "feature")
    if column.number is None and not column.empty:
        raise InputError(
            f"{listed.path}: column {name!r} is of type {column.type}, but a number in {first}; "
            "write it the same way in all files, or choose others with --columns"
        )
    return column.number
