"""The list of a suite's packages, ``Packages``: one paragraph a deb, kept to the letter once it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from buildonce.debs.fields import paragraphs
from buildonce.debs.versions import order
from buildonce.errors import VerificationError
from buildonce.model import Command, Digest
from buildonce.statement import is_digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from buildonce.model import Outcome
    from buildonce.protocols import Runner

__all__ = ["POOL", "PROGRAM", "Package", "ftparchive", "read", "scan", "write"]

POOL: Final = "pool"
PROGRAM: Final = "apt-ftparchive"

_FILENAME: Final = re.compile(rf"{POOL}/[a-z0-9][a-z0-9.+-]*(?:/[A-Za-z0-9][A-Za-z0-9.+~_-]*)+\.deb")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
# Only sha256 is read by any apt of this decade; the others would be one more thing to compute and to trust.
_HASHES: Final = tuple(f"APT::FTPArchive::{name}=false" for name in ("MD5", "SHA1", "SHA512"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One deb in a list."""

    name: str
    version: str
    architecture: str  # "amd64", … or "all"
    filename: str  # below the repository: "pool/main/o/orders/orders_1.4.0-1+deb12_amd64.deb"
    size: int
    sha256: Digest
    text: str = field(repr=False, compare=False)  # the paragraph, as it is in the list

    @property
    def component(self) -> str:
        """The component whose list has it: the folder of the pool."""
        return self.filename.split("/")[1]

    @property
    def key(self) -> tuple[str, str, str]:
        """What there may be one of in a suite."""
        return self.name, self.version, self.architecture


def read(data: bytes, *, where: str) -> tuple[Package, ...]:
    """The packages in a list. Raises :class:`VerificationError` for one that no list of ours can have."""
    texts = [text for text in data.decode(errors="replace").split("\n\n") if text.strip()]
    return tuple(_package(text.strip("\n") + "\n", where) for text in texts)


def write(packages: Iterable[Package]) -> bytes:
    """The list of *packages*, in an order that follows from them alone."""
    chosen = sorted(packages, key=lambda one: (one.name, order(one.version), one.architecture))
    return "\n".join(one.text for one in chosen).encode()


def scan(root: Path, filename: str, runner: Runner) -> Package:
    """The deb *filename* of the repository *root*, as apt-ftparchive lists it."""
    said = ftparchive(runner, "packages", filename, cwd=root).stdout
    found = read(said, where=filename)
    if len(found) != 1 or found[0].filename != filename:
        raise VerificationError("apt-ftparchive does not see one package in it", where=filename)
    return found[0]


def ftparchive(runner: Runner, *arguments: str, cwd: Path, options: Iterable[str] = ()) -> Outcome:
    """Run apt-ftparchive(1). Raises :class:`buildonce.errors.MissingToolError` without it."""
    settings = (part for option in (*_HASHES, *options) for part in ("-o", option))
    return runner.run(Command(argv=(PROGRAM, "-q", *settings, *arguments), cwd=str(cwd), capture=True))


def _package(text: str, where: str) -> Package:
    found = paragraphs(text)
    fields = found[0] if len(found) == 1 else {}
    name, sha256, size = fields.get("Package", ""), fields.get("SHA256", ""), fields.get("Size", "")
    if (
        not _NAME.fullmatch(name)
        or not is_digest(sha256)
        or not size.isdecimal()
        or not _FILENAME.fullmatch(fields.get("Filename", ""))
        or not fields.get("Version")
        or not fields.get("Architecture")
    ):
        raise VerificationError(f"its paragraph of {name[:80]!r} is not one of a list of this repository", where=where)
    return Package(
        name=name,
        version=fields["Version"],
        architecture=fields["Architecture"],
        filename=fields["Filename"],
        size=int(size),
        sha256=Digest(sha256),
        text=text,
    )
