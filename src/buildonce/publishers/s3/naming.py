"""How objects are called, and the headers that browsers and caches get with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from buildonce import statement
from buildonce.errors import VerificationError
from buildonce.publishers import page
from buildonce.signing import sums

if TYPE_CHECKING:
    from buildonce.publishers.parcels import Outgoing

__all__ = ["Names", "cache", "content_type"]

# A table of our own: what Python's mimetypes says depends on the machine.
_TYPES: Final = {
    ".asc": "application/pgp-signature",
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".tar": "application/x-tar",
    ".deb": "application/vnd.debian.binary-package",
}
_OTHER: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Names:
    """The keys below *prefix*: those of a folder's files, with slashes."""

    prefix: str

    def release(self, name: str) -> str:
        """What the keys of the release *name* begin with."""
        return f"{self.prefix}/{name}/" if self.prefix else f"{name}/"

    def version(self, name: str, version: str) -> str:
        """What the keys of the version's files begin with."""
        return f"{self.release(name)}{version}/"

    def of(self, release: Outgoing, file: str = "") -> str:
        """The key of a file of *release*, or what the keys of all begin with."""
        return self.version(release.manifest.name, release.manifest.version.pep440) + file

    def page(self, name: str) -> str:
        """The key of the page for people."""
        return self.release(name) + page.FILE

    def note(self, name: str, version: str, file: str) -> str:
        """The key of a statement about a published version."""
        return f"{self.release(name)}{version}.promotions/{file}"

    def below(self, key: str) -> str:
        """*key* without the prefix."""
        return key.removeprefix(f"{self.prefix}/") if self.prefix else key

    def file(self, rest: str) -> PurePosixPath:
        """The path of a file in a release folder, from the *rest* of its key behind the version.

        Raises :class:`VerificationError` for one that no release has: it could lead out of the folder.
        """
        if not all(statement.is_file_name(part) for part in rest.split("/")):
            raise VerificationError(f"not the name of a file of a release: {rest[:80]!r}", where=self.prefix)
        return PurePosixPath(rest)


def content_type(name: str) -> str:
    """The Content-Type of a file."""
    if PurePosixPath(name).name == sums.FILE:
        return "text/plain; charset=utf-8"
    return _TYPES.get(PurePosixPath(name).suffix, _OTHER)


def cache(name: str) -> str:
    """The Cache-Control of a file: nothing of a version ever changes, the page does."""
    return "no-cache" if PurePosixPath(name).name == page.FILE else "public, max-age=31536000, immutable"
