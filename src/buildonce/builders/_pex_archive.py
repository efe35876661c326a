"""Reads the archive that a pex is: its members, its wheels and PEX-INFO. Trusts nothing but the bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile, ZipFile

from buildonce import install
from buildonce.errors import VerificationError
from buildonce.model import Digest, Entry
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO
    from zipfile import ZipInfo

__all__ = ["INFO", "SHEBANG", "WHEELS", "carried", "check_wheels", "info", "members", "opened"]

WHEELS: Final = ".deps/"
INFO: Final = "PEX-INFO"
SHEBANG: Final = "#!"  # what stands before the archive, listed under this name
_MOST_INFO_BYTES: Final = 16 << 20


def check_wheels(info: dict[str, Any], found: list[Entry], artifact: Path) -> None:
    """PEX-INFO's digests are those of the wheels that are there, no more and no fewer."""
    there = {e.path.removeprefix(WHEELS): e.sha256 for e in found if e.path.startswith(WHEELS)}
    said = info.get("distributions")
    if not info.get("deps_are_wheel_files") or not isinstance(said, dict):
        raise _wrong(artifact, "it does not carry its wheels as they are")
    for name in sorted(said.keys() | there.keys()):
        if said.get(name) != there.get(name):
            raise _wrong(artifact, f"the wheel {name} is not the one that PEX-INFO tells of")


@contextlib.contextmanager
def opened(artifact: Path) -> Iterator[ZipFile]:
    """The archive; what zip and zlib say about broken bytes becomes a :class:`VerificationError`."""
    try:
        with ZipFile(artifact) as archive:
            yield archive
    except (
        BadZipFile,
        KeyError,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        zlib.error,
    ) as error:
        raise _wrong(artifact, str(error)) from error


def info(archive: ZipFile, artifact: Path) -> dict[str, Any]:
    """PEX-INFO: the file in which a pex says what it is."""
    if archive.getinfo(INFO).file_size > _MOST_INFO_BYTES:
        raise _wrong(artifact, "its PEX-INFO is too large")
    try:
        found = json.loads(archive.read(INFO))
    except ValueError as error:
        raise _wrong(artifact, "its PEX-INFO is not JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("build_properties", {}), dict):
        raise _wrong(artifact, "its PEX-INFO is of another form")
    return found


def members(archive: ZipFile, artifact: Path) -> Iterator[Entry]:
    """Every member, and the bytes before the archive. No two of one name: programs read them differently."""
    with artifact.open("rb") as stream:
        first = stream.read(min((member.header_offset for member in archive.infolist()), default=0))
    yield Entry(path=SHEBANG, mode=0o755, size=len(first), sha256=files.sha256_bytes(first))
    names: set[str] = set()
    for member in archive.infolist():
        if member.filename in names:
            raise _wrong(artifact, f"{member.filename} is in it twice")
        names.add(member.filename)
        if not member.is_dir():
            yield _entry(archive, member)


def _entry(archive: ZipFile, member: ZipInfo) -> Entry:
    with archive.open(member) as stream:
        digest = hashlib.file_digest(_readable(stream), "sha256").hexdigest()
    mode = (member.external_attr >> 16) & 0o7777
    return Entry(path=member.filename, mode=mode, size=member.file_size, sha256=Digest(digest))


def _readable(stream: IO[bytes]) -> Any:
    """typeshed wants more of a file than hashlib does."""
    return stream


def carried(archive: ZipFile, wheel: str, *, prefix: PurePosixPath, python_minor: str) -> tuple[Entry, ...]:
    """What an embedded wheel installs. Through a file: seeking in a zip's member reads it from its start."""
    with tempfile.TemporaryDirectory(prefix="buildonce-") as folder:
        path = Path(folder, PurePosixPath(wheel).name)
        with archive.open(WHEELS + wheel) as stream, path.open("wb") as out:
            shutil.copyfileobj(stream, out)
        return install.carried(path, prefix=prefix, python_minor=python_minor)


def _wrong(artifact: Path, reason: str) -> VerificationError:
    return VerificationError(f"{artifact.name} is not a sound pex: {reason}", where=str(artifact))
