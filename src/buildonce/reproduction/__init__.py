"""``release reproduce``: build a release again from what it records, and compare every byte."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce import buildroot, manifest, provenance
from buildonce.errors import ReleaseError, SourceError
from buildonce.reproduction import checkout, comparing, inputs, published, rebuilding
from buildonce.signing import attestations, rebuilds
from buildonce.system import files, store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from buildonce.model import RunnerName
    from buildonce.provenance import Mode
    from buildonce.reproduction.comparing import Compared
    from buildonce.reproduction.published import Published
    from buildonce.signing import Key, PublicKey
    from buildonce.system import System

__all__ = ["Order", "Report", "reproduce"]

_PLACE: Final = ".reproduce."


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What the user asked to reproduce."""

    where: str  # a release's folder, its release.json, or the URL of either
    root: Path  # the current folder: relative names start here, and its repository is asked for the commit first
    source: str = ""  # the one repository to take the commit from: a folder or a URL
    trusted: Sequence[PublicKey]  # whose signature on the release counts
    key: Key | None = None  # attest the result with it
    mode: Mode = "workstation"  # the kind of machine this is
    vary: bool = False  # build under everything in `buildonce.variation` that this machine can do
    quick: bool = False  # take what was made before from the store: faster, and proves less
    keep: Path | None = None  # where rebuilt artifacts that differ are left
    runner: RunnerName = "auto"  # how programs are run in the build root
    limit: float = buildroot.LIMIT  # seconds that a step in it may take


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What came out."""

    name: str
    version: str  # PEP 440
    commit: str
    source: str  # the repository that the commit was taken from
    recipe: str  # names the inputs, which were equal
    files: tuple[Compared, ...]
    varied: tuple[str, ...] = ()  # what was different while building
    not_varied: tuple[str, ...] = ()  # what this machine cannot vary
    kept: Path | None = None  # the rebuilt artifacts that differ
    attestation: Path | None = None  # the statements of the rebuilder

    @property
    def identical(self) -> bool:
        """Whether every byte is the same."""
        return all(one.same for one in self.files)


def reproduce(order: Order, system: System) -> Report:
    """Build the release at ``order.where`` again and compare.

    Raises :class:`buildonce.errors.InputsDifferError` when it would be built from something else,
    :class:`VerificationError` when its signatures are wrong, :class:`SourceError` when its commit is gone, and
    whatever a build raises. That bytes differ is no error here: the report says it.
    """
    system.store.make_sure_it_can_be_written()
    with _workplace(system.store.root) as work:
        found = published.find(order.where, order.root, order.trusted, work / "published", system)
        said = found.verified.manifest
        _refuse(order, found)
        inputs.require_tools(said, order.where)
        clone = work / "checkout"
        project, source = checkout.make(said.source, clone, root=order.root, chosen=order.source, system=system)
        inputs.require_locks(said, project)
        inputs.require_targets(said, project)
        job = rebuilding.Job.of(said, clone=clone, work=work / "build", runner=order.runner, limit=order.limit)
        built = rebuilding.build(job, system, vary=order.vary, quick=order.quick)
        inputs.require_same(found.provenance, built.folder)
        compared = comparing.compare(found, built.folder, system)
        report = Report(
            name=said.name,
            version=said.version.pep440,
            commit=said.source.commit,
            source=source,
            recipe=provenance.recipe(found.provenance),
            files=compared,
            varied=built.varied,
            not_varied=built.not_varied,
        )
        if not report.identical:
            place = order.keep or system.store.root / "reproduce" / f"{said.name}-{said.version.pep440}"
            return replace(report, kept=comparing.keep(compared, found, built.folder, place, system))
        return replace(report, attestation=_attest(order, found)) if order.key else report


def _refuse(order: Order, found: Published) -> None:
    """Raise what makes the long work useless."""
    said = found.verified.manifest
    if said.source.dirty:
        raise SourceError(
            "the release holds changes that were never committed, so nobody can build it again",
            where=order.where,
            hint="commit them, `release build` without --allow-dirty, and reproduce that",
        )
    if order.key is None:
        return
    if order.key.public in found.verified.releasers:
        raise ReleaseError(
            f"{order.key.name} signed the release itself: its rebuild is nobody else's word",
            where=order.where,
            hint="attest with the key of another person or machine: --key FILE (`release key new`)",
        )
    if not found.url and not os.access(found.folder, os.W_OK):
        raise ReleaseError(
            "no attestation can be written there",
            where=str(found.folder),
            hint="copy the release to a folder of yours, or leave out --sign",
        )


def _attest(order: Order, found: Published) -> Path:
    """Write the rebuilder's statements: into the release, or for one on a server, into a folder to be sent there."""
    assert order.key is not None  # noqa: S101
    said = found.verified.manifest
    release = order.root / f"{said.name}-{said.version.pep440}" if found.url else found.folder
    final = release / attestations.PLACE / order.key.public.folder
    final.parent.mkdir(parents=True, exist_ok=True)
    with files.scratch(release.parent, "attest") as aside:
        for name in (manifest.FILE, provenance.FILE, attestations.SBOM):
            shutil.copyfile(found.folder / name, aside / name)
        files.replace_folder(rebuilds.write(aside, said, order.key, order.mode), final)
    return final


@contextlib.contextmanager
def _workplace(root: Path) -> Iterator[Path]:
    """A folder on the disk of the store *root*, gone afterwards with all that build roots have in them."""
    for abandoned in root.glob(f"{_PLACE}*"):  # by a run that was killed: nobody holds its lock
        with _held(abandoned) as free:
            if free:
                store.remove(abandoned)
    new = Path(tempfile.mkdtemp(prefix=".new.", dir=root))
    new.chmod(0o755)
    work = root / f"{_PLACE}{new.suffix[1:]}"
    try:
        with _held(new):  # before it has a name that another run would look at
            yield new.rename(work)
    finally:
        store.remove(work)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold the lock of *folder*; answers whether nobody else does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)
