"""What an image takes from OS packages and what it leaves out: ``builders/oci/base.toml``, read and
applied.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Final

from buildonce.system import files, share

if TYPE_CHECKING:
    from buildonce.model import Digest

__all__ = ["Folder", "Rules", "read"]

_PROGRAMS: Final = ("usr/bin/", "usr/sbin/", "usr/games/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A folder with a mode or an owner of its own."""

    path: str
    mode: int
    owner: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The rules as values; every list with its reasons is in the file."""

    packages: tuple[str, ...]
    without: tuple[str, ...]
    programs: tuple[str, ...]
    leave_out: tuple[str, ...]
    keep: tuple[str, ...]
    links: tuple[tuple[str, str], ...]  # (path, where it leads)
    folders: tuple[Folder, ...]
    digest: Digest  # of the file

    def takes(self, path: str) -> bool:
        """Whether the file or link *path* of a package goes into the image."""
        if path.startswith(_PROGRAMS):
            return any(fnmatchcase(path, pattern) for pattern in self.programs)
        if any(fnmatchcase(path, pattern) for pattern in self.keep):
            return True
        return not any(fnmatchcase(path, pattern) for pattern in self.leave_out)


@cache
def read() -> Rules:
    """The rules that ship with this version."""
    path = share.path("builders", "oci", "base.toml")
    found = tomllib.loads(path.read_text("utf-8"))
    return Rules(
        packages=tuple(found["packages"]),
        without=tuple(found["without"]),
        programs=tuple(found["programs"]),
        leave_out=tuple(found["leave_out"]),
        keep=tuple(found["keep"]),
        links=tuple(sorted(found["links"].items())),
        folders=tuple(
            Folder(path=name, mode=int(folder["mode"], 8), owner=folder.get("owner", 0))
            for name, folder in sorted(found["folders"].items())
        ),
        digest=files.sha256_file(path),
    )
