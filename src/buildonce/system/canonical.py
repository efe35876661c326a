"""Canonical JSON: one value, one sequence of bytes. And a strict reader for what others may have written.

The writer keeps to the part of RFC 8785 that holds objects, lists, strings, whole numbers, true, false and
null: no fractions, because their spelling is where implementations differ. The reader refuses what parsers
disagree on: keys given twice, NaN, fractions, numbers beyond 2**53, deep nesting, text that is not UTF-8.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MOST_BYTES", "Fields", "dump", "load", "load_canonical"]

MOST_BYTES: Final = 64 << 20  # a manifest of ten targets with 6,000 files each is 12 MB
_MOST_LEVELS: Final = 64
_MOST_DIGITS: Final = 16
_LARGEST: Final = 2**53 - 1  # beyond it, parsers that read doubles see another number


def dump(value: object) -> bytes:
    """*value* (objects, lists, strings, whole numbers, booleans, None) as canonical JSON, without a line end.

    Raises :class:`ValueError` for a fraction, a number beyond 2**53, a key that is no string, or text with
    half a surrogate pair.
    """
    text = json.dumps(_ordered(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _ordered(value: object) -> object:
    match value:
        case None | bool() | str():
            return value
        case int():
            if abs(value) > _LARGEST:
                raise ValueError(f"{value} has no exact spelling in JSON")
            return value
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise ValueError("every key of a JSON object is a string")
            # RFC 8785, 3.2.3: keys are ordered as UTF-16, which differs from Python's order beyond the first
            # 65,536 characters.
            return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
        case list() | tuple():
            return [_ordered(item) for item in value]
        case _:
            raise ValueError(f"{type(value).__name__} has no place in canonical JSON")


def load(data: bytes, *, where: str, most: int = MOST_BYTES) -> object:
    """The value of strict JSON. *where* names the file in errors; *most* is the largest size read, in bytes.

    Raises :class:`VerificationError`.
    """
    if len(data) > most:
        raise VerificationError(f"larger than the {most} bytes that are allowed", where=where)
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_no_fraction,
            parse_int=_whole,
        )
        _limit_depth(value)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"not strict JSON: {error}", where=where) from error
    return value


def load_canonical(data: bytes, *, where: str, most: int = MOST_BYTES) -> object:
    """The value of JSON that has to be spelled exactly as :func:`dump` does.

    Raises :class:`VerificationError`.
    """
    value = load(data, where=where, most=most)
    try:
        same = dump(value) == data
    except ValueError as error:
        raise VerificationError(f"not canonical JSON: {error}", where=where) from error
    if not same:
        raise VerificationError("not canonical JSON: the same value has another spelling", where=where)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has one key twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _no_fraction(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is not a whole number")


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > _MOST_DIGITS or abs(int(text)) > _LARGEST:
        raise ValueError(f"{text[:20]} is beyond 2**53")
    return int(text)


def _limit_depth(value: object) -> None:
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
        if not level:
            return
    raise ValueError(f"nested deeper than {_MOST_LEVELS} levels")


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object read key by key; every error says where in which file the wrong value is
    (``targets[0].python``).
    """

    value: Mapping[str, object]
    where: str  # the file
    path: str = ""  # the object's place in it

    @classmethod
    def of(cls, value: object, where: str, path: str = "") -> Fields:
        """*value*, which has to be an object."""
        if not isinstance(value, dict):
            raise VerificationError(f"{path or 'the file'} has to be a JSON object", where=where)
        return cls(value, where, path)

    def wrong(self, key: str, message: str) -> VerificationError:
        """The error that says what is wrong with *key*."""
        return VerificationError(f"{self._at(key)} {message}", where=self.where)

    def only(self, *keys: str) -> Fields:
        """Raise unless the object has exactly *keys*."""
        for key in sorted(self.value.keys() ^ set(keys)):
            raise self.wrong(key, "is unknown" if key in self.value else "is missing")
        return self

    def text(self, key: str) -> str:
        """A string."""
        found = self._get(key)
        if not isinstance(found, str):
            raise self.wrong(key, "has to be a string")
        return found

    def one_of(self, key: str, *allowed: str) -> str:
        """One of the *allowed* strings."""
        found = self.text(key)
        if found not in allowed:
            raise self.wrong(key, f"has to be {' or '.join(allowed)}, not {found[:80]!r}")
        return found

    def count(self, key: str) -> int:
        """A whole number, not negative."""
        found = self._get(key)
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise self.wrong(key, "has to be a whole number, not negative")
        return found

    def items(self, key: str) -> list[object]:
        """A list."""
        found = self._get(key)
        if not isinstance(found, list):
            raise self.wrong(key, "has to be a list")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        found = self.items(key)
        if not all(isinstance(item, str) for item in found):
            raise self.wrong(key, "has to be a list of strings")
        return tuple(str(item) for item in found)

    def fields(self, key: str) -> Fields:
        """An object."""
        return Fields.of(self._get(key), self.where, self._at(key))

    def objects(self, key: str) -> tuple[Fields, ...]:
        """A list of objects."""
        return tuple(Fields.of(item, self.where, f"{self._at(key)}[{i}]") for i, item in enumerate(self.items(key)))

    def _get(self, key: str) -> object:
        if key not in self.value:
            raise self.wrong(key, "is missing")
        return self.value[key]

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key
