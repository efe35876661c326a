"""What is kept for one lock: every input by its sha256, and the listing that says what they are.

A vault is a folder (or something like it) that anybody can read without this tool::

    files/<first two digits>/<sha256>/<name>     the inputs, and the three lock files
    inputs/<digest of the lock>.json             name, sha256, size and origin of each

The listing is canonical JSON: the same for the same lock, on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from buildonce.model import Digest
from buildonce.system import canonical, files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Contents", "Input", "Kept", "file_place", "listing_place", "read_listing"]

_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A verified file that a release is built from, or one of its locks."""

    name: str
    sha256: Digest
    size: int
    path: Path  # in the store
    url: str = ""  # where it was at lock time, without credentials
    needed_by: tuple[str, ...] = ()  # "debian-12: wheelhouse"; sorted


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything that one lock needs."""

    lock: Mapping[str, Digest]  # the lock's files
    inputs: tuple[Input, ...]  # sorted by sha256, each once; the lock's files are among them

    @cached_property
    def digest(self) -> Digest:
        """Names the lock: the digest of its files' digests."""
        return lock_digest(self.lock)

    @cached_property
    def listing(self) -> bytes:
        """The listing of all inputs."""
        rows = [
            {"name": one.name, "needed_by": list(one.needed_by), "sha256": one.sha256, "size": one.size, "url": one.url}
            for one in self.inputs
        ]
        return canonical.dump({"version": _FORMAT, "lock": dict(self.lock), "inputs": rows}) + b"\n"

    @property
    def size(self) -> int:
        """Bytes of all inputs."""
        return sum(one.size for one in self.inputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a vault was given."""

    vault: str
    files: int  # how many inputs the lock has
    added: int  # how many of them were not there before
    added_bytes: int


class Amount:
    """Adds up the bytes of several files that are written at once, for progress. Used by several threads."""

    def __init__(self, total: int, say: Callable[[int, int], None]) -> None:
        self._each: dict[str, int] = {}
        self._total, self._say = total, say

    def of(self, sha256: str) -> Callable[[int], None]:
        """Hears how many bytes of the file are done."""

        def came(count: int) -> None:
            self._each[sha256] = count
            self._say(min(sum(self._each.copy().values()), self._total), self._total)

        return came


def lock_digest(lock: Mapping[str, Digest]) -> Digest:
    """The digest that names a lock, from those of its files."""
    return files.sha256_bytes(canonical.dump(dict(lock)))


def file_place(sha256: str, name: str) -> str:
    """Where a file is, below a vault."""
    return f"files/{sha256[:2]}/{sha256}/{name}"


def listing_place(digest: str) -> str:
    """Where the listing of the lock *digest* is, below a vault."""
    return f"inputs/{digest}.json"


def read_listing(data: bytes, *, where: str) -> dict[str, tuple[Digest, int]]:
    """sha256 and size of every input by its name. Raises :class:`VerificationError`."""
    rows = canonical.Fields.of(canonical.load(data, where=where), where).objects("inputs")
    return {row.text("name"): (Digest(row.text("sha256")), row.count("size")) for row in rows}
