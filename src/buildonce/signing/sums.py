"""``SHA256SUMS``: the one file whose signatures bind all others. As ``sha256sum`` writes it, sorted;
``sha256sum -c`` reads it.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from buildonce import statement
from buildonce.errors import VerificationError
from buildonce.model import Digest
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["FILE", "digests", "read", "sums"]

FILE: Final = "SHA256SUMS"
_MOST_BYTES: Final = 1 << 20
_LINE: Final = re.compile(r"([0-9a-f]{64})  (.+)")


def sums(folder: Path) -> bytes:
    """The lines for every file directly in *folder*; signatures are files too, so this comes before them.

    Raises :class:`VerificationError` for a name that would need quoting.
    """
    names = [path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(FILE)]
    found = digests(folder, names)
    for name in found:
        if not statement.is_file_name(name):
            raise VerificationError(f"not a plain file name: {name[:80]!r}", where=FILE)
    return _text(found)


def digests(folder: Path, names: Iterable[str]) -> dict[str, Digest]:
    """The sha256 of the files *names* in *folder*, several at a time (hashing lets other threads run)."""
    names = sorted(names)
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(files.sha256_file, (folder / name for name in names)), strict=True))


def read(data: bytes) -> dict[str, Digest]:
    """File name → sha256. Only the spelling of :func:`sums` is read: a line has one meaning for every
    program.

    Raises :class:`VerificationError`.
    """
    found: dict[str, Digest] = {}
    for number, line in enumerate(data[:_MOST_BYTES].decode("latin-1").splitlines(), start=1):
        parts = _LINE.fullmatch(line)
        if not parts or not statement.is_file_name(parts[2]):
            raise VerificationError("not a line of sha256sum", where=f"{FILE}:{number}")
        found[parts[2]] = Digest(parts[1])
    if _text(found) != data:
        raise VerificationError("its lines have to be sorted by name, each name once", where=FILE)
    return found


def _text(found: Mapping[str, Digest]) -> bytes:
    return "".join(f"{found[name]}  {name}\n" for name in sorted(found)).encode()
