"""Arrow's batches as NumPy arrays, and its errors as ours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from daskcluster.errors import DaskClusterError, InputError
from daskcluster.sources.columns import Column, Key, Place, Selection, Wanted
from daskcluster.sources.files import Array, DType, unreadable
from daskcluster.sources.missing import Mask, settle
from daskcluster.sources.npy import LARGEST_EXACT
from daskcluster.sources.pieces import Piece

NUMBERS: dict[Any, DType] = {
    pa.bool_(): np.dtype(np.bool_),
    pa.uint8(): np.dtype(np.uint8),
    pa.int8(): np.dtype(np.int8),
    pa.uint16(): np.dtype(np.uint16),
    pa.int16(): np.dtype(np.int16),
    pa.uint32(): np.dtype(np.uint32),
    pa.int32(): np.dtype(np.int32),
    pa.uint64(): np.dtype(np.uint64),
    pa.int64(): np.dtype(np.int64),
    pa.float16(): np.dtype(np.float16),
    pa.float32(): np.dtype(np.float32),
    pa.float64(): np.dtype(np.float64),
}
TEXTS = (pa.string(), pa.large_string(), pa.string_view())


@contextmanager
def faults(path: str, kind: str, words: Callable[[str], str] = str) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into an `InputError`.

    Parameters
    ----------
    path, kind : str
        The file, and what it should be.
    words : callable
        Makes Arrow's message a readable one.
    """
    try:
        yield
    except DaskClusterError:
        raise
    # Damaged bytes raise whatever the decoder can think of.
    except Exception as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            raise unreadable(path, fault) from fault
        reason = words(str(fault) or type(fault).__name__)
        raise InputError(
            f"{path}: cannot be read as {kind} ({reason}); correct it, or write it again"
        ) from fault


def column(name: str, kind: Any) -> Column:
    """A column of an Arrow type: what its values can be read as."""
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    label, ids = _key_kinds(values)
    return Column(name, str(kind), NUMBERS.get(kind), label, ids, pa.types.is_null(kind))


def _key_kinds(kind: Any) -> tuple[str | None, str | None]:
    if kind in TEXTS:
        return "text", "text"
    number = NUMBERS.get(kind)
    if number is None:
        return None, None
    if number.kind not in "iu":
        return "int64", None
    return "int64", "uint64" if number == np.uint64 else "int64"


def piece_of(batch: Any, selection: Selection, wanted: Wanted, place: Place) -> Piece:
    """What is wanted of a batch, of the rows that are kept.

    Raises
    ------
    InputError
        If a value is missing that may not be, or cannot be held exactly.
    """
    features, stay = None, None
    if wanted.features or selection.missing == "drop":
        features, absent = numbers_of(batch, selection.features, selection.dtype, place)
        stay = settle(features, absent, selection, place)
    labels = _keys(batch, selection.label if wanted.labels else None, stay, place, "label")
    ids = _keys(batch, selection.id if wanted.ids else None, stay, place, "id")
    if stay is not None and features is not None:
        features = features[stay]
    n_rows = batch.num_rows if stay is None else int(stay.sum())
    return Piece(n_rows, features if wanted.features else None, labels, ids)


def numbers_of(
    batch: Any, names: tuple[str, ...], dtype: DType, place: Place
) -> tuple[Array, Mask]:
    """Numeric columns side by side.

    Returns
    -------
    values : ndarray, shape (n_rows, len(names)), ``dtype``
        C-contiguous; undefined where there is none.
    missing : ndarray of bool, same shape
    """
    values: Array = np.empty((batch.num_rows, len(names)), dtype=dtype)
    missing: Mask = np.zeros(values.shape, dtype=np.bool_)
    for at, name in enumerate(names):
        numbers, absent = _numbers(batch.column(name))
        if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == 8:
            _check_exact(numbers, name, place)
        values[:, at] = numbers
        if absent is not None:
            missing[:, at] = absent
    return values, missing


def _numbers(array: Any) -> tuple[Array, Mask | None]:
    """Values, 0 for null, and what is null or NaN."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array)), np.ones(len(array), dtype=np.bool_)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    absent: Mask | None = None
    if array.null_count:
        absent = np.asarray(array.is_null())
        array = array.fill_null(pa.scalar(NUMBERS[array.type].type(0), array.type))
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        nan = np.isnan(values)
        absent = nan if absent is None else absent | nan
    return values, absent


def _check_exact(values: Array, name: str, place: Place) -> None:
    # Two reductions first: they need no memory, and almost always suffice.
    if not values.size or (values.max() <= LARGEST_EXACT and values.min() >= -LARGEST_EXACT):
        return
    row = int(((values > LARGEST_EXACT) | (values < -LARGEST_EXACT)).argmax())
    raise InputError(
        f"{place.row(row)}, column {name!r} is {values[row]}, which cannot be held exactly as "
        "float64 (beyond 2**53); rescale or renumber the values"
    )


def _keys(batch: Any, key: Key | None, stay: Mask | None, place: Place, role: str) -> Array | None:
    if key is None:
        return None
    array = batch.column(key.name)
    absent = np.asarray(array.is_null())
    if key.kind == "text":
        values = _texts(array)
    else:
        values, absent = _integers(array, absent, key, place)
    if stay is not None:
        values, absent = values[stay], absent[stay]
    if not absent.any():
        return values
    if role == "id":
        rows = np.arange(batch.num_rows) if stay is None else np.flatnonzero(stay)
        row = int(rows[absent.argmax()])
        raise InputError(
            f"{place.row(row)}: no id in column {key.name!r}; give every row one, or leave "
            "--id-column out"
        )
    values = values.astype(object)
    values[absent] = None
    return values


def _texts(array: Any) -> Array:
    """Objects of type str, one for all equal ones of a batch."""
    if pa.types.is_null(array.type):
        return np.full(len(array), None, dtype=object)
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    words = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    codes = np.asarray(encoded.indices.cast(pa.int64()).fill_null(-1))
    texts: Array = words[codes]
    return texts


def _integers(array: Any, absent: Mask, key: Key, place: Place) -> tuple[Array, Mask]:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    numbers, unset = _numbers(array)
    absent = absent if unset is None else absent | unset
    if numbers.dtype.kind == "f":
        numbers = np.where(absent, 0, numbers.astype(np.float64))
        _check_whole(numbers, key, place)
    if key.kind == "int64" and numbers.dtype == np.uint64:
        _check_signed(numbers, key, place)
    return numbers.astype(key.dtype), absent


def _check_whole(values: Array, key: Key, place: Place) -> None:
    whole = (np.trunc(values) == values) & (np.abs(values) <= LARGEST_EXACT)
    if whole.all():
        return
    row = int(whole.argmin())
    raise InputError(
        f"{place.row(row)}, column {key.name!r} is {values[row]}: labels are whole numbers or "
        "text; choose a column of classes"
    )


def _check_signed(values: Array, key: Key, place: Place) -> None:
    large = values > np.iinfo(np.int64).max
    if large.any():
        row = int(large.argmax())
        raise InputError(
            f"{place.row(row)}, column {key.name!r} is {values[row]}, beyond 2**63 - 1; write "
            "it as text, or renumber it"
        )
