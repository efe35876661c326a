"""``release promote``: the same bytes from one destination to another, verified in between, and who did it when.

Nothing is built or packed again. What the first destination has is taken from there, not from this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from buildonce import project as projects
from buildonce import publishing, statement, verification
from buildonce import version as versions
from buildonce.errors import ConfigurationError
from buildonce.publishers import Drawing, RegistryPublisher, Shelf, registry_promotion
from buildonce.publishing import Published
from buildonce.signing import bundle, dsse
from buildonce.system import files

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.protocols import Progress
    from buildonce.publishers import Means, Outgoing, Publisher
    from buildonce.signing import Key

__all__ = ["Promoted", "promote"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Promoted:
    """A version that another destination has now."""

    name: str
    version: str
    source: str
    published: Published
    signer: str  # of the record
    record: str  # where it is; "" when it was recorded before


def promote(
    root: Path, version: str, means: Means, *, source: str, target: str, user: str, dry_run: bool = False
) -> Promoted:
    """Bring *version* of the project in *root* from its destination *source* to *target*, for *user*.

    Raises :class:`ConfigurationError` when one of them is not configured or cannot take part,
    :class:`buildonce.errors.VerificationError` when what *source* has is not as it was signed, or *target* has other
    bytes under that version.
    """
    project = projects.read(root)
    publishers = publishing.chosen(project, (source, target), means)
    here, there = publishers[source], publishers[target]
    if source == target:
        raise ConfigurationError(f"{source!r} is both where it is and where it goes", where="--to")
    if isinstance(here, RegistryPublisher) and isinstance(there, RegistryPublisher):
        return _images(project.name, version, here, there, means, names=(source, target), user=user, dry_run=dry_run)
    if not isinstance(here, Shelf) or not isinstance(there, Shelf):
        raise ConfigurationError(
            f"a release cannot be promoted from {source!r} to {target!r}", where="[tool.release.publish]"
        )
    progress = means.system.progress
    with files.scratch(means.system.store.root, "promote") as aside:
        folder = aside / f"{project.name}-{version}"
        progress.step(f"take {project.name} {version} from {source}")
        here.collect(project.name, version, folder)
        release = _verified(folder, means)
        if dry_run:
            plan = publishing.planned({target: there}, release)[0]
            return _promoted(release, source, plan, "", "")
        published = _brought(target, here, there, release, progress)
        key = means.key("")
        said = _record(project.name, release.manifest.version.pep440, here, there, user)
        data = bundle.write(dsse.sign(key, statement.make(statement.PROMOTION, release.files, said)))
        place = there.note(project.name, version, f"{source}-{target}.sigstore.json", data)
        return _promoted(release, source, published, _signer(key) if place else "", place)


def _brought(name: str, here: Shelf, there: Shelf, release: Outgoing, progress: Progress) -> Published:
    drawn = there.draw(here, release, progress) if isinstance(there, Drawing) else None
    if drawn is None:
        return publishing.deliver(name, there, release, progress)
    return Published(destination=name, place=there.place, parcels=drawn, use=there.use(release))


def _verified(folder: Path, means: Means) -> Outgoing:
    """What was taken: whole, or the documents with those artifacts that such a destination has."""
    documents = verification.signed(folder, means.trusted, whole=False)
    if all((folder / one.file).exists() for one in documents.manifest.artifacts):
        return publishing.outgoing(folder, verification.verify(folder, means.trusted, means.system))
    verification.require_digests(folder, documents)
    return publishing.outgoing(folder, documents)


def _images(
    name: str,
    version: str,
    here: RegistryPublisher,
    there: RegistryPublisher,
    means: Means,
    *,
    names: tuple[str, str],
    user: str,
    dry_run: bool,
) -> Promoted:
    """The same for images: a registry has no other documents than those that refer to them, and no other record."""
    spelled, key = versions.spell(version), means.key("")
    said = _record(name, spelled.pep440, here, there, user)
    moved = registry_promotion.promote(
        spelled.oci, here.repository, there.repository, means, key=key, record=said, dry_run=dry_run
    )
    published = Published(destination=names[1], place=there.place, parcels=moved.parcels, use=moved.use)
    recorded = bool(published.sent) and not dry_run
    return Promoted(
        name=name,
        version=spelled.pep440,
        source=names[0],
        published=published,
        signer=_signer(key) if recorded else "",
        record=f"{there.place}:{spelled.oci}" if recorded else "",
    )


def _record(name: str, version: str, here: Publisher, there: Publisher, user: str) -> dict[str, str]:
    now = datetime.now(UTC)  # noqa: TID251 - when it happened is what the record is about
    return {
        "name": name,
        "version": version,
        "from": here.place,
        "to": there.place,
        "by": user,
        "on": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _signer(key: Key) -> str:
    return f"{key.public.name} ({key.public.keyid})"


def _promoted(release: Outgoing, source: str, published: Published, signer: str, record: str) -> Promoted:
    return Promoted(
        name=release.manifest.name,
        version=release.manifest.version.pep440,
        source=source,
        published=published,
        signer=signer,
        record=record,
    )
