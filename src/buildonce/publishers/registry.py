"""Publishes images to a container registry: the bytes of the release's archives, signed for their new place.

A registry has no transactions, but an order: blobs and manifests that nothing names are seen by nobody; then the
signatures, which name a manifest; the version's tag comes last, so that whoever pulls by it finds all of it, signed. A
tag that is there for another manifest is never moved.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from dataclasses import dataclass
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

    from buildonce.destinations import RegistryDestination
    from buildonce.model import Digest
    from buildonce.publishers.cargo import Cargo
    from buildonce.publishers.parcels import Means, Outgoing, Parcel
    from buildonce.signing import PublicKey
    from buildonce.system.store import Store

__all__ = ["RegistryPublisher", "explained", "locked", "pulls", "require_signed"]

_READ_ONLY: Final = 405
_DENIED: Final = (401, 403, _READ_ONLY)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """A release ready to be shipped."""

    release: Digest
    key: PublicKey
    images: Cargo  # without signatures
    shipping: Shipping


class RegistryPublisher:
    """See :class:`buildonce.publishers.Publisher`.

    The key that signs releases signs the images.
    """

    def __init__(self, destination: RegistryDestination, means: Means) -> None:
        self.repository = Repository.parse(destination.image)
        self._mount = [Repository.parse(one) for one in destination.mount]
        self._means = means
        self._registry = Registry(self.repository, means.system.net)
        self._made: _Made | None = None

    @property
    def place(self) -> str:
        """The repository, as ``oci://host/name``."""
        return str(self.repository)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See :func:`locked`."""
        with locked(self.repository, self._means.system.store):
            yield

    def prepare(self, release: Outgoing) -> tuple[Parcel, ...]:
        """See :meth:`buildonce.publishers.Publisher.prepare`. Room is nothing that a registry can be asked for."""
        with explained(self.repository):
            self._registry.require_push()
            return self._shipping(release).parcels()

    def send(self, parcel: Parcel, release: Outgoing, came: Callable[[int], None]) -> None:
        """See :meth:`buildonce.publishers.Publisher.send`."""
        with explained(self.repository):
            self._shipping(release).send(parcel, came)

    def stop(self) -> None:
        """See :meth:`buildonce.publishers.Publisher.stop`."""
        self._registry.stop()

    def reveal(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.reveal`."""
        with explained(self.repository):
            self._shipping(release).reveal()

    def read_back(self, release: Outgoing) -> None:
        """See :meth:`buildonce.publishers.Publisher.read_back`. The signatures are verified, in both forms."""
        with explained(self.repository):
            self._shipping(release).read_back()
            made = self._signed(release)
            require_signed(self._registry, made.images, (made.key,))

    def use(self, release: Outgoing) -> tuple[str, ...]:
        """See :meth:`buildonce.publishers.Publisher.use`."""
        return pulls(self.repository, self._signed(release).images)

    def _shipping(self, release: Outgoing) -> Shipping:
        return self._signed(release).shipping

    def _signed(self, release: Outgoing) -> _Made:
        """*release* ready to be shipped; signed once, with the archives opened once."""
        if self._made is None or self._made.release != release.digest:
            key, found = self._means.key(""), images.of(release)
            said = image_signing.predicates(release, self._means.trusted)
            cargo = image_signing.signed(found, self.repository, key, said, epoch=release.manifest.source.epoch)
            shipping = Shipping(self._registry, cargo, self._mount)
            self._made = _Made(release=release.digest, key=key.public, images=found, shipping=shipping)
        return self._made


def pulls(repository: Repository, cargo: Cargo) -> tuple[str, ...]:
    """The lines that pull the images of *cargo* by digest, each with its shortest tag; none for those in an index."""
    inside = {child for document in cargo.documents for child in images.children(document)}
    tags = {tag.document.digest: tag.name for tag in cargo.tags if tag.document.digest not in inside}
    place = f"{repository.host}/{repository.name}"
    return tuple(f"docker pull {place}@sha256:{digest}  # {tag}" for digest, tag in tags.items())


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
def locked(repository: Repository, store: Store) -> Iterator[None]:
    """Be the only one on this machine who writes to *repository* (flock(2)), by a file in the user's *store*.

    Registries have no lock. Of two machines that publish other bytes as one version at the same moment, the one whose
    tag was replaced learns it by reading back; registries that refuse to change a tag tell it at once.
    """
    store.make_sure_it_can_be_written()
    locks = store.root / "publishing"
    locks.mkdir(exist_ok=True)
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
