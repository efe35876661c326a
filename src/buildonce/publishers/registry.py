"""Publishes images to a container registry: the bytes of the release's archives, signed for their new place.

A registry has no transactions, but an order: blobs and manifests that nothing names are seen by nobody; then the
signatures, which name a manifest; the version's tag comes last, so that whoever pulls by it finds all of it, signed. A
tag that is there for another manifest is never moved.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from buildonce.errors import ReleaseError, VerificationError
from buildonce.publishers import image_signing, images
from buildonce.publishers.shipping import Shipping
from buildonce.registry import Registry, Repository
from buildonce.signing.images import PREDICATES
from buildonce.system import files
from buildonce.system.net import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from buildonce.publishers.cargo import Cargo
    from buildonce.publishers.parcels import Outgoing, Parcel
    from buildonce.signing import Key, PublicKey
    from buildonce.system.net import Net

__all__ = ["RegistryPublisher", "explained", "locked", "require_signed"]

_READ_ONLY: Final = 405
_DENIED: Final = (401, 403, _READ_ONLY)


class RegistryPublisher:
    """See :class:`buildonce.publishers.Publisher`.

    *key* signs the images, *mount* are repositories of the same registry that may have some of their layers, *locks* is
    a folder of this user.
    """

    def __init__(
        self, repository: Repository, net: Net, *, key: Callable[[], Key], mount: Sequence[Repository], locks: Path
    ) -> None:
        self._repository, self._key, self._mount, self._locks = repository, key, mount, locks
        self._registry = Registry(repository, net)
        self._made: tuple[str, Cargo, Shipping] | None = None

    @property
    def place(self) -> str:
        """The repository, as ``oci://host/name``."""
        return str(self._repository)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See :func:`locked`."""
        with locked(self._repository, self._locks):
            yield

    def prepare(self, release: Outgoing) -> tuple[Parcel, ...]:
        """See :meth:`buildonce.publishers.Publisher.prepare`. Room is nothing that a registry can be asked for."""
        with explained(self._repository):
            self._registry.require_push()
            return self._shipping(release).parcels()

    def send(self, parcel: Parcel, release: Outgoing, came: Callable[[int], None]) -> None:
        """See :meth:`buildonce.publishers.Publisher.send`."""
        with explained(self._repository):
            self._shipping(release).send(parcel, came)

    def stop(self) -> None:
        """See :meth:`buildonce.publishers.Publisher.stop`."""
        self._registry.stop()

    def reveal(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.reveal`."""
        with explained(self._repository):
            self._shipping(release).reveal()

    def read_back(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.read_back`. The signatures are verified, in both forms."""
        with explained(self._repository):
            self._shipping(release).read_back()
            require_signed(self._registry, images.of(release), (self._key().public,))

    def _shipping(self, release: Outgoing) -> Shipping:
        if self._made is None or self._made[0] != release.digest:
            cargo = image_signing.signed(
                images.of(release),
                self._repository,
                self._key(),
                image_signing.predicates(release),
                epoch=release.manifest.source.epoch,
            )
            self._made = (release.digest, cargo, Shipping(self._registry, cargo, self._mount))
        return self._made[2]


def require_signed(registry: Registry, cargo: Cargo, trusted: Sequence[PublicKey]) -> None:
    """Raise :class:`VerificationError` unless *trusted* keys signed every image of *cargo* that is in *registry*.

    In both forms, with provenance and SBOM, and under each of its tags: a signed image that somebody gave the tag of
    another version does not pass.
    """
    tags = images.reached(cargo)
    for document in cargo.documents:
        found = image_signing.find(registry, document.digest, trusted)
        signed_as = {name.rpartition(":")[2] for name in found.names}
        lacks = [what for kind, what in PREDICATES.items() if kind not in found.predicates]
        lacks += [f"signature as {tag}" for tag in tags[document.digest] if tag not in signed_as]
        if lacks:
            raise VerificationError(
                f"the {document.title} has no {', no '.join(lacks)} by a trusted key",
                where=f"{registry.repository}@sha256:{document.digest}",
                hint="name the signer's public key with --key, or publish it again",
            )


@contextmanager
def locked(repository: Repository, locks: Path) -> Iterator[None]:
    """Be the only one on this machine who writes to *repository* (flock(2)).

    Registries have no lock. Of two machines that publish other bytes as one version at the same moment, the one whose
    tag was replaced learns it by reading back; registries that refuse to change a tag tell it at once.
    """
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / f"registry-{files.sha256_bytes(str(repository).encode())[:16]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def explained(repository: Repository) -> Iterator[None]:
    """Say what a registry's refusal means."""
    try:
        yield
    except RefusedError as error:
        if error.status not in _DENIED:
            raise
        problem = error.problems[0]
        hint = problem.hint if error.status != _READ_ONLY else "it is read-only now: ask whoever runs it"
        raise ReleaseError(f"this user may not: {problem.message}", where=str(repository), hint=hint) from error
