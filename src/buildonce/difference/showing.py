"""A short picture of a difference: a unified diff of texts, a hexdump of all else. Safe to print on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buildonce.difference import words
from buildonce.difference.causes import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from buildonce.difference.blob import Blob

__all__ = ["MOST_LINES", "hexdump", "unified"]

MOST_LINES: Final = 36
_WIDEST: Final = 160
_ROW: Final = 16
_ROWS: Final = 4


def unified(expected: Sequence[str], found: Sequence[str]) -> tuple[str, ...]:
    """The blocks of lines that differ, each with its place; long lines around the first difference in them."""
    lines: list[str] = []
    for block in blocks(expected, found):
        lines.append(f"@@ line {block.start + 1} @@")
        lines += _block(block.expected, block.found)
        if len(lines) > MOST_LINES:
            return (*lines[: MOST_LINES - 1], "…")
    return tuple(lines)


def _block(expected: Sequence[str], found: Sequence[str]) -> Iterator[str]:
    """Old lines and new ones; of a long block the first, so that the new ones are seen too."""
    most = (MOST_LINES - 4) // 2
    for sign, mine, other in (("-", expected, found), ("+", found, expected)):
        for number, line in enumerate(mine[:most]):
            yield sign + _around(line, other[number] if number < len(other) else "")
        if len(mine) > most:
            yield f"{sign}… {len(mine) - most} more lines"


def _around(line: str, other: str) -> str:
    if len(line) <= _WIDEST:
        return words.shown(line, _WIDEST * 4)
    first = next((i for i, (a, b) in enumerate(zip(line, other, strict=False)) if a != b), 0)
    start = max(0, first - _WIDEST // 3)
    piece = line[start : start + _WIDEST]
    end = "…" if start + _WIDEST < len(line) else ""
    return f"{'…' if start else ''}{words.shown(piece, _WIDEST * 4)}{end}"


def hexdump(expected: Blob, found: Blob) -> tuple[str, ...]:
    """Some rows of sixteen bytes from the first that differs, of both."""
    first = expected.first_difference(found)
    if first is None:
        return ()
    start = first - first % _ROW
    lines = [f"@@ byte {first} of {expected.size} → {found.size} @@"]
    for sign, blob in (("-", expected), ("+", found)):
        data = blob.read(start, _ROW * _ROWS)
        rows = [data[at : at + _ROW] for at in range(0, len(data), _ROW)]
        lines += [f"{sign}{start + _ROW * number:08x}  {_row(row)}" for number, row in enumerate(rows)]
        if not rows:
            lines.append(f"{sign}(it ends at byte {blob.size})")
    return tuple(lines)


def _row(row: bytes) -> str:
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
    return f"{row.hex(' '):<{3 * _ROW - 1}}  {text}"
