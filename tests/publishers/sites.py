"""Destinations for the contract of all publishers: each with a way to see what its users see."""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from buildonce.destinations import AptDestination
from buildonce.publishers import AptPublisher, FolderPublisher, Means, images
from buildonce.signing import openpgp
from buildonce.system import System
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner
from buildonce.system.store import Store
from tests import registries
from tests.publishers import shelves

if TYPE_CHECKING:
    from buildonce.publishers import Outgoing, Publisher
    from buildonce.signing import Key, PublicKey

__all__ = ["APT", "AptSite", "FolderSite", "RegistrySite", "Site", "means"]


APT = AptDestination(type="apt", path="not read here")


class Site(Protocol):
    """One destination, empty at first."""

    def publisher(self) -> Publisher:
        """A publisher as a new process has it."""
        ...

    def seen(self, release: Outgoing) -> dict[str, str]:
        """Every file of *release* that users of the destination see, with the sha256 of what they get."""
        ...

    def expected(self, release: Outgoing) -> dict[str, str]:
        """What they have to see when all is published."""
        ...

    def state(self) -> object:
        """All that is stored: equal when nothing was changed."""
        ...

    def spoil(self, release: Outgoing) -> None:
        """Change a byte of what is published."""
        ...


@dataclass(frozen=True)
class FolderSite:
    """A folder on this disk."""

    root: Path

    def publisher(self) -> Publisher:
        self.root.mkdir(exist_ok=True)
        return FolderPublisher(self.root)

    def seen(self, release: Outgoing) -> dict[str, str]:
        return _digests(self._version(release))

    def expected(self, release: Outgoing) -> dict[str, str]:
        return {name: one for name, one in _digests(release.folder).items() if not name.startswith("log/")}

    def state(self) -> object:
        return [(str(path), path.stat().st_mtime_ns) for path in sorted(self.root.rglob("*")) if path.is_file()]

    def spoil(self, release: Outgoing) -> None:
        path = self._version(release) / next(iter(release.files))
        path.write_bytes(path.read_bytes() + b"!")

    def _version(self, release: Outgoing) -> Path:
        return self.root / release.manifest.name / release.manifest.version.pep440


@dataclass(frozen=True)
class AptSite:
    """An apt repository in a folder, as hosts see it: InRelease, the lists that it names, the debs that they name."""

    root: Path
    key: Key
    settings: AptDestination = APT

    def publisher(self) -> Publisher:
        self.root.mkdir(exist_ok=True)
        return AptPublisher(self.root, self.settings, means(self.key))

    def seen(self, release: Outgoing) -> dict[str, str]:
        found: dict[str, str] = {}
        for place in self.root.glob("dists/*/InRelease"):
            text = openpgp.read_cleartext(place.read_bytes(), self.key.public).decode()
            for digest, name in re.findall(r"^ ([0-9a-f]{64}) +\d+ (\S+/Packages)$", text, re.MULTILINE):
                listed = (place.parent / name).with_name("by-hash") / "SHA256" / digest
                for one in re.findall(r"^Filename: (.+)$", listed.read_text(), re.MULTILINE):
                    found[Path(one).name] = hashlib.sha256((self.root / one).read_bytes()).hexdigest()
        return found

    def expected(self, release: Outgoing) -> dict[str, str]:
        return {one.name: release.files[one.name] for one in release.of_kind("deb")}

    def state(self) -> object:
        return [(str(path), path.stat().st_mtime_ns) for path in sorted(self.root.rglob("*")) if path.is_file()]

    def spoil(self, release: Outgoing) -> None:
        (path,) = self.root.glob(f"pool/*/*/*/{release.of_kind('deb')[0].name}")
        path.write_bytes(path.read_bytes() + b"!")


class RegistrySite:
    """A repository of a registry of its own, as somebody sees it who pulls by a tag."""

    def __init__(self, root: Path, key: Key) -> None:
        self._stack = contextlib.ExitStack()
        self._server = self._stack.enter_context(registries.running(root))
        self._means = shelves.means(root / "machine", key)
        self._stack.callback(self._means.system.net.close)
        self._shelf = shelves.Shelf(self._server.host, self._server.host, "team/tinyapp", self._means)

    def close(self) -> None:
        self._stack.close()

    def publisher(self) -> Publisher:
        return self._shelf.publisher()

    def seen(self, release: Outgoing) -> dict[str, str]:
        assert self._shelf.problems() == []
        registry = self._shelf.registry
        tags = [tag for tag in registry.tags() if tag.startswith(release.manifest.version.oci)]
        return {tag: self._shelf.document(tag)[0] for tag in tags}

    def expected(self, release: Outgoing) -> dict[str, str]:
        return {tag.name: tag.document.digest for tag in images.of(release).tags}

    def state(self) -> object:
        files = [path for path in sorted(self._server.folder.glob("data/**/*")) if path.is_file()]
        return [(str(path), path.stat().st_mtime_ns) for path in files if "_uploads" not in path.parts]

    def spoil(self, release: Outgoing) -> None:
        path = self._server.blob(images.of(release).blobs[-1].digest)
        path.write_bytes(path.read_bytes() + b"!")


def means(key: Key, *trusted: PublicKey) -> Means:
    """What publishers work with on this machine; *key* signs."""
    machine = System(store=Store(Path("/nowhere")), net=Net(), host=HostRunner(), progress=SilentProgress())
    return Means(system=machine, key=lambda _: key, trusted=trusted or (key.public,))


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
