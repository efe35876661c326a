"""Images of hosts: Debian with the packages asked for, made from the user's own apt sources, without root here.

As debootstrap does it: the essential packages' files are unpacked, then dpkg installs all packages, in a container
without network. An image is kept in the engine until ``release builder gc`` removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import tempfile
import time
from typing import TYPE_CHECKING, Final

from buildonce import fetch
from buildonce.buildroot.unpack import unpack
from buildonce.debs import closure, deb
from buildonce.debs import lock as deblock
from buildonce.system import archive, files, images, share

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from buildonce.model import Target
    from buildonce.system import System

__all__ = ["image"]

_RECIPE: Final = 1  # part of every image's key: to be raised with any change to how one is made
_REPOSITORY: Final = "buildonce/host"
_PLACE: Final = "var/cache/release"
# What Debian calls essential, which apt does not add by itself; init-system-helpers wants to know of the merged /usr.
_EVERYWHERE: Final = (
    *("base-files", "base-passwd", "bash", "bsdutils", "coreutils", "dash", "debianutils", "diffutils", "dpkg"),
    *("findutils", "grep", "gzip", "hostname", "init-system-helpers", "libc-bin", "login", "mawk", "ncurses-base"),
    *("ncurses-bin", "perl-base", "sed", "sysvinit-utils", "tar", "usr-is-merged", "util-linux"),
)


def image(target: Target, packages: Iterable[str], system: System) -> str:
    """The name of the image of a host of *target* with *packages*, made when the engine does not have it."""
    wanted = tuple(sorted({*_EVERYWHERE, *packages}))
    said = json.dumps([_RECIPE, deblock.question(target, wanted), files.sha256_file(_script())])
    tag = f"{_REPOSITORY}:{hashlib.sha256(said.encode()).hexdigest()[:32]}"
    place = system.store.root / "up"
    place.mkdir(parents=True, exist_ok=True)
    with (place / f"host-{tag.rpartition(':')[2]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two commands make it once
        if images.identity(tag):
            images.touch(tag)
        else:
            _make(tag, target, wanted, system)
    return tag


def _script() -> Path:
    return share.path("recipes", "local", "host.sh")


def _make(tag: str, target: Target, wanted: Sequence[str], system: System) -> None:
    system.progress.step(f"make a {target.name} host with {', '.join(sorted(set(wanted) - set(_EVERYWHERE)))}")
    pins = deblock.resolve(target, wanted, system.host, state=system.store.root)
    brought = fetch.fetch(
        (pin.file for pin in pins),
        store=system.store,
        net=system.net,
        progress=system.progress,
        vaults=system.vaults,
        offline=system.offline,
    )
    paths = [brought[pin.file.sha256] for pin in pins]
    system.progress.step(f"install {len(paths)} packages in it")
    with (
        files.scratch(system.store.root, "host") as aside,
        tempfile.TemporaryFile() as base,
        tempfile.TemporaryFile() as more,
    ):
        root = aside / "root"
        root.mkdir(mode=0o755)
        unpack(_first(paths), root, system.progress)
        _open_folders(paths, root)
        archive.pack(base, {path.name: path for path in sorted(root.iterdir())})
        archive.pack(more, {f"{_PLACE}/{path.name}": path for path in paths})
        base.seek(0)
        more.seek(0)
        images.bake(tag, base, more, _script().read_text("utf-8"), label=images.HOST, now=time.time())


def _first(paths: Sequence[Path]) -> list[Path]:
    """What dpkg itself needs to run: the essential packages with all that they depend on."""
    controls = {path: deb.read(path).fields for path in paths}
    by_name = {fields["Package"]: path for path, fields in controls.items()}
    essential = [fields["Package"] for fields in controls.values() if fields.get("Essential") == "yes"]
    return [by_name[name] for name in closure(controls.values(), essential)]


def _open_folders(paths: Sequence[Path], root: Path) -> None:
    """dpkg leaves folders that are there as they are: those of base-files get the modes that it gives them."""
    (base,) = (path for path in paths if path.name.startswith("base-files_"))
    for original, _ in deb.read(base).members():
        member = deb.merge(original)
        if member and member.kind == "folder" and (root / member.path).is_dir():
            (root / member.path).chmod(member.mode)
