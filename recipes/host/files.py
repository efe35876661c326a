"""Forms pex and wheelhouse: releases side by side below /opt/<name>, and a link to the one that runs.

The link is replaced by renaming a new one over it: whoever looks finds the old or the new one, never none.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import parcels
import record
import shell
import trust
from problems import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from record import Entry, Place


def folder(place: Place, version: str) -> Path:
    return place.opt / "releases" / version


def link(place: Place) -> Path:
    return place.opt / "current"


def program(place: Place, entry: Entry, words: tuple[str, ...]) -> tuple[str, ...]:
    """The command line for a command of the project."""
    base = folder(place, entry.version)
    if entry.format == "pex":  # it runs the one command that it was made with; this names any
        return ("/usr/bin/env", f"PEX_SCRIPT={words[0]}", str(base / f"{place.name}.pex"), *words[1:])
    return (str(base / "venv/bin" / words[0]), *words[1:])


def prepare(place: Place, entry: Entry, file: Path) -> None:
    """Lay the verified *file* where it will run from; nothing runs from there yet. Raises :class:`Refused`."""
    if entry.format == "pex":
        _pex(place, entry, file)
    else:
        _environment(place, entry, file)


def install(place: Place, entry: Entry, file: Path) -> None:
    """Let the link lead to *entry*."""
    if not _there(place, entry):
        prepare(place, entry, file)
    aside = place.opt / f".current-{os.getpid()}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(f"releases/{entry.version}")
    aside.replace(link(place))
    record.flush(place.opt)


def installed(place: Place, entry: Entry) -> bool:
    leads = link(place).is_symlink() and str(link(place).readlink()) == f"releases/{entry.version}"
    return leads and _there(place, entry)


def remove(place: Place, entry: Entry) -> None:
    """Take *entry* away, and the link when it leads there."""
    if link(place).is_symlink() and link(place).readlink().name == entry.version:
        record.remove(link(place))
    shutil.rmtree(folder(place, entry.version), ignore_errors=True)
    for left in (place.opt / "releases", place.opt):
        if left.is_dir() and not any(left.iterdir()):
            left.rmdir()


def _there(place: Place, entry: Entry) -> bool:
    base = folder(place, entry.version)
    if entry.format == "pex":
        return trust.digest(base / f"{place.name}.pex") == entry.sha256
    return (base / "venv/bin/python").exists()


def _pex(place: Place, entry: Entry, file: Path) -> None:
    if _there(place, entry):
        return
    parcels.room(file.parent, 0)
    place.opt.mkdir(parents=True, exist_ok=True)
    final = folder(place, entry.version)
    with record.aside(final.parent, "new") as made:
        path = made / f"{place.name}.pex"
        with file.open("rb") as source, path.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        path.chmod(0o755)
        if trust.digest(path) != entry.sha256:
            raise Refused(f"{path.name} was changed while it was copied")
        if final.exists():
            shutil.rmtree(final)
        made.rename(final)
    record.flush(final.parent)


def _environment(place: Place, entry: Entry, file: Path) -> None:
    """By the wheelhouse's own installer, which checks every file, also of an environment that is there."""
    final = folder(place, entry.version) / "venv"
    final.parent.mkdir(parents=True, exist_ok=True)
    with record.aside(place.home, "wheelhouse") as made:
        parcels.unpack(file, made, flat=False)
        command = ("sh", str(made / "install.sh"), str(final))
        if final.exists() and not installed(place, entry) and not shell.run(*command).ok:
            shutil.rmtree(final)  # of other bytes under this version, which never ran
        shell.must(*command, why=f"{place.name} {entry.version} cannot be installed")
    shell.run("sync", "--file-system", str(final))
