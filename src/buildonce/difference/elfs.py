"""Which sections of two ELF files differ. Reads headers alone, and believes none (System V gABI, chapter 4)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from buildonce.difference.blob import Blob

__all__ = ["IDENTITY", "differing"]

# A hash over the whole file before it was stripped, and the name and CRC of what was stripped.
IDENTITY: Final = frozenset({".note.gnu.build-id", ".gnu_debuglink"})

_MOST_SECTIONS: Final = 4096
_MOST_NAMES: Final = 1 << 20
_NO_BYTES: Final = 8  # SHT_NOBITS: .bss


def differing(expected: Blob, found: Blob) -> tuple[str, ...] | None:
    """The names of the sections whose bytes differ or that only one has; None when a header cannot be read."""
    try:
        one, two = _sections(expected), _sections(found)
    except (struct.error, EOFError, ValueError, LookupError):
        return None
    return tuple(
        name
        for name in dict.fromkeys((*one, *two))
        if name not in one or name not in two or not one[name].same(two[name])
    )


def _sections(blob: Blob) -> dict[str, Blob]:
    head = blob.read(0, 64)
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    table = struct.unpack_from(f"{order}Q" if wide else f"{order}I", head, 40 if wide else 32)[0]
    entry, count, names_at = struct.unpack_from(f"{order}3H", head, 58 if wide else 46)
    if not 0 < count <= _MOST_SECTIONS or names_at >= count:
        raise ValueError("no table of sections")
    layout = struct.Struct(f"{order}2I4Q" if wide else f"{order}2I4I")
    rows = [layout.unpack(blob.window(table + entry * i, layout.size).read()) for i in range(count)]
    names = _part(blob, rows[names_at]).read(0, _MOST_NAMES)
    found: dict[str, Blob] = {}
    for row in rows:
        name = names[row[0] : max(names.find(b"\0", row[0]), row[0])].decode("latin-1")
        while name in found:
            name += "'"
        found[name] = _part(blob, row)
    return found


def _part(blob: Blob, row: tuple[int, ...]) -> Blob:
    _, kind, _, _, offset, size = row
    return blob.window(0, 0) if kind in (0, _NO_BYTES) else blob.window(offset, size)
