"""Indexes for the contract of all publishers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from buildonce.destinations import IndexDestination
from buildonce.publishers import IndexPublisher
from buildonce.publishers.index import PackageIndex
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from tests import indexes

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.publishers import Outgoing, Publisher
    from buildonce.signing import Key

__all__ = ["DevpiSite", "IndexSite", "PypiserverSite", "index_publisher"]


class IndexSite:
    """Closes the connections of its publishers."""

    def __init__(self) -> None:
        self._open: list[Net] = []

    def _publisher(self, kind: Literal["devpi", "index"], url: str) -> IndexPublisher:
        self._open.append(Net(pause=0.01))
        return index_publisher(kind, url, self._open[-1])

    def close(self) -> None:
        for net in self._open:
            net.close()


class DevpiSite(IndexSite):
    """An index of its own on a devpi server."""

    def __init__(self, root: Path, _: Key) -> None:
        super().__init__()
        self._server = indexes.devpi()
        self.path = self._server.new_index()

    def publisher(self) -> Publisher:
        indexes.log_in("127.0.0.1")
        return self._publisher("devpi", f"{self._server.url}/{self.path}/")

    def seen(self, release: Outgoing) -> dict[str, str]:
        return self._server.seen(self.path, release.manifest.distribution)

    def expected(self, release: Outgoing) -> dict[str, str]:
        # What the documents are is not in SHA256SUMS: the publisher's own tests look into them.
        said = release.manifest
        name = f"{said.distribution}-{said.version.pep440}.doc.zip"
        papers = self.seen(release).get(name, "")
        return {name: papers, **{one.file: one.sha256 for one in said.artifacts if one.kind in ("wheel", "sdist")}}

    def state(self) -> object:
        return self._server.state(self.path)

    def spoil(self, release: Outgoing) -> None:
        path = next(one for one in self._server.stored(self.path) if one.suffix == ".whl")
        path.write_bytes(path.read_bytes()[:-1] + b"!")


class PypiserverSite(IndexSite):
    """A server that is not devpi, and has no place for documents."""

    def __init__(self, root: Path, _: Key) -> None:
        super().__init__()
        self._server = indexes.pypiserver(root)

    def publisher(self) -> Publisher:
        indexes.log_in("127.0.0.1")
        return self._publisher("index", f"{self._server.url}/")

    def seen(self, release: Outgoing) -> dict[str, str]:
        return self._server.seen(release.manifest.distribution)

    def expected(self, release: Outgoing) -> dict[str, str]:
        return {one.file: one.sha256 for one in release.manifest.artifacts if one.kind in ("wheel", "sdist")}

    def state(self) -> object:
        return [(path.name, path.stat().st_mtime_ns) for path in sorted(self._server.folder.iterdir())]

    def spoil(self, release: Outgoing) -> None:
        path = next(self._server.folder.glob("*.whl"))
        path.write_bytes(path.read_bytes()[:-1] + b"!")


def index_publisher(kind: Literal["devpi", "index"], url: str, net: Net, *, wheelhouse: bool = False) -> IndexPublisher:
    """A publisher to the index at *url*."""
    destination = IndexDestination(type=kind, url=url, wheelhouse=wheelhouse)
    return IndexPublisher(PackageIndex("there", destination, net), "tinyapp", SilentProgress())
