"""Destinations for the contract of all publishers: each with a way to see what its users see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from buildonce.publishers import FolderPublisher

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.publishers import Outgoing, Publisher

__all__ = ["FolderSite", "Site"]


class Site(Protocol):
    """One destination, empty at first."""

    def publisher(self) -> Publisher:
        """A publisher as a new process has it."""
        ...

    def seen(self, release: Outgoing) -> dict[str, str]:
        """Every file of *release* that users of the destination see, with the sha256 of what they get."""
        ...

    def expected(self, release: Outgoing) -> dict[str, str]:
        """What they have to see when all is published."""
        ...

    def state(self) -> object:
        """All that is stored: equal when nothing was changed."""
        ...

    def spoil(self, release: Outgoing) -> None:
        """Change a byte of what is published."""
        ...


@dataclass(frozen=True)
class FolderSite:
    """A folder on this disk."""

    root: Path

    def publisher(self) -> Publisher:
        self.root.mkdir(exist_ok=True)
        return FolderPublisher(self.root)

    def seen(self, release: Outgoing) -> dict[str, str]:
        return _digests(self._version(release))

    def expected(self, release: Outgoing) -> dict[str, str]:
        return {name: one for name, one in _digests(release.folder).items() if not name.startswith("log/")}

    def state(self) -> object:
        return [(str(path), path.stat().st_mtime_ns) for path in sorted(self.root.rglob("*")) if path.is_file()]

    def spoil(self, release: Outgoing) -> None:
        path = self._version(release) / next(iter(release.files))
        path.write_bytes(path.read_bytes() + b"!")

    def _version(self, release: Outgoing) -> Path:
        return self.root / release.manifest.name / release.manifest.version.pep440


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
