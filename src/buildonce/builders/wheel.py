"""The format "wheel": the project's own wheel, its sdist, and the wheelhouse: every wheel of one target.

The wheelhouse is a standard lock with its files (PEP 751, ``path = "wheels/…"``), the same as
``requirements.txt`` with hashes, and a program that installs it with nothing but Python
(``builders/wheel/install.py``). Wheels are carried as they are, byte for byte; a tar of them needs no
compression of its own.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import tarfile
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from packaging.metadata import parse_email
from packaging.utils import canonicalize_name

from buildonce import install, sdists, wheels
from buildonce.builders import _wheelhouse
from buildonce.builders._carried import carried as carried_by_wheel
from buildonce.errors import VerificationError
from buildonce.model import Artifact, ArtifactKind, Contents, Digest, Entry, Format
from buildonce.system import archive, files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from buildonce.protocols import Runner
    from buildonce.stage import Stage
    from buildonce.system.store import Store

__all__ = ["WheelBuilder"]

_CHUNK: Final = 1 << 20


class WheelBuilder:
    """See :class:`buildonce.builders.interface.Builder`."""

    format: Format = "wheel"
    kinds: tuple[ArtifactKind, ...] = ("wheel", "sdist", "wheelhouse")

    def build(self, stage: Stage, into: Path, runner: Runner) -> tuple[Artifact, ...]:  # noqa: ARG002
        """Copy the wheel and the sdist, and write the wheelhouse; nothing runs in the build root."""
        wheel = _copied(stage.own.path, into)
        sdist = _copied(stage.sdist, into)
        house, members = _write_wheelhouse(stage, into)
        return (
            _artifact("wheel", wheel, target=stage.own_target),
            _artifact("sdist", sdist, extras=_sdist_entries(stage.sdist)),
            _artifact("wheelhouse", house, target=stage.target.name, extras=members),
        )

    def read(
        self,
        artifact: Path,
        kind: ArtifactKind,
        *,
        name: str,
        interpreter: str,
        store: Store | None = None,
    ) -> Contents:
        """See :class:`buildonce.builders.interface.Builder`; *interpreter* says where modules go."""
        if kind == "sdist":
            return _read_sdist(artifact)
        prefix, minor = PurePosixPath("/opt/venvs") / name, _minor(interpreter, artifact)
        if kind == "wheel":
            facts = wheels.admit(artifact)
            entries = install.carried(artifact, prefix=prefix, python_minor=minor)
            return Contents(name=facts.name, version=facts.version, entries=entries)
        return _read_wheelhouse(artifact, prefix, minor, store)


def _copied(source: Path, into: Path) -> Path:
    """A copy in *into*; several targets may write the same one at the same time."""
    with files.scratch(into, "copy") as aside:
        files.copy_file(source, aside / source.name, mode=0o644)
        return (aside / source.name).replace(into / source.name)


def _artifact(kind: ArtifactKind, path: Path, *, target: str = "", extras: tuple[Entry, ...] = ()) -> Artifact:
    return Artifact(
        kind=kind,
        path=path,
        sha256=files.sha256_file(path),
        size=path.stat().st_size,
        target=target,
        extras=extras,
    )


def _write_wheelhouse(stage: Stage, into: Path) -> tuple[Path, tuple[Entry, ...]]:
    final = into / f"{stage.project.name}-{stage.version.pep440}-{stage.target.name}.wheelhouse.tar"
    members = _wheelhouse.members(stage)
    with files.scratch(into, "wheelhouse") as aside:
        with (aside / final.name).open("wb") as out:
            archive.write_tar(out, members)
        (aside / final.name).chmod(0o644)
        (aside / final.name).replace(final)
    known = {f"wheels/{wheel.filename}": wheel.sha256 for wheel in stage.wheelhouse.wheels}
    return final, tuple(
        Entry(
            path=member.path,
            mode=member.mode,
            size=member.size,
            sha256=known[member.path] if member.path in known else files.sha256_bytes(_bytes(member)),
        )
        for member in sorted(members, key=lambda m: m.path)
    )


def _bytes(member: archive.Member) -> bytes:
    with member.open() as stream:
        return stream.read()


def _minor(interpreter: str, artifact: Path) -> str:
    found = re.search(r"python(\d+\.\d+)$", interpreter)
    if found is None:
        raise VerificationError("where the modules of a wheel go follows from the target's Python", where=artifact.name)
    return found[1]


def _sdist_entries(path: Path) -> tuple[Entry, ...]:
    return tuple(sorted(entry for entry, _ in _sdist_files(path)))


def _sdist_files(path: Path) -> Iterator[tuple[Entry, bytes]]:
    """Every file and link of an sdist; with it the bytes of its PKG-INFO."""
    with sdists.items(path) as items:
        for item in items:
            if item.link:
                yield Entry(path=item.path, kind="link", mode=0o777, link=item.link), b""
            elif item.open is not None:
                with item.open() as stream:
                    data = stream.read() if _is_pkg_info(item.path) else b""
                    digest = files.sha256_bytes(data) if data else _digest(stream)
                yield Entry(path=item.path, mode=item.mode, size=item.size, sha256=digest), data


def _is_pkg_info(path: str) -> bool:
    return path.count("/") == 1 and path.endswith("/PKG-INFO")


def _digest(stream: IO[bytes]) -> Digest:
    state = hashlib.sha256()
    while piece := stream.read(_CHUNK):
        state.update(piece)
    return Digest(state.hexdigest())


def _read_sdist(path: Path) -> Contents:
    found = list(_sdist_files(path))
    told = [data for _, data in found if data]
    if len(told) != 1:
        raise VerificationError(f"an sdist has one PKG-INFO below its top folder, not {len(told)}", where=path.name)
    raw, _ = parse_email(told[0])
    return Contents(
        name=canonicalize_name(raw.get("name", "")),
        version=raw.get("version", ""),
        entries=tuple(sorted(entry for entry, _ in found)),
    )


def _read_wheelhouse(path: Path, prefix: PurePosixPath, minor: str, store: Store | None) -> Contents:
    carried: dict[str, bytes] = {}
    entries: list[Entry] = []
    try:
        with tarfile.open(path, "r:") as house:
            for member in house:
                entries.append(_member(house, member, {entry.path for entry in entries}, path.name))
                if member.name.startswith("wheels/"):
                    read = partial(_carried_by, house, member, path.name, prefix, minor)
                    entries += carried_by_wheel(store, entries[-1].sha256, read, prefix=prefix, python=minor)
                elif member.name in _wheelhouse.INDEXES:
                    with _opened(house, member, path.name) as stream:
                        carried[member.name] = stream.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise VerificationError(f"the wheelhouse cannot be read: {error}", where=path.name) from error
    held = {posixpath.basename(e.path): e.sha256 for e in entries if e.path.startswith("wheels/")}
    name, version = _wheelhouse.check_indexes(carried, held, where=path.name)
    return Contents(name=name, version=version, entries=tuple(sorted(entries)))


def _carried_by(
    house: tarfile.TarFile, member: tarfile.TarInfo, where: str, prefix: PurePosixPath, minor: str
) -> tuple[Entry, ...]:
    with _opened(house, member, where) as stream:
        return install.carried(stream, prefix=prefix, python_minor=minor)


def _member(house: tarfile.TarFile, member: tarfile.TarInfo, seen: set[str], where: str) -> Entry:
    parts = member.name.split("/")
    if not member.isreg() or member.name in seen or any(part in ("", ".", "..") for part in parts):
        raise VerificationError(f"the wheelhouse holds what it must not: {member.name!r}", where=where)
    with _opened(house, member, where) as stream:
        return Entry(path=member.name, mode=member.mode, size=member.size, sha256=_digest(stream))


def _opened(house: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> IO[bytes]:
    stream = house.extractfile(member)
    if stream is None:
        raise VerificationError(f"the wheelhouse holds no bytes for {member.name}", where=where)
    return stream
