"""``debs.lock.toml``: the OS packages of every target, each with its version, sha256, size and URL.

One table per target, its packages sorted by name::

    version = 1
    [debian-12]
    inputs = "<sha256 of what was asked for>"
    [[debian-12.package]]
    name, version, architecture, sha256, size, url
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

import tomli_w

from buildonce.debs import archives
from buildonce.debs.apt import resolve
from buildonce.errors import LockError, Problem
from buildonce.model import DebPin, Digest, RemoteFile
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from buildonce.model import Target

__all__ = ["inputs", "question", "read", "resolve", "sources", "write"]

_VERSION: Final = 1
_HINT: Final = "run `release lock` and commit the result"
_HEADER: Final = "# Made by `release lock`. Commit it; to change it, run `release lock` again.\n"
# Debian Policy 5.6.1 and 5.6.12. Names become file names: these have no "/" and no leading ".".
_FIELDS: Final = {
    "name": re.compile(r"[a-z0-9][a-z0-9+.-]+"),
    "version": re.compile(r"[0-9][A-Za-z0-9.+:~-]*"),
    "architecture": re.compile(r"[a-z0-9-]+"),
    "sha256": re.compile(r"[0-9a-f]{64}"),
    "url": re.compile(r"https?://[^@\s]+"),
}


def question(target: Target, packages: Iterable[str]) -> Digest:
    """What apt is asked for, as a digest: a lock made for another question is stale."""
    asked = [target.distribution, target.codename, target.architecture, sorted(set(packages))]
    return Digest(hashlib.sha256(json.dumps(asked).encode()).hexdigest())


def sources(target: Target) -> str:
    """Where *target*'s OS packages come from on this machine, as the text of a ``.sources`` file."""
    return archives.text(archives.find(target))


def write(path: Path, locked: Mapping[str, Sequence[DebPin]], inputs: Mapping[str, str]) -> None:
    """Write the packages of all targets, by the target's name, with the digest of each target's question."""
    document: dict[str, Any] = {"version": _VERSION}
    for name in sorted(locked):
        pins = sorted(locked[name], key=lambda pin: pin.name)
        document[name] = {"inputs": inputs[name], "package": [_row(pin) for pin in pins]}
    files.write_atomically(path, (_HEADER + tomli_w.dumps(document)).encode())


def inputs(path: Path) -> dict[str, str]:
    """The digest of the question that each target's packages answer, by the target's name."""
    return {name: str(table.get("inputs", "")) for name, table in _load(path).items() if isinstance(table, dict)}


def read(path: Path, target: Target) -> tuple[DebPin, ...]:
    """The locked packages of *target*, sorted by name.

    Raises :class:`LockError` when the file is missing, is not readable, has nothing for *target*, or when an
    entry is not complete: all such entries at once.
    """
    table = _load(path).get(target.name)
    rows = table.get("package") if isinstance(table, dict) else None
    if not isinstance(rows, list) or not rows:
        raise LockError(f"no OS packages are locked for {target.name}", where=path.name, hint=_HINT)
    problems = [
        problem
        for number, row in enumerate(rows)
        for problem in _problems(row, f"{target.name}.package[{number}]", path)
    ]
    if problems:
        first, *more = problems
        raise LockError(first.message, where=first.where, hint=first.hint, more=tuple(more))
    return tuple(sorted((_pin(row) for row in rows), key=lambda pin: pin.name))


def _load(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise LockError(f"{path.name} is missing", where=str(path), hint=_HINT) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LockError(f"{path.name} cannot be read: {error}", where=str(path), hint=_HINT) from error
    if document.get("version") != _VERSION:
        raise LockError(
            f"{path.name} has format {document.get('version')!r}, this version of the tool reads {_VERSION}",
            where=str(path),
            hint=_HINT,
        )
    return document


def _row(pin: DebPin) -> dict[str, str | int]:
    row: dict[str, str | int] = {
        "name": pin.name,
        "version": pin.version,
        "architecture": pin.architecture,
        "sha256": pin.file.sha256,
        "size": pin.file.size or 0,
        "url": pin.file.url,
    }
    return row


def _problems(row: object, place: str, path: Path) -> list[Problem]:
    if not isinstance(row, dict):
        return [Problem(message="an OS package is not a table", where=f"{path.name}: {place}", hint=_HINT)]
    wrong = [name for name, pattern in _FIELDS.items() if not pattern.fullmatch(str(row.get(name, "")))]
    if not isinstance(row.get("size"), int) or row["size"] <= 0:
        wrong.append("size")
    return [
        Problem(
            message=f"the locked OS package {row.get('name', '')} has no sound {name}",
            where=f"{path.name}: {place}.{name}",
            hint=_HINT,
        )
        for name in wrong
    ]


def _pin(row: Mapping[str, Any]) -> DebPin:
    plain = row["version"].partition(":")[2] or row["version"]
    return DebPin(
        name=row["name"],
        version=row["version"],
        architecture=row["architecture"],
        file=RemoteFile(
            filename=f"{row['name']}_{plain}_{row['architecture']}.deb",
            sha256=Digest(row["sha256"]),
            size=row["size"],
            url=row["url"],
        ),
    )
