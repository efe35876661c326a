"""Canonical wheels and sdists: bytes that follow from the content alone, whichever backend made them.

Backends differ in what they let through: umask, file times, the order of a folder, the time in a gzip header.
One rule is applied to the result of every backend, so that none has to be trusted or known.

Members of a wheel are deflated with libdeflate, which is pinned, and not with the zlib of the machine (zlib,
zlib-ng and ISA-L write different bytes). See ``docs/decisions`` for the measurement behind "deflated, not
stored".

Formats: the binary distribution format (packaging.python.org), PEP 491 (build tag, RECORD), PEP 625 and PEP
721 (sdist), APPNOTE 6.3 (zip), POSIX pax (tar).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import stat
import zipfile
from typing import TYPE_CHECKING, Final

from buildonce import sdists
from buildonce.errors import VerificationError
from buildonce.system import archive, compress, files
from buildonce.system.archive import Member
from buildonce.system.zipped import write_deflated_zip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["sdist", "wheel"]

_SIGNATURES: Final = ("RECORD.jws", "RECORD.p7s")  # of the RECORD before; worthless for the one written here


def wheel(path: Path, into: Path, *, build_tag: str = "") -> Path:
    """Write the canonical form of the wheel *path* into the folder *into* and answer its path.

    Sorted members with ``.dist-info`` last, all of 1980, 0644 or 0755, RECORD made anew and sorted. A
    *build_tag* (such as ``1deb12``) goes into the file name and ``WHEEL``. Raises :class:`VerificationError`
    when *path* is not a wheel.
    """
    name = _tagged(path.name, build_tag)
    try:
        members = _members(path)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        raise VerificationError(f"not a wheel: {error}", where=path.name) from error
    info = _dist_info(members, path.name)
    if build_tag:
        old, mode = members[f"{info}/WHEEL"]
        members[f"{info}/WHEEL"] = (_with_build(old, build_tag), mode)
    for signature in _SIGNATURES:
        members.pop(f"{info}/{signature}", None)
    members[f"{info}/RECORD"] = (_record(members, f"{info}/RECORD"), 0o644)
    order = sorted(members, key=lambda member: (member.startswith(f"{info}/"), member == f"{info}/RECORD", member))
    into.mkdir(parents=True, exist_ok=True)
    write_deflated_zip(into / name, (Member(path=m, source=members[m][0], mode=members[m][1]) for m in order))
    return into / name


def _tagged(filename: str, build_tag: str) -> str:
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) not in (5, 6):
        raise VerificationError("not the name of a wheel", where=filename)
    return "-".join([*parts[:2], build_tag, *parts[-3:]]) + ".whl" if build_tag else filename


def _members(path: Path) -> dict[str, tuple[bytes, int]]:
    found: dict[str, tuple[bytes, int]] = {}
    with zipfile.ZipFile(path) as archive_:
        for info in archive_.infolist():
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise VerificationError(f"a wheel cannot hold links: {info.filename}", where=path.name)
            if info.filename in found:
                raise VerificationError(f"a member is there twice: {info.filename}", where=path.name)
            executable = (info.external_attr >> 16) & 0o100
            found[info.filename] = (archive_.read(info), 0o755 if executable else 0o644)
    return found


def _dist_info(members: Mapping[str, object], where: str) -> str:
    found = [m.removesuffix("/WHEEL") for m in members if m.count("/") == 1 and m.endswith(".dist-info/WHEEL")]
    if len(found) != 1:
        raise VerificationError(f"a wheel has one .dist-info folder, not {len(found)}", where=where)
    return found[0]


def _with_build(text: bytes, tag: str) -> bytes:
    """The ``WHEEL`` file with one ``Build`` line, before the tags."""
    lines = [line for line in text.decode().splitlines() if line and not line.startswith("Build:")]
    place = next((i for i, line in enumerate(lines) if line.startswith("Tag:")), len(lines))
    return "\n".join([*lines[:place], f"Build: {tag}", *lines[place:], ""]).encode()


def _record(members: Mapping[str, tuple[bytes, int]], own: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for name in sorted({*members, own}):
        if name == own:
            writer.writerow([name, "", ""])
            continue
        data, _ = members[name]
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([name, f"sha256={digest}", len(data)])
    return out.getvalue().encode()


def sdist(path: Path, into: Path, *, epoch: int) -> Path:
    """Write the canonical form of the sdist *path* (``.tar.gz``) into the folder *into* and answer its path.

    Sorted members of user 0, 0644 or 0755, all of *epoch*; folders only where they would be empty; one gzip
    member without name and time. Raises :class:`VerificationError` when *path* is not an sdist or holds what
    no sdist may.
    """
    if not path.name.endswith(".tar.gz"):
        raise VerificationError("an sdist is a .tar.gz (PEP 625)", where=path.name)
    with files.scratch(into, "sdist") as aside:
        top = sdists.unpack(path, aside / "files")
        out = io.BytesIO()
        archive.write_tar(out, _plain(top), mtime=epoch)
    files.write_atomically(into / path.name, compress.gzip(out.getvalue()))
    return into / path.name


def _plain(top: Path) -> Iterator[Member]:
    for path in sorted(top.rglob("*")):
        name = path.relative_to(top.parent).as_posix()
        if path.is_symlink():
            yield Member(path=name, mode=0o777, link=str(path.readlink()))
        elif path.is_dir():
            if not any(path.iterdir()):
                yield Member(path=f"{name}/", mode=0o755)
        else:
            yield Member(path=name, mode=path.stat().st_mode & 0o777, source=path)
