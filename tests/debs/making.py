"""Makes packages of any shape, sound or hostile, without dpkg."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from typing import TYPE_CHECKING

import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["COMPRESSORS", "file", "folder", "hardlink", "link", "make", "member"]

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes, mode: int = 0o644, link: str = "", data: bytes = b"") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size = kind, mode, link, len(data)
    return info, data


def file(name: str, data: bytes = b"", mode: int = 0o644) -> Member:
    return member(name, tarfile.REGTYPE, mode, data=data)


def folder(name: str, mode: int = 0o755) -> Member:
    return member(name, tarfile.DIRTYPE, mode)


def link(name: str, goal: str) -> Member:
    return member(name, tarfile.SYMTYPE, 0o777, goal)


def hardlink(name: str, goal: str) -> Member:
    return member(name, tarfile.LNKTYPE, link=goal)


def make(
    path: Path,
    members: Iterable[Member] = (),
    *,
    fields: dict[str, str] | None = None,
    controls: dict[str, bytes] | None = None,
    suffix: str = ".xz",
) -> Path:
    """Write a package; *fields* are added to Package (the file's name), Version and Architecture."""
    control = {"Package": path.stem.partition("_")[0], "Version": "1.0-1", "Architecture": "amd64"} | (fields or {})
    text = "".join(f"{name}: {value}\n" for name, value in control.items())
    parts = {
        "debian-binary": b"2.0\n",
        f"control.tar{suffix}": COMPRESSORS[suffix](
            _tar(
                [
                    file("./control", text.encode()),
                    *(file(f"./{n}", data) for n, data in (controls or {}).items()),
                ]
            )
        ),
        f"data.tar{suffix}": COMPRESSORS[suffix](_tar(members)),
    }
    path.write_bytes(b"!<arch>\n" + b"".join(_ar(name, data) for name, data in parts.items()))
    return path


def _tar(members: Iterable[Member]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _ar(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)
