"""The format "deb": a Debian package, made by dh-virtualenv in the build root, that holds the Tree.

``dpkg-buildpackage`` runs a rendered ``debian/`` (``builders/deb``); dh_virtualenv makes the venv and calls
``lay.py`` in place of pip, which puts the Tree into it. Depends come from dpkg-shlibdeps over the ELF files.
Reference: Debian Policy, deb(5).
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from buildonce.builders import _deb_skeleton as skeleton
from buildonce.debs import deb
from buildonce.errors import BuildError, VerificationError
from buildonce.model import Artifact, ArtifactKind, Bind, Command, Contents, Digest, Entry, Format
from buildonce.oci import needs
from buildonce.system import canonical, files, share

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from buildonce.protocols import Runner
    from buildonce.stage import Stage
    from buildonce.system.store import Store

__all__ = ["DebBuilder"]

_BUILD: Final = PurePosixPath("/build/work")
_TREE: Final = PurePosixPath("/build/tree")
_CHUNK: Final = 1 << 20


class DebBuilder:
    """Makes and reads ``<name>_<version>_<architecture>.deb``."""

    format: Format = "deb"
    kinds: tuple[ArtifactKind, ...] = ("deb",)

    def build(self, stage: Stage, into: Path, runner: Runner) -> tuple[Artifact, ...]:
        """Write the deb into *into*. The package's time is the commit's; its bytes depend on the stage alone.

        Raises :class:`BuildError` with the end of the log when a step of the packaging fails, and
        :class:`buildonce.errors.ConfigurationError` for a name or a port that a Debian package cannot have.
        """
        skeleton.check(stage)
        carried = skeleton.carried(stage)
        final = into / _file_name(stage)
        with files.scratch(into, "deb") as work:
            skeleton.write(stage, carried, work / "src")
            _package(stage, work, runner)
            made = work / final.name
            if not made.is_file():
                raise BuildError(f"dpkg-buildpackage did not make {final.name}", where="deb")
            made.chmod(0o644)
            made.replace(final)
        control = tuple(_control(deb.read(final)))
        return (
            Artifact(
                kind="deb",
                path=final,
                sha256=files.sha256_file(final),
                size=final.stat().st_size,
                target=stage.target.name,
                extras=tuple(sorted((*skeleton.entries(carried), *control))),
            ),
        )

    def read(
        self,
        artifact: Path,
        kind: ArtifactKind,  # noqa: ARG002
        *,
        name: str,  # noqa: ARG002
        interpreter: str,  # noqa: ARG002
        store: Store | None = None,  # noqa: ARG002
    ) -> Contents:
        """Every file and link of the package with its mode, and its control files below ``DEBIAN/``.

        Raises :class:`VerificationError` when it is no package, or has folders or owners as ours never do.
        """
        package = deb.read(artifact)
        found = [*_control(package), *_data(package)]
        return Contents(name=package.name, version=package.version, entries=tuple(sorted(found)))


def _file_name(stage: Stage) -> str:
    """Policy 5.6.1: the epoch of a version is not part of the file's name."""
    version = stage.version.deb(stage.target).partition(":")
    return f"{stage.project.name}_{version[2] or version[0]}_{stage.target.architecture}.deb"


def _package(stage: Stage, work: Path, runner: Runner) -> None:
    """Run dpkg-buildpackage in *work*. What dpkg-shlibdeps said about the same ELF files, in the same root, is used
    again: asking takes as long as all other steps.
    """
    log = stage.path.parent / "log" / f"deb-{stage.target.name}.log"
    shlibs = work / "src" / "debian" / "shlibs"

    def ask(folder: Path) -> None:
        runner.run(_command(stage, work), log=log)
        files.copy_file(shlibs, folder / shlibs.name)

    known = stage.store.folder("deb-shlibs", _linked(stage), ask) / shlibs.name
    if not shlibs.exists():
        files.copy_file(known, shlibs)
        runner.run(_command(stage, work), log=log)


def _linked(stage: Stage) -> Digest:
    """All that dpkg-shlibdeps looks at: the Tree's ELF files at their places, and the packages of the root."""
    linked = [[e.path, e.sha256] for e in needs.linked(stage.tree.entries, stage.tree_root)]
    packages = sorted(pin.file.sha256 for pin in stage.debs)
    rules = files.sha256_file(share.path("builders", "deb", "debian", "rules"))
    return files.sha256_bytes(canonical.dump([rules, str(stage.prefix), linked, packages]))


def _command(stage: Stage, work: Path) -> Command:
    # -b -d -nc: binary only, build dependencies are the root's, nothing to clean in a new folder.
    # Nothing after "binary": .changes and .buildinfo serve uploads to an archive.
    return Command(
        argv=("dpkg-buildpackage", "-b", "-us", "-uc", "-d", "-nc", "--rules-target=binary"),
        cwd=f"{_BUILD}/src",
        environment=(("SOURCE_DATE_EPOCH", str(stage.source.epoch)), ("TREE", str(_TREE))),
        binds=(
            Bind(source=work, target=_BUILD, writable=True),
            Bind(source=stage.tree_root, target=_TREE),
        ),
    )


def _control(package: deb.Deb) -> Iterator[Entry]:
    """The control files as they are: debhelper writes most of them, so they are recorded, not foretold."""
    for name, data in package.controls.items():
        yield Entry(path=f"DEBIAN/{name}", size=len(data), sha256=files.sha256_bytes(data))


def _data(package: deb.Deb) -> Iterator[Entry]:
    for member, stream in package.members():
        if member.owner or member.group:
            raise _wrong(package, f"{member.path} belongs to user {member.owner}, group {member.group}")
        match member.kind:
            case "folder":
                if member.mode != 0o755:
                    raise _wrong(package, f"the folder {member.path} has mode {member.mode:04o}")
            case "link":
                yield Entry(path=member.path, kind="link", mode=0o777, link=member.link)
            case "file":
                yield Entry(path=member.path, mode=member.mode, size=member.size, sha256=_sha256(stream))
            case "hardlink":
                raise _wrong(package, f"{member.path} is a hard link")


def _sha256(stream: IO[bytes]) -> Digest:
    digest = hashlib.sha256()
    while piece := stream.read(_CHUNK):
        digest.update(piece)
    return Digest(digest.hexdigest())


def _wrong(package: deb.Deb, reason: str) -> VerificationError:
    return VerificationError(
        f"{package.path.name} holds what its builder never makes: {reason}", where=str(package.path)
    )
