"""``release publish``: a verified release to its destinations, all of it or nothing, again and again."""

from __future__ import annotations

import difflib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from buildonce import project as projects
from buildonce import verification
from buildonce.errors import ConfigurationError, ReleaseError, SourceError, VerificationError
from buildonce.publishers import Outgoing, open_publisher
from buildonce.signing import sums
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buildonce.project import Project
    from buildonce.protocols import Progress
    from buildonce.publishers import Means, Parcel, Publisher
    from buildonce.signing.release import Verified

__all__ = ["Published", "chosen", "deliver", "outgoing", "planned", "publish"]

_STREAMS: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What one destination has, and what of it was (or would be) sent."""

    destination: str
    place: str
    parcels: tuple[Parcel, ...]
    use: tuple[str, ...] = ()  # the lines by which its users get it; none before it is there

    @property
    def sent(self) -> tuple[Parcel, ...]:
        """What was not there before."""
        return tuple(one for one in self.parcels if not one.there)

    @property
    def sent_bytes(self) -> int:
        """The size of what was not there before."""
        return sum(one.size for one in self.sent)


def publish(
    root: Path, folder: Path, to: Sequence[str], means: Means, *, dry_run: bool = False
) -> tuple[Published, ...]:
    """Bring the release in *folder* to the destinations *to* of the project in *root*.

    Every destination is asked before the first byte is sent to any. Raises :class:`ConfigurationError` for a
    destination that nobody configured, :class:`VerificationError` for a release that is not whole and signed or a
    version that is published with other bytes, and :class:`ReleaseError` naming all destinations that say no.
    """
    system = means.system
    publishers = chosen(projects.read(root), to, means)
    release = outgoing(folder, verification.verify(folder, means.trusted, system))
    system.progress.step(f"ask {', '.join(publishers)}")
    plans = planned(publishers, release)
    if dry_run:
        return plans
    return tuple(deliver(name, publisher, release, system.progress) for name, publisher in publishers.items())


def chosen(project: Project, to: Sequence[str], means: Means) -> dict[str, Publisher]:
    """The destinations *to* of *project*. Raises :class:`ConfigurationError` for one that nobody configured."""
    known = project.settings.publish
    unknown = [name for name in to if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        listed = f"configured: {', '.join(sorted(known))}" if known else "add [tool.release.publish.NAME] with its type"
        raise ConfigurationError(
            f"no destination is called {unknown[0]!r}",
            where="[tool.release.publish]",
            hint=f"did you mean {near[0]!r}?" if near else listed,
        )
    return {name: open_publisher(name, known[name], project, means) for name in dict.fromkeys(to)}


def outgoing(folder: Path, verified: Verified) -> Outgoing:
    """The *verified* release in *folder*, if its commit is one that others can have too."""
    if verified.manifest.source.dirty:
        raise SourceError(
            f"{verified.manifest.version.pep440} was built with local changes, which nobody else has",
            where=str(folder),
            hint="commit the changes and build again",
        )
    digest = files.sha256_file(folder / sums.FILE)
    return Outgoing(folder=folder, manifest=verified.manifest, files=verified.files, digest=digest)


def planned(publishers: dict[str, Publisher], release: Outgoing) -> tuple[Published, ...]:
    """What each destination lacks; what is wrong with all of them is said at once."""
    plans, refusals = [], []
    for name, publisher in publishers.items():
        try:
            plans.append(Published(destination=name, place=publisher.place, parcels=publisher.prepare(release)))
        except ReleaseError as error:
            refusals.append(error)
    if refusals:
        kind = VerificationError if any(isinstance(one, VerificationError) for one in refusals) else ReleaseError
        raise kind.of(tuple(problem for one in refusals for problem in one.problems)) from refusals[0]
    return tuple(plans)


def deliver(name: str, publisher: Publisher, release: Outgoing, progress: Progress) -> Published:
    """Bring *release* to one destination, which *name* names, and compare what it then has."""
    with publisher.alone():
        # Asked again: another publisher may have been there before.
        found = Published(destination=name, place=publisher.place, parcels=publisher.prepare(release))
        progress.step(f"publish to {name}: {len(found.sent)} of {len(found.parcels)}")
        _send(found, publisher, release, progress)
        publisher.reveal(release)
    progress.step(f"read back from {name}")
    publisher.read_back(release)
    return replace(found, use=publisher.use(release))


def _send(found: Published, publisher: Publisher, release: Outgoing, progress: Progress) -> None:
    done: dict[str, int] = {}

    def send(parcel: Parcel) -> None:
        def came(count: int) -> None:
            done[parcel.name] = count
            progress.advance(found.destination, min(sum(done.copy().values()), found.sent_bytes), found.sent_bytes)

        publisher.send(parcel, release, came)

    with ThreadPoolExecutor(_STREAMS) as pool:
        jobs = [pool.submit(send, parcel) for parcel in found.sent]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            publisher.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
