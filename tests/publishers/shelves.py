"""A repository of a registry as a destination, and what somebody who pulls from it sees."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from buildonce import publishing
from buildonce.destinations import RegistryDestination
from buildonce.errors import ReleaseError
from buildonce.model import Digest
from buildonce.publishers import Means, RegistryPublisher, image_signing
from buildonce.registry import Registry, Repository
from buildonce.signing import images
from buildonce.system import System, files
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner
from buildonce.system.store import Store
from tests import faults
from tests.small_release import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buildonce.publishers import Outgoing
    from buildonce.signing import Key
    from tests.faults import Proxy

__all__ = ["Shelf", "means"]


def means(folder: Path, key: Key, *, patience: int = 2) -> Means:
    """A machine whose user has *key*."""
    system = System(
        store=Store(folder / "store"),
        net=Net(patience=patience, pause=0.001, timeout=20),
        host=HostRunner(),
        progress=SilentProgress(),
    )
    return Means(system=system, key=lambda _: key, trusted=(key.public,))


@dataclass(frozen=True)
class Shelf:
    """The repository *name*, written through *host* (which may be a proxy), looked at through *direct*."""

    host: str
    direct: str
    name: str
    means: Means

    @property
    def image(self) -> str:
        return f"oci://{self.host}/{self.name}"

    @property
    def registry(self) -> Registry:
        return Registry(Repository.parse(f"oci://{self.direct}/{self.name}"), self.means.system.net)

    def publisher(self, mount: Sequence[str] = ()) -> RegistryPublisher:
        """As a new process has it."""
        return RegistryPublisher(RegistryDestination(type="registry", image=self.image, mount=tuple(mount)), self.means)

    def publish(self, release: Outgoing, mount: Sequence[str] = ()) -> publishing.Published:
        return publishing.deliver("shelf", self.publisher(mount), release, SilentProgress())

    def document(self, reference: str) -> tuple[Digest, Any]:
        data = self.registry.manifest(reference)
        assert data is not None, reference
        return files.sha256_bytes(data), json.loads(data)

    def beside(self, number: int) -> Shelf:
        """Another repository of the same registry."""
        return replace(self, name=f"{self.name}/n{number}")

    def survives(
        self, release: Outgoing, proxy: Proxy, kind: faults.Kind, *, times: int | None, first: int = 1, every: int = 1
    ) -> int:
        """Publish with a fault at the *first* request, at others, … the last: nothing may be half seen then, and the
        same line again has to complete it. Answers how many faults there were.
        """
        proxy.reset()
        self.publish(release)
        numbers = range(first, len(proxy.exchanges) + 1, every)
        for number in numbers:
            here = self.beside(number)
            proxy.reset(faults.Fault(kind=kind, first=number, times=times))
            with contextlib.suppress(ReleaseError):
                here.publish(release)
            assert proxy.faults, f"nothing went wrong at request {number}"
            assert here.problems() == [], f"after {kind} at {number}"
            proxy.reset()
            here.publish(release)
            assert here.is_seen(), f"after {kind} at {number}"
            assert here.problems() == [], f"after {kind} at {number} and once more"
        return len(numbers)

    def is_seen(self) -> bool:
        """Whether the version can be pulled by its tag."""
        return self.registry.manifest(VERSION.oci) is not None

    def problems(self) -> list[str]:
        """What somebody misses who pulls any tag of the version: blobs, images of an index, signatures."""
        tags = [tag for tag in self.registry.tags() if tag.startswith(VERSION.oci)]
        return [f"{tag}: {what}" for tag in tags for what in self._problems(tag, tag)]

    def _problems(self, reference: str, tag: str) -> list[str]:
        registry = self.registry
        data = registry.manifest(reference)
        if data is None:
            return [f"no {reference}"]
        digest, document = self.document(reference)
        found = image_signing.find(registry, digest, self.means.trusted)
        lacks = [what for kind, what in images.PREDICATES.items() if kind not in found.predicates]
        if f"{self.host}/{self.name}:{tag}" not in found.names:
            lacks.append(f"a name among {sorted(found.names)}")
        blobs = (*document.get("layers", ()), *([document["config"]] if "config" in document else ()))
        digests = [Digest(row["digest"].removeprefix("sha256:")) for row in blobs]
        lacks += [one for one in digests if not registry.has_blob(one)]
        return lacks + [what for row in document.get("manifests", ()) for what in self._problems(row["digest"], tag)]
