"""What differs in a file that is no archive: text, JSON, bytecode, object code, and anything else."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from buildonce.difference import causes, elfs, facts, showing
from buildonce.difference.causes import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buildonce.difference.blob import Blob
    from buildonce.difference.causes import Cause

__all__ = ["Described", "describe", "lines_of"]

_LARGEST_TEXT: Final = 4 << 20
_STRINGS: Final = re.compile(rb"[\t\x20-\x7e]{4,}")
# Marshal and other formats put a type and a length before a string, which may look like letters.
_LENGTH_BEFORE_PATH: Final = re.compile(r"^[^/]{1,3}(?=/[\w.+-]+/)")
_EPOCHS: Final = range(978_307_200, 4_102_444_800)  # 2001 to 2100
_NEAR: Final = 3 * 365 * 86400
_TEXT: Final = re.compile(rb"[\t\n\x20-\x7e]+")
_PYC_HEADER: Final = 16  # PEP 552
_FLAG_REF: Final = 0x80  # of marshal: the object is referred to again


class Described(NamedTuple):
    """The picture, and what explains it."""

    lines: tuple[str, ...]
    causes: tuple[Evidence, ...]


def describe(path: str, expected: Blob, found: Blob, known: Mapping[str, Cause]) -> Described:
    """The first difference between two files at *path*, and its causes; none when it is not recognised."""
    if path.endswith(".pyc") and min(expected.size, found.size) >= _PYC_HEADER:
        return _bytecode(expected, found, known)
    texts = lines_of(expected), lines_of(found)
    if texts[0] is not None and texts[1] is not None:
        return _texts(texts[0], texts[1], expected, found, known)
    if expected.read(0, 4) == found.read(0, 4) == b"\x7fELF":
        return _object_code(expected, found, known)
    return Described(showing.hexdump(expected, found), _binary(expected, found, known))


def lines_of(blob: Blob) -> list[str] | None:
    """The lines of a text; JSON one value a line. None for what is no text, or too long for one."""
    if blob.size > _LARGEST_TEXT:
        return None
    data = blob.read()
    if b"\0" in data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if text.startswith(("{", "[")):
        try:
            text = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
        except (ValueError, RecursionError):
            return text.split("\n")
    return text.split("\n")


def _texts(one: list[str], two: list[str], expected: Blob, found: Blob, known: Mapping[str, Cause]) -> Described:
    if one != two:
        return Described(showing.unified(one, two), causes.of_lines(one, two, known))
    note = Evidence("unknown", "the same JSON values, written in another way")
    return Described((note.shown, *showing.hexdump(expected, found)), (note,))


def _bytecode(expected: Blob, found: Blob, known: Mapping[str, Cause]) -> Described:
    """The header apart from the code (PEP 552). The code is never loaded: marshal is not safe for what others made."""
    (*old, _), (*new, _) = (struct.unpack("<4sIII", blob.read(0, _PYC_HEADER)) for blob in (expected, found))
    one, two = (blob.window(_PYC_HEADER, blob.size - _PYC_HEADER) for blob in (expected, found))
    lines, evidence = [], []
    if old[0] != new[0]:
        lines.append(f"header: the interpreter's magic number {old[0].hex()} → {new[0].hex()}")
        evidence.append(Evidence("unknown", "another Python compiled it"))
    elif old[1] != new[1]:
        lines.append(
            f"header: the way to tell that it is stale, {_INVALIDATION.get(old[1])} → {_INVALIDATION.get(new[1])}"
        )
    elif old != new and not new[1]:
        shown = f"{facts.moment(old[2])} → {facts.moment(new[2])}"
        lines.append(f"header: time of the source {shown}")
        evidence.append(Evidence("timestamp", f"its header has the time of the source, {shown}"))
    elif expected.read(8, 8) != found.read(8, 8):
        lines.append("header: the hash or the size of the source differs")
    if one.same(two):
        return Described((*lines, "code: the same"), tuple(evidence))
    return Described(
        (*lines, *showing.hexdump(expected, found)),
        (*evidence, *(_references(one, two) or _binary(one, two, known))),
    )


_INVALIDATION: Final = {0: "time", 1: "unchecked hash", 3: "checked hash"}


def _references(expected: Blob, found: Blob) -> tuple[Evidence, ...]:
    """Code that differs only in the marks of objects that are referred to again.

    See https://github.com/python/cpython/issues/129724.
    """
    if expected.size != found.size or expected.size > _LARGEST_TEXT:
        return ()
    pairs = [(a, b) for a, b in zip(expected.read(), found.read(), strict=True) if a != b]
    if not all(a ^ b == _FLAG_REF for a, b in pairs):
        return ()
    return (Evidence("order", f"only {len(pairs)} marks of shared objects differ: compiled after other files"),)


def _object_code(expected: Blob, found: Blob, known: Mapping[str, Cause]) -> Described:
    names = elfs.differing(expected, found)
    hexdump = showing.hexdump(expected, found)
    if names is None:
        return Described(hexdump, _binary(expected, found, known))
    lines = (f"sections that differ: {', '.join(names) or 'none, only headers and padding'}"[:200], *hexdump)
    if names and set(names) <= elfs.IDENTITY:
        shown = f"only {' and '.join(names)} differ: what was stripped held another folder, name or time"
        return Described(lines, (Evidence("path", shown),))
    return Described(lines, _binary(expected, found, known))


def _binary(expected: Blob, found: Blob, known: Mapping[str, Cause]) -> tuple[Evidence, ...]:
    """What the texts in two binaries tell; else whether a number that differs is a time."""
    one, two = (_strings(blob) for blob in (expected, found))
    if one != two:
        permuted = causes.of_order(one, two)
        if permuted:
            return (Evidence("hash seed", permuted.shown),) if permuted.cause == "order" else (permuted,)
        if evidence := causes.of_lines(one, two, known):
            return evidence
    return _time_among_bytes(expected, found)


def _time_among_bytes(expected: Blob, found: Blob) -> tuple[Evidence, ...]:
    """Four bytes around the first that differs that are two near times, in either order of bytes."""
    first = expected.first_difference(found) or 0
    near: list[tuple[int, int, int, int]] = []
    for start in range(max(0, first - 3), first + 1):
        one, two = expected.read(start, 4), found.read(start, 4)
        changed = bytes(byte for pair in zip(one, two, strict=False) if pair[0] != pair[1] for byte in pair)
        if len(one) == len(two) == 4 and not _TEXT.fullmatch(changed):
            for order in ("<I", ">I"):
                old, new = (int(struct.unpack(order, data)[0]) for data in (one, two))
                if old in _EPOCHS and new in _EPOCHS and abs(old - new) < _NEAR:
                    near.append((abs(old - new), start, old, new))
    if not near:
        return ()
    _, start, old, new = min(near)
    return (Evidence("timestamp", f"byte {start}: {facts.moment(old)} → {facts.moment(new)}"),)


def _strings(blob: Blob) -> list[str]:
    found = (match[0].decode() for match in _STRINGS.finditer(blob.read(0, _LARGEST_TEXT)))
    return [_LENGTH_BEFORE_PATH.sub("", text) for text in found]
