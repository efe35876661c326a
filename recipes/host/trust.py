"""Whether what came is what was signed: the signature of SHA256SUMS, the digest of every file, the manifest.

Programs of the host check the signature: gpgv (Debian 12), or sqv, which apt uses since Debian 13.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import shell
from problems import VERIFICATION, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from plan import Artifact, Plan

SUMS, SIGNATURE, MANIFEST = "SHA256SUMS", "SHA256SUMS.asc", "release.json"

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._+~!=@-]{0,250})")
_KINDS = {"deb": "deb", "pex": "pex", "wheelhouse": "wheelhouse", "oci": "oci"}


def digest(path: Path) -> str:
    """The sha256 of a file; "" when there is none."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while data := stream.read(1 << 20):
                found.update(data)
    except (FileNotFoundError, IsADirectoryError):
        return ""
    return found.hexdigest()


def verify(folder: Path, keyring: Path, plan: Plan, artifact: Artifact) -> None:
    """Raise :class:`Refused` unless *folder* is the signed release that *plan* asks for, and nothing else."""
    signature(folder, keyring)
    listed = sums((folder / SUMS).read_bytes() if (folder / SUMS).is_file() else b"")
    for path in sorted(folder.iterdir()):
        if path.name in (SUMS, SIGNATURE):
            continue
        # Packages of the distribution may be for other targets; their digests are those of the lock.
        known = {one.packages.get(path.name) for one in plan.artifacts.values()}
        expected = {listed[path.name]} if path.name in listed else known - {None}
        if not expected:
            raise _wrong(f"{path.name} was added: {SUMS} does not list it")
        if digest(path) not in expected:
            raise _wrong(f"{path.name} was changed: its sha256 is not the one in {SUMS}")
    for name in (MANIFEST, artifact.file):
        if not (folder / name).is_file():
            raise _wrong(f"{name} is missing")
    if listed[artifact.file] != artifact.sha256:
        raise _wrong(f"{artifact.file} is another one than the plan says")
    _manifest(folder / MANIFEST, plan, artifact)


def signature(folder: Path, keyring: Path) -> None:
    """Raise :class:`Refused` unless the sums are signed by a key of *keyring*."""
    for path in (keyring, folder / SUMS, folder / SIGNATURE):
        if not path.is_file():
            raise _wrong(f"{path.name} is missing: nobody can tell who made this release")
    signed, text = str(folder / SIGNATURE), str(folder / SUMS)
    if shell.there("gpgv"):
        done = shell.run("gpgv", "--keyring", str(keyring), signed, text)
    elif shell.there("sqv"):
        done = shell.run("sqv", "--keyring", str(keyring), "--signature-file", signed, text)
    else:
        raise Refused("neither gpgv nor sqv is on this host: no signature can be checked", "apt install gpgv")
    if not done.ok:
        raise Refused("the release is not signed with a key that this host trusts", done.tail, kind=VERIFICATION)


def sums(data: bytes) -> Mapping[str, str]:
    """File name → sha256. Raises :class:`Refused`."""
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("latin-1").splitlines(), start=1):
        parts = _LINE.fullmatch(line)
        if not parts or parts[2] in found:
            raise _wrong(f"{SUMS}:{number} is not a line of sha256sum")
        found[parts[2]] = parts[1]
    if not found:
        raise _wrong(f"{SUMS} is missing or empty")
    return found


def _manifest(path: Path, plan: Plan, artifact: Artifact) -> None:
    """The manifest has to be of this release, and has to know the artifact as what the plan takes it for."""
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())["predicate"]
        name, version = said["name"], said["version"]["pep440"]
        rows = {row["file"]: row for row in said["artifacts"]}
        row = rows.get(artifact.file, {})
        targets = {one["name"]: one for one in said["targets"]}
        target = targets.get(row.get("target"), {})
        kind, package = row.get("kind"), target.get("deb")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _wrong(f"{MANIFEST} cannot be read: {error!r}") from error
    if (name, version) != (plan.name, plan.version):
        raise _wrong(f"this is {name} {version}, the plan is for {plan.name} {plan.version}")
    if kind != _KINDS[plan.format] or (artifact.package and artifact.package != package):
        raise _wrong(f"{artifact.file} is not the {plan.format} that the plan says")
    where = (target.get("distribution"), target.get("release"), target.get("architecture"))
    if where != (artifact.distribution, artifact.release, artifact.architecture):
        raise _wrong(f"{artifact.file} is for {' '.join(map(str, where))}, the plan says otherwise")


def _wrong(message: str) -> Refused:
    return Refused(
        message, "nothing of it was installed: bring the release again from where it was made", kind=VERIFICATION
    )
