"""Publishers: how a release gets to a destination. All keep the same promises, and pass the same tests.

Nothing of a release is to be seen before all of it is there; doing it again changes nothing; other bytes under a
published version are an error, and what is there is never written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from buildonce.destinations import (
    AptDestination,
    FolderDestination,
    IndexDestination,
    RegistryDestination,
    S3Destination,
)
from buildonce.publishers.apt import DOCUMENTS, AptPublisher
from buildonce.publishers.folder import FolderPublisher
from buildonce.publishers.index import IndexPublisher, PackageIndex
from buildonce.publishers.parcels import Means, Outgoing, Parcel
from buildonce.publishers.registry import RegistryPublisher
from buildonce.publishers.s3 import S3Publisher

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from buildonce.destinations import Destination
    from buildonce.project import Project
    from buildonce.protocols import Progress

__all__ = [
    "DOCUMENTS",
    "AptPublisher",
    "Drawing",
    "FolderPublisher",
    "IndexPublisher",
    "Means",
    "Outgoing",
    "Parcel",
    "Publisher",
    "RegistryPublisher",
    "S3Publisher",
    "Shelf",
    "open_publisher",
]


class Publisher(Protocol):
    """One destination.

    Every method raises :class:`buildonce.errors.ReleaseError` when the destination fails or says no.
    """

    @property
    def place(self) -> str:
        """Where it is, without credentials."""
        ...

    def prepare(self, release: Outgoing) -> tuple[Parcel, ...]:
        """Make sure of access and room, and say what has to be there, in the order in which it is sent.

        Changes nothing. Raises :class:`buildonce.errors.VerificationError` when other bytes are published there.
        """
        ...

    def alone(self) -> AbstractContextManager[None]:
        """While the context is open no other publisher writes there, where two could harm each other."""
        ...

    def send(self, parcel: Parcel, release: Outgoing, came: Callable[[int], None]) -> None:
        """Bring one parcel of *release*, which nobody sees yet. *came* hears how many of its bytes were sent."""
        ...

    def stop(self) -> None:
        """End every :meth:`send` that is under way, in whatever thread: nobody waits for it any more."""
        ...

    def reveal(self, release: Outgoing) -> None:
        """Let all that was sent be seen, at once; when it is already, change nothing."""
        ...

    def read_back(self, release: Outgoing) -> None:
        """Fetch what is published as its users do, and compare.

        Raises :class:`buildonce.errors.VerificationError` for other bytes.
        """
        ...

    def use(self, release: Outgoing) -> tuple[str, ...]:
        """The lines by which users of the destination get *release*, once it is there."""
        ...


@runtime_checkable
class Shelf(Publisher, Protocol):
    """A destination from which a release can be taken to another one."""

    def collect(self, name: str, version: str, into: Path) -> None:
        """Bring the documents and the artifacts of a published release into the new folder *into*.

        Raises :class:`buildonce.errors.ReleaseError` when it is not published there.
        """
        ...

    def note(self, name: str, version: str, file: str, data: bytes) -> str:
        """Keep *data*, a statement about a published release, beside it as *file*; answers where.

        Answers "" and changes nothing when there is one.
        """
        ...


@runtime_checkable
class Drawing(Publisher, Protocol):
    """A destination that can take a release from another one without this machine."""

    def draw(self, source: Publisher, release: Outgoing, progress: Progress) -> tuple[Parcel, ...] | None:
        """Have what *source* has of *release*, of which this machine may have no more than the documents; compared
        before and after. Answers as :meth:`prepare` does, before anything moved; None when these two cannot do that.

        Raises :class:`buildonce.errors.VerificationError` when one of them has other bytes.
        """
        ...


def open_publisher(name: str, destination: Destination, project: Project, means: Means) -> Publisher:
    """The publisher for *destination*, which *project* calls *name*. Nothing is touched yet."""
    match destination:
        case FolderDestination():
            return FolderPublisher((project.root / destination.path).expanduser().resolve())
        case AptDestination():
            return AptPublisher((project.root / destination.path).expanduser().resolve(), destination, means)
        case IndexDestination():
            index = PackageIndex(name, destination, means.system.net)
            return IndexPublisher(index, project.distribution, means.system.progress)
        case RegistryDestination():
            return RegistryPublisher(destination, means)
        case S3Destination():
            return S3Publisher(destination, means)
