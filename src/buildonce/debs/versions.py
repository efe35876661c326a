"""The order of Debian versions (deb-version(7)), as dpkg has it."""

from __future__ import annotations

import functools
import re
from itertools import zip_longest
from typing import Final

__all__ = ["order"]

_PARTS: Final = re.compile(r"(\D*)(\d*)")
_END, _BEFORE_END = 0, -1
_AFTER_LETTERS: Final = 256

_Part = tuple[tuple[int, ...], int]  # what is before a number, and the number
_NOTHING: Final[_Part] = ((_END,), 0)


def _compare(left: str, right: str) -> int:
    """Below 0, 0 or above 0, as *left* is older, equal or newer: by epoch, upstream version, revision."""
    for one, other in zip(_split(left), _split(right), strict=True):
        for part, counterpart in zip_longest(_parts(one), _parts(other), fillvalue=_NOTHING):
            if part != counterpart:
                return -1 if part < counterpart else 1
    return 0


order = functools.cmp_to_key(_compare)  # what sorts as the version does


def _split(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    upstream, hyphen, revision = (rest if colon else version).rpartition("-")
    return epoch if colon else "0", upstream if hyphen else revision, revision if hyphen else ""


def _parts(text: str) -> list[_Part]:
    return [(_letters(word), int(digits or 0)) for word, digits in _PARTS.findall(text)]


def _letters(word: str) -> tuple[int, ...]:
    """A tilde sorts before the end of the text, letters before all other characters."""
    weights = (_BEFORE_END if one == "~" else ord(one) if one.isalpha() else ord(one) + _AFTER_LETTERS for one in word)
    return (*weights, _END)
