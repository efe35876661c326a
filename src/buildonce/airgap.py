"""``release bundle DIR``: one file with all that a site without network needs to install a release.

The release itself, a ready apt repository, the packages of Debian that its debs need, a static package index, the
public keys and ``install.sh``, which verifies before it installs. ``BUNDLE`` lists every file with its sha256, in the
format of sha256sum(1), and is signed for gpgv, sqv and openssl. The bytes follow from the release, its lock and the
key: times are those of the commit.
"""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, cast
from urllib.parse import quote

from packaging.utils import parse_wheel_filename

from buildonce import bundling, dependencies, publishing, vault, verification
from buildonce import lock as locks
from buildonce import project as projects
from buildonce.debs import deb
from buildonce.destinations import AptDestination
from buildonce.publishers import AptPublisher
from buildonce.signing import openpgp, raw
from buildonce.suites import Repository, Suite
from buildonce.suites.packages import POOL
from buildonce.system import files, share
from buildonce.system.archive import Member, write_tar
from buildonce.system.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.publishers import Means, Outgoing
    from buildonce.signing import Key

__all__ = ["Carried", "make"]

LISTING: Final = "BUNDLE"
_APT: Final = AptDestination(type="apt", path="apt", suite="{codename}", valid_days=3650)
_LOGS: Final = "log"


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """The bundle of a release."""

    name: str
    version: str
    bundle: Path
    files: int
    size: int  # bytes of the bundle
    signer: str  # the key's name and fingerprint


def make(root: Path, folder: Path, out: Path | None, means: Means, *, os_packages: bool = True) -> Carried:
    """Bundle the release in *folder* into the file *out*, or into ``<name>-<version>.bundle.tar`` beside it.

    With *os_packages* also what its debs need of Debian, from the lock of the project in *root*. Raises
    :class:`buildonce.errors.VerificationError` for a release that is not whole and signed, and
    :class:`buildonce.errors.LockError` when that lock is not the one that it was built from.
    """
    progress = means.system.progress
    release = publishing.outgoing(folder, verification.verify(folder, means.trusted, means.system))
    said, key = release.manifest, means.key("")
    top = f"{said.name}-{said.version.pep440}"
    place = out or folder.parent / f"{top}.bundle.tar"
    progress.step(f"bundle {top}")
    with files.scratch(place.parent, place.name) as aside:
        members = [*_release(release), *_wheels(release, aside / "wheels"), *_keys(key), *_guide(release)]
        members += _repository(release, aside / "apt", means)
        if os_packages and release.of_kind("deb"):
            members += _os_packages(root, release, aside / "os", means)
        unfinished = aside / place.name
        listed = {member.path: member for member in members}
        with unfinished.open("wb") as stream:
            signed = (*listed.values(), *_signed(tuple(listed.values()), key, time=said.source.epoch))
            write_tar(cast("IO[bytes]", stream), [_in(top, member) for member in signed])
        unfinished.chmod(0o644)
        size = unfinished.stat().st_size
        unfinished.replace(place)
    return Carried(
        name=said.name,
        version=said.version.pep440,
        bundle=place,
        files=len(listed),
        size=size,
        signer=f"{key.public.name} ({key.public.keyid})",
    )


def _release(release: Outgoing) -> Iterator[Member]:
    for path in sorted(release.folder.rglob("*")):
        name = path.relative_to(release.folder)
        if path.is_file() and name.parts[0] != _LOGS:
            yield Member(path=f"release/{name}", source=path)


def _wheels(release: Outgoing, into: Path) -> Iterator[Member]:
    """Every wheel of every wheelhouse, and an index of them that pip and uv read from the disk (PEP 503)."""
    into.mkdir()
    found: dict[str, Path] = {}
    for archive in release.of_kind("wheelhouse"):
        with tarfile.open(archive) as opened:
            for member in opened:
                name = PurePosixPath(member.name).name
                if name.endswith(".whl") and name not in found:
                    found[name] = into / name
                    found[name].write_bytes(cast("IO[bytes]", opened.extractfile(member)).read())
    projects: dict[str, list[str]] = {}
    for name in sorted(found):
        yield Member(path=f"wheels/{name}", source=found[name])
        projects.setdefault(str(parse_wheel_filename(name)[0]), []).append(name)
    for project, names in projects.items():
        links = ((f"../../wheels/{quote(name)}#sha256={files.sha256_file(found[name])}", name) for name in names)
        yield _page(f"simple/{project}/index.html", links)
    if projects:
        yield _page("simple/index.html", ((f"{name}/", name) for name in projects))


def _page(path: str, links: Iterator[tuple[str, str]]) -> Member:
    rows = "".join(f'<a href="{escape(link)}">{escape(text)}</a><br>\n' for link, text in links)
    return Member(path=path, source=f"<!DOCTYPE html>\n<html>\n<body>\n{rows}</body>\n</html>\n".encode())


def _repository(release: Outgoing, root: Path, means: Means) -> Iterator[Member]:
    """The apt repository with the debs of the release, if it has any."""
    said = release.manifest
    if not release.of_kind("deb"):
        return
    root.mkdir()
    publisher = AptPublisher(root, _APT, means, clock=lambda: float(said.source.epoch))
    publishing.deliver("the bundle", publisher, release, means.system.progress)
    yield Member(path=f"apt/{said.name}.gpg", source=openpgp.certificate(means.key("")))
    yield from _below("apt", root)


def _below(name: str, repository: Path) -> Iterator[Member]:
    for part in ("dists", POOL):
        for path in sorted((repository / part).rglob("*")):
            if path.is_file():
                yield Member(path=f"{name}/{path.relative_to(repository)}", source=path)


def _os_packages(root: Path, release: Outgoing, into: Path, means: Means) -> Iterator[Member]:
    """A repository of its own: the pins of ours let nothing but the application come from there."""
    project, said, system = projects.read(root), release.manifest, means.system
    lock = locks.read(project)
    bundling.require_lock_of(said, lock)
    system = replace(system, vaults=vault.configured(project, system.net))
    into.mkdir()
    repository = Repository(Disk(into), system.host)
    for codename, packages in dependencies.of(said, release.folder, project, lock, system).items():
        system.progress.step(f"add {len(packages)} OS packages of {codename}")
        names = [_pooled(path, into) for path in packages]
        suite = Suite(
            name=codename,
            origin=f"{said.name}-os",
            packages=tuple(repository.scan(name) for name in names),
            days=_APT.valid_days,
        )
        repository.write(suite, means.key(""), now=said.source.epoch)
    yield from _below("os", into)


def _pooled(path: Path, root: Path) -> str:
    """Copy the package *path* into the pool of the repository *root*; answers where it is in there."""
    package = deb.read(path)
    file = f"{package.name}_{package.version.partition(':')[2] or package.version}_{package.architecture}.deb"
    place = f"{POOL}/{_APT.component}/{package.name[0]}/{package.name}/{file}"
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, root / place)
    return place


def _keys(key: Key) -> Iterator[Member]:
    public = key.public
    certificate = openpgp.certificate(key)
    texts = {"pub": public.pem, "allowed_signers": public.allowed_signer, "gpg": certificate}
    for suffix, data in texts.items():
        yield Member(path=f"keys/{public.name}.{suffix}", source=data)


def _guide(release: Outgoing) -> Iterator[Member]:
    """``install.sh`` and ``README.txt``, which say what this very bundle holds."""
    said = release.manifest
    rows = ((said.built(one.target).target, one.file) for one in said.artifacts if one.kind == "deb")
    debs = "\n".join(f"{target.codename} {target.architecture} {file}" for target, file in rows)
    facts = {"@name@": said.name, "@version@": said.version.pep440, "@debs@": debs}
    for name, mode in (("install.sh", 0o755), ("README.txt", 0o644)):
        text = share.path("recipes", "bundle", name).read_text("utf-8")
        for word, value in facts.items():
            text = text.replace(word, value)
        yield Member(path=name, source=text.encode(), mode=mode)


def _signed(members: tuple[Member, ...], key: Key, *, time: int) -> Iterator[Member]:
    rows = []
    for member in sorted(members, key=lambda one: one.path):
        with member.open() as stream:
            rows.append(f"{files.sha256_stream(stream)}  {member.path}\n")
    listing = "".join(rows).encode()
    yield Member(path=LISTING, source=listing)
    yield Member(path=f"{LISTING}.asc", source=openpgp.sign(key, listing, time=time))
    yield Member(path=f"{LISTING}.sig", source=raw.sign(key, listing))


def _in(top: str, member: Member) -> Member:
    return Member(path=f"{top}/{member.path}", source=member.source, mode=member.mode)
