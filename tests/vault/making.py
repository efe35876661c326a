"""Inputs of a lock, made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce.model import RemoteFile
from buildonce.system import files
from buildonce.system.console import SilentProgress
from buildonce.vault import Contents, Input

if TYPE_CHECKING:
    from pathlib import Path

LOCK = {"pylock.toml": files.sha256_bytes(b"lock")}
TEXTS = {"a-1-py3-none-any.whl": b"a wheel", "b+c_1~2_all.deb": b"a deb" * 100_000, "pylock.toml": b"lock"}


def contents(folder: Path, texts: dict[str, bytes] | None = None) -> Contents:
    """What a vault is given, from files in *folder*."""
    folder.mkdir(exist_ok=True)
    made = [one(folder, name, data) for name, data in (texts or TEXTS).items()]
    return Contents(lock=LOCK, inputs=tuple(sorted(made, key=lambda one: one.sha256)))


def one(folder: Path, name: str, data: bytes) -> Input:
    path = folder / name
    path.write_bytes(data)
    return Input(
        name=name,
        sha256=files.sha256_bytes(data),
        size=len(data),
        path=path,
        url=f"https://example.org/{name}",
        needed_by=("debian-12: wheelhouse",),
    )


def wanted(name: str, *, data: bytes | None = None) -> RemoteFile:
    """What a lock says of a file of :data:`TEXTS`."""
    data = TEXTS[name] if data is None else data
    return RemoteFile(
        filename=name, sha256=files.sha256_bytes(data), size=len(data), url="https://gone.example.org/file"
    )


class Amounts(SilentProgress):
    """What a person would have seen."""

    def __init__(self) -> None:
        self.said: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def advance(self, detail: str, done: int, total: int) -> None:
        self.said.append((done, total))

    def note(self, message: str) -> None:
        self.notes.append(message)
