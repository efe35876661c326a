"""The nouns: frozen values that the steps of the pipeline hand to each other. No effects here.

Words are those of ``docs/explanation/words.md``: one word for one thing. Sizes are bytes, times are seconds since the
epoch, digests are lower-case hexadecimal sha256, modes are permission bits, paths inside trees are relative POSIX
strings.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NewType, get_args

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

__all__ = [
    "FORMATS",
    "RUNNERS",
    "Artifact",
    "ArtifactKind",
    "Bind",
    "Change",
    "Chosen",
    "Command",
    "Contents",
    "DebPin",
    "Digest",
    "Entry",
    "EntryKind",
    "Format",
    "Outcome",
    "Release",
    "RemoteFile",
    "RunnerName",
    "Source",
    "Target",
    "Tree",
    "Version",
    "Wheel",
    "Wheelhouse",
]

Digest = NewType("Digest", str)

Format = Literal["wheel", "pex", "deb", "oci"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

# How programs are run in a build root; "auto" takes the first of the others that this machine allows.
RunnerName = Literal["auto", "sandbox", "docker"]
RUNNERS: Final[tuple[RunnerName, ...]] = get_args(RunnerName)

# What the format "wheel" makes is three artifacts; the others make one each. An index joins images of one distribution.
ArtifactKind = Literal["wheel", "sdist", "wheelhouse", "pex", "deb", "oci", "oci-index"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where artifacts run: a distribution release, an architecture and its CPython.

    Read from ``builders/targets/<name>.toml`` or the project's own table by :mod:`buildonce.target`.
    """

    name: str  # "debian-12"
    distribution: str  # "debian"
    release: str  # "12"
    codename: str  # "bookworm"
    architecture: str  # Debian's name: "amd64"
    machine: str  # the kernel's name: "x86_64"
    multiarch: str  # "x86_64-linux-gnu"
    glibc: tuple[int, int]  # (2, 36)
    glibcxx: tuple[int, ...] = ()  # the newest GLIBCXX symbols of its libstdc++: (3, 4, 30); () when nobody said
    cxxabi: tuple[int, ...] = ()  # the newest CXXABI symbols of it: (1, 3, 13)
    python: str  # full version: "3.11.2"
    interpreter: PurePosixPath  # "/usr/bin/python3.11"
    toolchain: tuple[str, ...]  # OS packages of the build root
    runtime: tuple[str, ...]  # OS packages that every image holds beside what the wheels need
    revision: str  # Debian revision suffix that sorts by release: "+deb12"
    units: PurePosixPath  # where its debhelper looks for systemd units: "/lib/systemd/system"
    alternatives: tuple[tuple[str, str], ...] = ()  # links that maintainer scripts would make: ("/usr/bin/awk", "mawk")
    libraries: tuple[str, ...] = ()  # OS packages whose libraries wheels may need, beside those of the toolchain
    build_on: Target | None = None  # whose build root the tools run in, when it is not the target's own

    @property
    def builder(self) -> Target:
        """The target whose build root the tools run in. Where it is another one, nothing can be compiled."""
        return self.build_on or self

    @property
    def formats(self) -> tuple[Format, ...]:
        """What can be made for the target: dpkg-buildpackage and dh-virtualenv run programs of its architecture."""
        return tuple(one for one in FORMATS if one != "deb" or self.build_on is None)

    @property
    def python_minor(self) -> str:
        """``"3.11"``: what names the interpreter's package and its site-packages."""
        return ".".join(self.python.split(".")[:2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One commit since the last tag, for the changelog of the deb."""

    commit: str
    author: str  # "Name <mail>"
    epoch: int
    summary: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The commit that is built, and what makes its version unique."""

    commit: str  # 40 hexadecimal digits
    tree: str  # git's digest of the content, 40 hexadecimal digits
    epoch: int  # the committer's time: SOURCE_DATE_EPOCH of everything
    tag: str  # the tag on this commit, or ""
    url: str  # where the project says that its source is, or ""; never the checkout's origin, which differs by machine
    dirty: Digest | None  # digest of the local changes (--allow-dirty), never publishable; None when clean
    changes: tuple[Change, ...] = ()
    folder: str = ""  # the project's, below the repository's top, such as "services/orders"; "" for the top itself


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version in the spelling of every format. Made by :mod:`buildonce.version`, which proves the map."""

    pep440: str  # "1.2.4.dev5+g1a2b3c4"
    debian: str  # "1.2.4~~dev5+g1a2b3c4", without revision
    oci: str  # "1.2.4.dev5_g1a2b3c4"

    def deb(self, target: Target) -> str:
        """The deb's version on *target*: with the revision that keeps Debian releases apart and in order."""
        return f"{self.debian}-1{target.revision}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A locked file: where it is and what its bytes must be."""

    filename: str
    sha256: Digest
    size: int | None = None
    url: str = ""
    path: Path | None = None  # a file beside the lock, instead of a URL


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What one target takes of one locked package: a wheel, or an sdist that has to be compiled there."""

    name: str  # normalised (PEP 503)
    version: str
    file: RemoteFile

    @property
    def compiles(self) -> bool:
        """Whether the file is an sdist."""
        return not self.file.filename.endswith(".whl")


@dataclass(frozen=True, kw_only=True, slots=True)
class DebPin:
    """A locked OS package of a target."""

    name: str
    version: str
    architecture: str  # "amd64" or "all"
    file: RemoteFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """A verified wheel in the store."""

    name: str  # normalised (PEP 503)
    version: str
    path: Path
    sha256: Digest
    size: int
    sdist: RemoteFile | None = None  # what it was compiled from, when it was
    url: str = ""  # where it was fetched from, when it was

    @property
    def filename(self) -> str:
        """The wheel's name as in the binary distribution format."""
        return self.path.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheelhouse:
    """The closed set of wheels for one target, sorted by name: every hash checked, every tag fitting."""

    target: Target
    wheels: tuple[Wheel, ...]


EntryKind = Literal["file", "link", "folder", "script", "record", "bytecode"]


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Entry:
    """One file: its path relative to ``/`` (or to the archive that holds it), what it is and what it holds.

    Folders are implied (0755, root's); others are entries of the kind ``folder``, whose path ends in ``/``. ``script``
    and ``record`` are files that installing writes, ``bytecode`` those that the target's interpreter compiles; a format
    that carries wheels has none of these as bytes of its own.
    """

    path: str
    kind: EntryKind = "file"
    mode: int = 0o644  # 0o777 for links
    size: int = 0
    sha256: Digest = Digest("")  # "" for links
    link: str = ""  # where a link leads
    dist: str = ""  # the distribution that owns it, normalised; "" for the environment's own files


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """The expected installed files at their final place, sorted by path. What makes the formats interchangeable."""

    entries: tuple[Entry, ...]

    @property
    def digest(self) -> Digest:
        """Digest of the canonical listing: equal trees have equal digests."""
        rows = [[e.path, e.kind, e.mode, e.size, e.sha256, e.link] for e in self.entries]
        return Digest(hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest())

    def of(self, dist: str) -> Tree:
        """What the distribution *dist* owns."""
        return Tree(entries=tuple(e for e in self.entries if e.dist == dist))

    def carried_by_wheels(self) -> Tree:
        """What wheels bring as bytes of their own: without records and bytecode, which installing makes."""
        return Tree(entries=tuple(e for e in self.entries if e.dist and e.kind not in ("record", "bytecode")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A finished file of the release.

    ``extras`` is what its builder meant to put in it beside the Tree (units, links, an image's base, members of an
    archive): the proof compares the two together with what the finished file really holds.
    """

    kind: ArtifactKind
    path: Path
    sha256: Digest
    size: int
    target: str = ""  # "" for what is not of one target: the wheel, the sdist, an index of images
    extras: tuple[Entry, ...] = ()

    @property
    def file(self) -> str:
        """The artifact's file name."""
        return self.path.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A finished release: its folder and what is in it."""

    name: str
    version: str  # PEP 440
    commit: str
    folder: Path
    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a finished artifact really holds, read back from its bytes."""

    name: str
    version: str  # in the spelling of its format
    entries: tuple[Entry, ...]  # sorted by path


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """A folder or file of this machine, shown inside a build root at *target*."""

    source: Path
    target: PurePosixPath
    writable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A program to run, as data. ``cwd`` and ``binds`` are inside the build root when a root runs it."""

    argv: tuple[str, ...]
    cwd: str = "/"
    environment: tuple[tuple[str, str], ...] = ()
    binds: tuple[Bind, ...] = ()
    capture: bool = False  # stdout is data, for the outcome; otherwise all output goes to the log
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a program said.

    ``stdout`` is its data when the command captures it; ``tail`` is the end of its other output.
    """

    returncode: int
    stdout: bytes
    tail: str = ""
    log: Path | None = field(default=None)
