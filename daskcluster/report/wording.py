"""Numbers as people read them."""

import math
from datetime import UTC, datetime
from typing import Any

_DIGITS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TIMES, NOTHING, SPACE = "\u00d7", "\u2013", "\u00a0"


def number(value: Any, digits: int = 5) -> str:
    """A number with so many digits; powers of ten where it is very large or very small.

    Examples
    --------
    >>> number(60000), number(0.59071666), number(1234.5678)
    ('60,000', '0.59072', '1,234.6')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING if value is None else str(value)
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e7):
        return f"{int(value):,}"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return f"{value:,.{max(digits - 1 - math.floor(math.log10(abs(value))), 0)}f}"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}{SPACE}{TIMES}{SPACE}{power_of_ten(int(power))}"


def power_of_ten(power: int) -> str:
    """Ten to a power, as text."""
    return f"10{str(power).translate(_DIGITS)}"


def share(value: float) -> str:
    """A share as a percentage.

    Examples
    --------
    >>> [share(value).split() for value in (0.1488, 0.0004, 1.0)]
    [['15', '%'], ['0.04', '%'], ['100', '%']]
    """
    percent = 100 * value
    digits = f"{percent:.0f}" if percent >= 10 or percent == 0 else f"{percent:.2g}"
    return f"{digits if percent >= 1 or percent == 0 else f'{percent:.1g}'}{SPACE}%"


def when(text: Any) -> str:
    """A time in UTC to the minute; whatever else a file says in its place is left as it is.

    Examples
    --------
    >>> when("2026-11-26T13:02:13+00:00")
    '2026-11-26 13:02 UTC'
    """
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if time.tzinfo else str(text)


def size(n_bytes: int) -> str:
    """Bytes in the unit that fits.

    Examples
    --------
    >>> size(9719438), size(512)
    ('9.3 MiB', '512 bytes')
    """
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    power = min(int(math.log(n_bytes, 1024)), 4)
    return f"{n_bytes / 1024**power:,.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


def plain(value: Any) -> str:
    """Any value of a file's attributes in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return f" {TIMES} ".join(map(plain, value))
    return NOTHING if value is None else str(value)
