"""The order of Debian versions (deb-version(7)), as dpkg has it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Order", "order"]

_PARTS: Final = re.compile(r"(\D*)(\d*)")
_END, _BEFORE_END = 0, -1
_AFTER_LETTERS: Final = 256

_Part = tuple[tuple[tuple[int, ...], int], ...]
Order = tuple[int, _Part, _Part]


def order(version: str) -> Order:
    """What sorts as *version* does: epoch, upstream version, revision."""
    epoch, colon, rest = version.partition(":")
    upstream, hyphen, revision = (rest if colon else version).rpartition("-")
    if not hyphen:
        upstream, revision = revision, ""
    return int(epoch) if colon else 0, _part(upstream), _part(revision)


def _part(text: str) -> _Part:
    return tuple((_letters(word), int(digits or 0)) for word, digits in _PARTS.findall(text))


def _letters(word: str) -> tuple[int, ...]:
    """A tilde sorts before the end of the text, letters before all other characters."""
    return (
        *(_BEFORE_END if one == "~" else ord(one) if one.isalpha() else ord(one) + _AFTER_LETTERS for one in word),
        _END,
    )
