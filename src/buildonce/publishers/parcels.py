"""What is sent to a destination: values that every publisher and the pipeline share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from buildonce.manifest import Manifest
    from buildonce.model import ArtifactKind, Digest
    from buildonce.signing import Key, PublicKey
    from buildonce.system import System

__all__ = ["Means", "Outgoing", "Parcel", "require_same"]

_LOGS: Final = "log"  # nobody signed them


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What publishers work with beside the release."""

    system: System
    key: Callable[[str], Key]  # the signing key in that file; for "" the one that signs releases
    trusted: tuple[PublicKey, ...]  # whose signatures count


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A verified release on its way: its folder, and what the signed documents say of it."""

    folder: Path
    manifest: Manifest
    files: Mapping[str, Digest]  # what SHA256SUMS lists
    digest: Digest  # of SHA256SUMS: names these very bytes

    def sent(self) -> tuple[Path, ...]:
        """The files that a destination for whole releases has: all but the logs, artifacts first."""
        found = [path for path in self.folder.rglob("*") if path.is_file()]
        return tuple(
            sorted(
                (path for path in found if path.relative_to(self.folder).parts[0] != _LOGS),
                key=lambda path: (path.name not in self.files, str(path)),
            )
        )

    def of_kind(self, *kinds: ArtifactKind) -> tuple[Path, ...]:
        """The files of the artifacts of these *kinds*, in the manifest's order."""
        return tuple(self.folder / one.file for one in self.manifest.artifacts if one.kind in kinds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcel:
    """One thing that has to be at the destination: a file of the release, or one that is made of it.

    ``name`` is how the destination calls it. ``there`` is whether it has these bytes already.
    """

    name: str
    sha256: Digest
    size: int
    there: bool
    path: Path | None = None
    data: bytes = b""  # the bytes, when there is no file of them


def require_same(found: str, expected: Digest, *, where: str) -> None:
    """Raise :class:`VerificationError` unless what is published at *where* has the sha256 *expected*."""
    if found != expected:
        raise VerificationError(
            f"published are other bytes: their sha256 is {found}, here it is {expected}",
            where=where,
            hint="what is published is never replaced: release another version",
        )
