"""What the texts of a CSV column of labels or ids are written as."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskcluster.errors import InputError

# As a program writes integers: 007 and +7 are texts, and would be others when read as 7.
_INTEGER = r"^(0|-?[1-9][0-9]{0,18})$"
_WHOLE = r"^(0|-?[1-9][0-9]{0,18})(\.0*)?$"
_REAL = r"^[+-]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?[0-9]+[eE][+-]?[0-9]+$"


@dataclass
class Spellings:
    """How the values of a column are written: as integers, as ``7.0``, as reals, as text."""

    found: set[str] = field(default_factory=set)
    real: str = ""
    """One of the reals."""

    def add(self, texts: Any) -> None:
        """Look at more values."""
        texts = texts.unique().drop_null()
        integer, whole, real = (_matches(texts, form) for form in (_INTEGER, _WHOLE, _REAL))
        real &= ~whole
        self.found |= {"integer"} if integer.any() else set()
        self.found |= {"whole"} if (whole & ~integer).any() else set()
        self.found |= {"text"} if (~(whole | real)).any() or not _fit(texts, whole) else set()
        if real.any():
            self.found.add("real")
            self.real = texts[int(real.argmax())].as_py()

    def of_labels(self, path: str) -> str | None:
        """What labels are read as; None if there are none.

        Raises
        ------
        InputError
            If they are reals.
        """
        if not self.found or "text" in self.found:
            return "text" if self.found else None
        if "real" in self.found:
            raise InputError(
                f"{path}: the label column holds {self.real}: labels are whole numbers or text; "
                "choose a column of classes"
            )
        return "int64"

    def of_ids(self) -> str | None:
        """What ids are read as; None if there are none."""
        if not self.found:
            return None
        return "int64" if self.found == {"integer"} else "text"


def as_integers(texts: Any) -> Any:
    """Integers of texts like ``7`` and ``7.0``."""
    return pc.replace_substring_regex(texts, r"\.0*$", "").cast(pa.int64())


def _matches(texts: Any, form: str) -> Any:
    return np.array(pc.match_substring_regex(texts, form), dtype=np.bool_)


def _fit(texts: Any, whole: Any) -> bool:
    """Whether the whole numbers are within int64."""
    try:
        as_integers(texts.filter(pa.array(whole)))
    except pa.ArrowInvalid:
        return False
    return True
