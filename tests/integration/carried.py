"""What people carry to a host without network: Debian packages from the lock, as a folder that apt reads."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from buildonce import dependencies
from buildonce import target as targets
from buildonce.debs import deb
from buildonce.debs import lock as deb_lock
from buildonce.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.integration.hosts import Host

__all__ = ["accept", "index", "needed"]


def needed(package: Path, locked: Path, target_name: str = "debian-12") -> tuple[Path, ...]:
    """The locked OS packages of a target that the .deb *package* depends on, with all that they need: in the store."""
    target = targets.load(target_name)
    place = os.environ.get("BUILDONCE_STORE")
    store = Store(Path(place) if place else user_cache_path("buildonce"))
    paths = [store.file(pin.file.sha256, pin.file.filename) for pin in deb_lock.read(locked, target)]
    return dependencies.needed(deb.read(package).fields["Depends"], [path for path in paths if path is not None])


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
