"""A release made again: the same commit in another folder, with another store, and what then has to be equal."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from buildonce.system import files
from buildonce.system.store import Store
from tests.integration import stores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SIGNATURES", "bring", "clone", "differing", "listing", "seed"]

LOCKS: Final = ("pylock.toml", "pylock.build.toml", "debs.lock.toml")
# What may differ: whose key it was, and what the tools said while they worked.
SIGNATURES: Final = ("SHA256SUMS.sig", "SHA256SUMS.sshsig", "SHA256SUMS.asc")
FOLDERS: Final = ("attestations", "log")


def clone(project: Path, into: Path, *, tag: str = "v1.4.0") -> Path:
    """The tagged commit of *project* in another folder, as ``git clone`` gives it to somebody else."""
    branch = ("--quiet", "--config", "advice.detachedHead=false", "--branch", tag)
    subprocess.run(["git", "clone", *branch, str(project), str(into)], check=True)
    return into


def seed(store: Path, root: Path) -> Path:
    """A new *store* with what the locks of the project *root* name, and nothing that was made of it."""
    bring(store, root)
    assert [path.name for path in store.iterdir()] == ["files"]
    return store


def bring(store: Path, root: Path) -> None:
    """Put into *store* what the locks of the project *root* name, where it is not there."""
    usual, new = stores.usual(), Store(store)
    for digest in {sha256 for lock in LOCKS for sha256 in re.findall(r"\b[0-9a-f]{64}\b", (root / lock).read_text())}:
        for path in usual.place(digest, "").glob("*"):
            place = new.place(digest, path.name)
            if not place.exists():
                place.parent.mkdir(parents=True)
                # No hard link: who owns the copy must not own the original.
                shutil.copy(path, place)


def listing(release: Path) -> dict[str, tuple[int, str]]:
    """Mode and sha256 of everything that has to be equal."""
    return {
        path.name: (path.stat().st_mode & 0o777, files.sha256_file(path))
        for path in release.iterdir()
        if path.name not in (*SIGNATURES, *FOLDERS)
    }


def differing(expected: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    """The names of what is not in both, or not the same."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
