"""What JSON on disk must look like: checks that are put together as the JSON is.

A check is called with a value and its place, and raises `ValueError` with both where it does not
fit. Names that a record does not know are let be: a later version may have written them.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]

LARGEST_INTEGER = 2**63 - 1
_LONGEST_SHOWN = 60


def parse_json(text: str | bytes) -> Any:
    """The value; raises `ValueError` for what is no JSON or could not be written as such again."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("brackets within brackets, too deep") from error
    check_writable(value)
    return value


def check_writable(value: Any) -> None:
    """Raise `ValueError` for NaN, infinity and endless nesting.

    Python reads all of these from what is not JSON, and `--json` could not print them.
    """
    try:
        json.dumps(value, allow_nan=False)
    except RecursionError as error:
        raise ValueError("brackets within brackets, too deep") from error


def _refused(value: Any, place: str, wanted: str) -> ValueError:
    shown = repr(value)
    short = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
    return ValueError(f"{place or 'all of it'} is {short} where there should be {wanted}")


def anything(value: Any, place: str) -> None:
    """Whatever it is."""


def whole(low: int = 0, high: int = LARGEST_INTEGER) -> Check:
    """An integer from ``low`` to ``high``."""

    def check(value: Any, place: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _refused(value, place, f"an integer from {low} to {high}")

    return check


def number(low: float = -math.inf) -> Check:
    """A finite number, not below ``low``."""

    def check(value: Any, place: str) -> None:
        # An integer that int64 cannot hold is nothing that was ever counted or measured.
        large = type(value) is int and abs(value) > LARGEST_INTEGER
        if large or type(value) not in (int, float) or not low <= value < math.inf:
            raise _refused(value, place, "a number" if low < 0 else f"a number from {low:g} on")

    return check


def flag(value: Any, place: str) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise _refused(value, place, "true or false")


def text(pattern: str = "(?s:.*)", what: str = "text") -> Check:
    """A string that a pattern fits as a whole."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise _refused(value, place, what)

    return check


def one_of(*values: Any) -> Check:
    """One of a few values, of its type."""

    def check(value: Any, place: str) -> None:
        if not any(type(value) is type(known) and value == known for known in values):
            raise _refused(value, place, f"one of {', '.join(map(repr, values))}")

    return check


def maybe(inner: Check) -> Check:
    """The same, or null."""

    def check(value: Any, place: str) -> None:
        if value is not None:
            inner(value, place)

    return check


def either(first: Check, second: Check) -> Check:
    """What one of two checks lets pass."""

    def check(value: Any, place: str) -> None:
        try:
            first(value, place)
        except ValueError:
            second(value, place)

    return check


def items(inner: Check, length: int | None = None) -> Check:
    """A list, of that length if one is given."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise _refused(value, place, "a list" if length is None else f"a list of {length}")
        for i, item in enumerate(value):
            try:
                inner(item, place)
            except ValueError:  # places are many, and only one is ever told
                inner(item, f"{place}[{i}]")

    return check


def mapping(inner: Check) -> Check:
    """An object of any names."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _refused(value, place, "an object")
        for name, item in value.items():
            inner(item, f"{place}.{name}" if place else str(name))

    return check


def record(
    fields: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    *,
    closed: bool = False,
) -> Check:
    """An object that has all of ``fields``, and perhaps of ``optional``; ``closed``: no others."""
    known = {**fields, **(optional or {})}

    def check(value: Any, place: str) -> None:
        mapping(anything)(value, place)
        if closed and (unknown := [name for name in value if name not in known]):
            raise ValueError(f"{place} has {unknown[0]!r:.60}, which means nothing")
        for name, inner in known.items():
            here = f"{place}.{name}" if place else name
            if name in value:
                inner(value[name], here)
            elif name in fields:
                raise ValueError(f"{here} is missing")

    return check
