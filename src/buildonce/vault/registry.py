"""A vault in a container registry: every input is a blob, addressed by its sha256.

One artifact manifest a lock, tagged with the lock's digest, holds its inputs (a layer each, titled with the file name)
and so keeps them from the registry's garbage collection. Any OCI client can pull it: ``oras pull``, ``skopeo copy``.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import VerificationError
from buildonce.model import Digest
from buildonce.registry import Descriptor, Registry
from buildonce.registry.client import EMPTY, EMPTY_TYPE, MANIFEST_TYPE
from buildonce.system import canonical
from buildonce.system.net import RefusedError
from buildonce.vault.contents import Amount, Kept
from buildonce.vault.folder import DeniedError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.model import RemoteFile
    from buildonce.protocols import Progress
    from buildonce.registry import Repository
    from buildonce.system.net import Net
    from buildonce.vault.contents import Contents, Input

__all__ = ["ARTIFACT_TYPE", "RegistryVault"]

ARTIFACT_TYPE: Final = "application/vnd.buildonce.inputs.v1"
_LISTING_TYPE: Final = "application/vnd.buildonce.inputs.v1+json"
_LISTING: Final = "inputs.json"
_FILE_TYPE: Final = "application/octet-stream"
_WRITERS: Final = 8
_DENIED: Final = (401, 403, 405)


class RegistryVault:
    """See :class:`buildonce.protocols.Vault`."""

    def __init__(self, repository: Repository, net: Net) -> None:
        self._repository, self._net = repository, net
        self._registry = Registry(repository, net)

    @property
    def name(self) -> str:
        """The repository, as ``oci://host/name``."""
        return str(self._repository)

    def bring(self, file: RemoteFile, part: Path, *, came: Callable[[int], None], stop: threading.Event) -> bool:
        """See :meth:`buildonce.protocols.Vault.bring`."""
        return self._registry.read_blob(file.sha256, part, size=file.size, came=came, stop=stop)

    def listing(self, digest: Digest) -> bytes | None:
        """The listing of the lock *digest*, or None when its inputs are not kept here."""
        with self._explained("read"):
            return self._listing(digest)

    def keep(self, contents: Contents, progress: Progress, *, thorough: bool) -> Kept:  # noqa: ARG002 - others look
        """Send what is not there; the manifest comes last. *thorough* changes nothing: a registry knows its blobs.

        Raises :class:`DeniedError` when this user may not push, :class:`ReleaseError` when the registry cannot be
        reached. What was sent until then need not be sent again.
        """
        with self._explained("written"):
            return self._keep(contents, progress)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Tell who may not from what went wrong."""
        try:
            yield
        except RefusedError as error:
            if error.status not in _DENIED:
                raise
            problem = error.problems[0]
            message = f"the vault cannot be {what} by this user: {problem.message}"
            raise DeniedError(message, where=self.name, hint=problem.hint) from error

    def _listing(self, digest: Digest) -> bytes | None:
        manifest = self._registry.manifest(_tag(digest))
        if manifest is None:
            return None
        for layer in self._layers(manifest):
            if layer.get("mediaType") == _LISTING_TYPE:
                answer = self._registry.read_small(Digest(str(layer["digest"]).removeprefix("sha256:")))
                if answer is not None:
                    return answer
        raise VerificationError(f"the manifest {_tag(digest)} has no listing of inputs", where=self.name)

    def _keep(self, contents: Contents, progress: Progress) -> Kept:
        before = self._registry.manifest(_tag(contents.digest))
        wanted = [_descriptor(one) for one in contents.inputs]
        added = self._send(contents, progress)
        registry = self._registry
        listing = registry.push_bytes(contents.listing, _LISTING_TYPE)
        layers = [
            Descriptor(media_type=_LISTING_TYPE, digest=listing.digest, size=listing.size, title=_LISTING).json(),
            *(one.json() for one in wanted),
        ]
        known = _digests(layers)
        # What was kept for the same lock, such as another base image, stays.
        layers += [
            row for row in self._layers(before or b"{}") if row.get("digest", "").removeprefix("sha256:") not in known
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": registry.push_bytes(EMPTY, EMPTY_TYPE).json(),
            "layers": layers,
        }
        data = canonical.dump(manifest)
        if data != before:
            registry.push_manifest(data, _tag(contents.digest))
        return Kept(
            vault=self.name, files=len(contents.inputs), added=len(added), added_bytes=sum(one.size for one in added)
        )

    def _send(self, contents: Contents, progress: Progress) -> list[Input]:
        """Send the blobs that are missing, several at a time; answers which."""
        amount = Amount(contents.size, lambda done, total: progress.advance("keeping", done, total))

        def send(one: Input) -> bool:
            came = amount.of(one.sha256)
            sent = self._registry.push_blob(one.path, one.sha256, came=came)
            came(one.size)
            return sent

        with ThreadPoolExecutor(_WRITERS) as pool:
            jobs = [pool.submit(send, one) for one in contents.inputs]
            try:
                return [one for one, job in zip(contents.inputs, jobs, strict=True) if job.result()]
            except BaseException:
                self._registry.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _layers(self, manifest: bytes) -> list[dict[str, Any]]:
        try:
            found = json.loads(manifest).get("layers", [])
        except (ValueError, AttributeError) as error:
            raise VerificationError(f"the manifest cannot be read: {error}", where=self.name) from error
        return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def _tag(digest: str) -> str:
    return f"inputs-{digest}"


def _descriptor(one: Input) -> Descriptor:
    return Descriptor(media_type=_FILE_TYPE, digest=one.sha256, size=one.size, title=one.name)


def _digests(layers: list[dict[str, Any]]) -> set[str]:
    return {str(row.get("digest", "")).removeprefix("sha256:") for row in layers}
