"""The size of every locked file: what a fetch counts in, and a second check beside the hash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from buildonce import fetch
from buildonce.lock.tidy import tidy
from buildonce.model import Digest, RemoteFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from buildonce.model import Target
    from buildonce.system import System

__all__ = ["fill"]

_STREAMS: Final = 16


def fill(packages: Sequence[dict[str, Any]], targets: Sequence[Target], system: System, *, root: Path) -> None:
    """Write ``size`` into the files of *packages* (PEP 751 tables, changed in place) that some target can
    use.

    Servers are asked; what they do not say is measured by fetching the file into the store.
    """
    usable = {_address(file) for package in tidy(packages, targets) for file in _files(package)}
    missing = [
        file for package in packages for file in _files(package) if "size" not in file and _address(file) in usable
    ]
    for file in missing:
        if "url" not in file:
            file["size"] = (root / file["path"]).stat().st_size
    remote = [file for file in missing if "size" not in file]
    _ask(remote, system)
    _measure([file for file in remote if "size" not in file], system)


def _files(package: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from package.get("wheels", ())
    yield from (package[key] for key in ("sdist", "archive") if key in package)


def _address(file: dict[str, Any]) -> str:
    return str(file.get("url") or file["path"])


def _ask(files: Sequence[dict[str, Any]], system: System) -> None:
    with ThreadPoolExecutor(_STREAMS) as pool:
        sizes = pool.map(system.net.size, [file["url"] for file in files])
        for done, (file, size) in enumerate(zip(files, sizes, strict=True), 1):
            if size is not None:
                file["size"] = size
            system.progress.advance("sizes", done, len(files))


def _measure(files: Sequence[dict[str, Any]], system: System) -> None:
    wanted = [
        RemoteFile(filename=_filename(file), sha256=Digest(file["hashes"]["sha256"]), url=file["url"]) for file in files
    ]
    found = fetch.fetch(wanted, store=system.store, net=system.net, progress=system.progress)
    for file, one in zip(files, wanted, strict=True):
        file["size"] = found[one.sha256].stat().st_size


def _filename(file: dict[str, Any]) -> str:
    return str(file.get("name") or unquote(urlsplit(file["url"]).path.rsplit("/", 1)[-1]))
