"""What people carry to a host without network: Debian packages from the lock, as a folder that apt reads."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from buildonce import target as targets
from buildonce.debs import closure, deb
from buildonce.debs import lock as deb_lock
from buildonce.debs.closure import names
from buildonce.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.integration.hosts import Host

__all__ = ["accept", "index", "needed"]


def needed(package: Path, locked: Path, target_name: str = "debian-12") -> tuple[Path, ...]:
    """The locked OS packages of a target that the .deb *package* depends on, with all that they need, from the store.

    What is no part of the lock, as the host's init system, is the host's own.
    """
    target = targets.load(target_name)
    place = os.environ.get("BUILDONCE_STORE")
    store = Store(Path(place) if place else user_cache_path("buildonce"))
    pins = {pin.name: pin for pin in deb_lock.read(locked, target)}
    debs = {name: store.file(pin.file.sha256, pin.file.filename) for name, pin in pins.items()}
    wanted = [one for one in names(deb.read(package).fields["Depends"]) if pins.keys() & set(one)]
    roots = [next(name for name in alternatives if name in pins) for alternatives in wanted]
    fields = [deb.read(path).fields for path in debs.values() if path is not None]
    chosen = [debs[name] for name in closure(fields, roots)]
    return tuple(path for path in chosen if path is not None)


def index(folder: Path, packages: Iterable[Path]) -> Path:
    """Copy *packages* into the new *folder* and make it an apt repository; answers the folder."""
    folder.mkdir(parents=True)
    for package in packages:
        shutil.copy(package, folder)
    with (folder / "Packages").open("wb") as out:
        subprocess.run(["apt-ftparchive", "packages", "."], cwd=folder, stdout=out, check=True)
    return folder


def accept(host: Host, folder: Path) -> None:
    """Carry the repository *folder* to *host* and let its apt know."""
    place = host.put(folder, "/srv")
    line = f"deb [trusted=yes] file:{place} ./"
    host.sh(f"echo '{line}' >/etc/apt/sources.list.d/{folder.name}.list; apt-get -qq update")
