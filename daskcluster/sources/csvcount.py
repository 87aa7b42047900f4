"""Opening CSV files: one pass over them tells how many rows there are, and of which types."""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from daskcluster.errors import InputError
from daskcluster.sources import arrow
from daskcluster.sources.columns import (
    Column,
    Key,
    Listing,
    Place,
    Request,
    Selection,
    choose,
    listing,
    merge_kinds,
    row_type,
)
from daskcluster.sources.csvfile import BLOCK_BYTES, CsvSource, Types, declared, is_packed, reading
from daskcluster.sources.missing import Means, check_kept, settle
from daskcluster.sources.written import Spellings


def open_csv(files: Sequence[str], sizes: Sequence[int], request: Request) -> CsvSource:
    """Open CSV files of one table; see `open_table`."""
    named = request.columns is not None
    listings = [_listing(path, size, named) for path, size in zip(files, sizes, strict=True)]
    if all(column.empty for listed in listings for column in listed.columns.values()):
        raise InputError(f"{files[0]}: zero rows, or none with any value; give a table with rows")
    selection = choose(listings, request)
    counts, means = _count_all(listings, selection)
    n_rows, dropped = sum(c.kept for c in counts), sum(c.rows - c.kept for c in counts)
    if not n_rows + dropped:
        raise InputError(f"{files[0]}: zero rows in {len(files)} file(s); give a table with rows")
    check_kept(files[0], n_rows, dropped)
    selection = _settled(listings, selection, counts)
    imputed = 0
    if means is not None:
        selection = replace(selection, means=means.result(files[0], selection.features))
        imputed = int(means.n_missing.sum())
    return CsvSource(
        files[0], (n_rows, len(selection.features)), selection.dtype, tuple(files), tuple(sizes),
        selection, dropped, imputed, tuple(c.types for c in counts), tuple(c.rows for c in counts),
        tuple(len(listed.columns) for listed in listings),
    )  # fmt: skip


def _listing(path: str, size: int, named: bool) -> Listing:
    with reading(path) as reader:
        found = [(field.name, field.type) for field in reader.schema]
    whole = size <= BLOCK_BYTES and not is_packed(path)
    columns = [_column(name, kind, whole) for name, kind in found]
    if not named:
        _check_header(path, columns)
    return listing(path, columns)


def _column(name: str, kind: Any, whole: bool) -> Column:
    """A column of the type that the first block shows; numbers if it has nothing there yet."""
    empty = pa.types.is_null(kind)
    number = np.dtype(np.float64) if empty and not whole else arrow.NUMBERS.get(kind)
    return Column(name, "null" if empty else str(kind), number, "text", "text", empty and whole)


def _check_header(path: str, columns: Sequence[Column]) -> None:
    """Refuse a first line that is a row of values, which would be lost as names."""
    names = [column.name for column in columns]
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise InputError(
            f"{path}: its first line {names[0][:80]!r} has no comma; write the table with commas "
            "between the columns"
        )
    # As pandas names columns that have no names.
    numbered = [str(at) for at in range(len(names))]
    if names in (numbered, ["", *numbered[:-1]]):
        return
    numeric = [column.name for column in columns if column.number is not None]
    like_values = all(map(_is_number, names)) or any("." in name for name in numeric)
    if numeric and all(map(_is_number, numeric)) and like_values:
        raise InputError(
            f"{path}: its first line holds values, not the names of columns: it begins with "
            f"{names[0]!r}; write names above it, or choose those you mean with --columns"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass
class _Count:
    """What the first pass learns of a file."""

    types: Types
    rows: int = 0
    kept: int = 0
    labels: Spellings = field(default_factory=Spellings)
    ids: Spellings = field(default_factory=Spellings)


def _count_all(
    listings: Sequence[Listing], selection: Selection
) -> tuple[list[_Count], Means | None]:
    means = Means(len(selection.features)) if selection.missing == "mean" else None
    counts: list[_Count] = []
    for listed in listings:
        before = sum(count.rows for count in counts)
        count, means = _count(listed, selection, before, means)
        counts.append(count)
    return counts, means


def _count(
    listed: Listing, selection: Selection, before: int, means: Means | None
) -> tuple[_Count, Means | None]:
    """One pass over a file; another one if what looked like integers are decimals."""
    types = tuple(_type_name(listed.columns[name]) for name in selection.features)
    try:
        return _pass(listed, selection, before, types, copy.deepcopy(means))
    except InputError as fault:
        if "conversion error to int64" not in str(fault.__cause__):
            raise
    types = tuple("float64" if name == "int64" else name for name in types)
    return _pass(listed, selection, before, types, means)


def _type_name(column: Column) -> str:
    return "null" if column.number is None else column.number.name


def _pass(
    listed: Listing, selection: Selection, before: int, types: Types, means: Means | None
) -> tuple[_Count, Means | None]:
    count = _Count(types)
    header = list(listed.columns)
    chosen = declared(selection, types)
    with reading(listed.path, chosen, header, alone=len(header) == 1) as batches:
        for batch in batches:
            _count_batch(batch, selection, Place(listed.path, count.rows, before), count, means)
    return count, means


def _count_batch(
    batch: Any, selection: Selection, place: Place, count: _Count, means: Means | None
) -> None:
    wide = np.dtype(np.float64)
    values, missing = arrow.numbers_of(batch, selection.features, wide, place)
    stay = None
    if means is None:
        stay = settle(values, missing, selection, place)
    else:
        means.add(values, missing)
    count.rows += batch.num_rows
    count.kept += batch.num_rows if stay is None else int(stay.sum())
    for key, seen in ((selection.label, count.labels), (selection.id, count.ids)):
        if key is not None:
            seen.add(batch.column(key.name))


def _settled(
    listings: Sequence[Listing], selection: Selection, counts: Sequence[_Count]
) -> Selection:
    """The selection, with the types that all the rows turned out to have."""
    paths = [listed.path for listed in listings]
    labels = zip(paths, (count.labels for count in counts), strict=True)
    ids = zip(paths, (count.ids for count in counts), strict=True)
    types = [np.dtype(name) for count in counts for name in count.types if name != "null"]
    return replace(
        selection,
        dtype=row_type(types, selection.missing),
        label=_key(
            selection.label, [(path, seen.of_labels(path)) for path, seen in labels], "label"
        ),
        id=_key(selection.id, [(path, seen.of_ids()) for path, seen in ids], "id"),
    )


def _key(key: Key | None, kinds: Sequence[tuple[str, str | None]], role: str) -> Key | None:
    if key is None:
        return None
    known = [(path, kind) for path, kind in kinds if kind is not None]
    return Key(key.name, merge_kinds(known, key.name, role))
