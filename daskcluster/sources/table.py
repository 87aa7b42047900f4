"""Tables, Parquet or CSV: which files there are, and of which kind."""

import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from daskcluster.errors import InputError
from daskcluster.sources.columns import MISSING, Request
from daskcluster.sources.files import read_head, readable, unreadable
from daskcluster.sources.idx import GZIP_MAGIC
from daskcluster.sources.tabular import TableSource

__all__ = ["TableSource", "open_table"]

PARQUET_MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
SMALLEST_PARQUET = 12

SUFFIXES = {"parquet": (".parquet",), "csv": (".csv", ".csv.gz")}

_SNIFFED = 4096

PathLike = str | os.PathLike[str]


def open_table(
    files: PathLike | Iterable[PathLike],
    *,
    columns: Iterable[str] | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    missing: str = "error",
) -> TableSource:
    """Open Parquet or CSV files of one table as rows of numbers.

    Parameters
    ----------
    files : path or sequence of paths
        Files of one kind, told by their content, in the order of their rows; a folder stands
        for all ``*.parquet``, or all ``*.csv`` and ``*.csv.gz``, within it, by
        name. Needs
        pyarrow: ``pip install 'daskcluster[table]'``.
    columns : sequence of str, optional
        The features, in this order. By default all numeric columns of the first file, but
        those of labels and ids: bools, integers and floats.
    label_column, id_column : str, optional
        Columns of true classes (integers, bools, text, or whole numbers written as floats)
        and of row ids (integers or text).
    missing : {'error', 'drop', 'mean'}
        What to do about features that are null or NaN: refuse them, leave their rows out, or
        put the column's mean there; the latter two take a pass over the features.

    Returns
    -------
    TableSource
        Its `dtype` is the smallest type of rows that holds every chosen column exactly.
        Parquet is seekable, CSV is not; CSV is read once when it is opened, to count its rows
        and to see what they hold.

    Raises
    ------
    InputError
        If a file is missing, empty, damaged, of another kind than the first, or has other
        columns; a column is missing or of an unusable type; a value is missing; or no row or
        no feature is left.
    """
    request = _request(columns, label_column, id_column, missing)
    found = [found for given in _listed(files) for found in _expanded(given)]
    if not found:
        raise InputError(
            "no files given; name at least one Parquet or CSV file, or a folder of them"
        )
    kinds, sizes = zip(*map(_kind, found), strict=True)
    for path, kind in zip(found, kinds, strict=True):
        if kind != kinds[0]:
            raise InputError(
                f"{path} is {_WORDS[kind]}, but {found[0]} is {_WORDS[kinds[0]]}; convert files "
                "of one kind at a time"
            )
    return _opener(found[0], kinds[0])(found, sizes, request)


_WORDS = {"parquet": "a Parquet file", "csv": "a CSV file"}


def _opener(path: str, kind: str) -> Callable[[Sequence[str], Sequence[int], Request], TableSource]:
    try:
        # An extra: everything else must run without it.
        if kind == "parquet":
            from daskcluster.sources.parquet import open_parquet  # noqa: PLC0415 - an extra

            return open_parquet
        from daskcluster.sources.csvcount import open_csv  # noqa: PLC0415 - an extra
    except ImportError as fault:
        raise InputError(
            f"{path}: tables need pyarrow ({fault}); pip install 'daskcluster[table]'"
        ) from fault
    return open_csv


def _request(
    columns: Iterable[str] | None, label: str | None, id_column: str | None, missing: str
) -> Request:
    if missing not in MISSING:
        raise InputError(f"missing={missing!r}; it is one of {', '.join(MISSING)}")
    if label is not None and label == id_column:
        raise InputError(
            f"column {label!r} is named for labels and for ids; name it for one of them"
        )
    names = [columns] if isinstance(columns, str) else columns
    return Request(None if names is None else tuple(names), label, id_column, missing)


def _listed(files: PathLike | Iterable[PathLike]) -> list[str]:
    several = [files] if isinstance(files, str | bytes | os.PathLike) else files
    names = [os.fspath(file) for file in several]
    for name in names:
        if not isinstance(name, str):
            raise InputError(
                f"{name!r}: a path must be text, not bytes; decode it with os.fsdecode"
            )
    return names


def _expanded(name: str) -> list[str]:
    """A file, or those of a folder, by absolute paths: workers have other working directories."""
    path = Path(name)
    try:
        inside = sorted(path.iterdir()) if path.is_dir() else None
    except OSError as fault:
        raise unreadable(name, fault) from fault
    except ValueError as fault:
        raise InputError(f"{name!r}: not a path ({fault}); check it") from fault
    return [str(path.absolute())] if inside is None else _in_folder(path, inside)


def _in_folder(folder: Path, inside: Sequence[Path]) -> list[str]:
    found = {
        kind: [str(path.absolute()) for path in inside if _is_table(path, suffixes)]
        for kind, suffixes in SUFFIXES.items()
    }
    if all(found.values()):
        raise InputError(f"{folder}: a folder of both Parquet and CSV files; name those you mean")
    if not any(found.values()):
        raise InputError(f"{folder}: a folder without *.parquet or *.csv files; name the files")
    return found["parquet"] or found["csv"]


def _is_table(path: Path, suffixes: tuple[str, ...]) -> bool:
    name = path.name.lower()
    return name.endswith(suffixes) and not name.startswith(".") and path.is_file()


def _kind(path: str) -> tuple[str, int]:
    """What a file is by its content, and its size."""
    head, size = read_head(path)
    with readable(path) as file:
        file.seek(max(size - len(PARQUET_MAGIC), 0))
        tail = file.read(len(PARQUET_MAGIC))
    if _is_parquet(path, head, tail, size):
        return "parquet", size
    _check_text(path, _unpacked(path, head))
    return "csv", size


def _is_parquet(path: str, head: bytes, tail: bytes, size: int) -> bool:
    begins, ends = head.startswith(PARQUET_MAGIC), tail == PARQUET_MAGIC
    if begins and ends and size >= SMALLEST_PARQUET:
        return True
    if ENCRYPTED_MAGIC in (head[:4], tail):
        raise InputError(f"{path}: an encrypted Parquet file; write it without encryption")
    # A line of names may begin or end with these letters; what follows or precedes them tells.
    if (begins and _control(head[4:8]) is not None) or (ends and _control(head) is not None):
        raise InputError(
            f"{path}: a Parquet file that is cut short or damaged ({size} bytes, without PAR1 at "
            "both ends); download or write it again"
        )
    return False


def _unpacked(path: str, head: bytes) -> bytes:
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        with gzip.open(path) as stream:
            return stream.read(_SNIFFED)
    except (EOFError, OSError, zlib.error) as fault:
        raise InputError(
            f"{path}: damaged or cut-short gzip ({fault}); download or compress it again"
        ) from fault


def _check_text(path: str, head: bytes) -> None:
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise InputError(
            f"{path}: looks like a web page: the download probably failed; download it again"
        )
    at = _control(head)
    if at is not None:
        raise InputError(
            f"{path}: neither Parquet nor CSV: it begins with the bytes {head[:4].hex(' ')}, and "
            f"byte {at} is {head[at]:#04x}; write it as one of them, CSV in UTF-8"
        )


def _control(head: bytes) -> int | None:
    """Where the first control character is, tabs and ends of lines aside."""
    found = (at for at, byte in enumerate(head) if byte < 32 and byte not in b"\t\n\r\f\v")
    return next(found, None)
