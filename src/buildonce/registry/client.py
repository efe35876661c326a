"""Blobs and manifests of one repository (OCI distribution specification 1.1).

A blob that the registry has is never sent again. One that is large goes in one piece, as every registry takes it; when
the connection breaks on the way, or the registry wants smaller pieces, the rest goes in chunks, from where it is.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from buildonce.errors import ReleaseError, VerificationError
from buildonce.registry.session import Session, refusal
from buildonce.system import files
from buildonce.system.net import Interrupted, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.model import Digest
    from buildonce.registry.repository import Repository
    from buildonce.system.net import Answer, Net

__all__ = ["EMPTY", "MANIFEST_TYPE", "Descriptor", "Registry"]

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
_DOCKER: Final = "application/vnd.docker.distribution.manifest"
_MANIFEST_TYPES: Final = f"{MANIFEST_TYPE}, {_INDEX_TYPE}, {_DOCKER}.v2+json, {_DOCKER}.list.v2+json"
EMPTY: Final = b"{}"  # image specification 1.1, "Guidance for an Empty Descriptor"
_LARGEST_MANIFEST: Final = 4 << 20  # what registries have to take at least; most take no more
_OK, _CREATED, _ACCEPTED, _NO_CONTENT = 200, 201, 202, 204
_UNAUTHORIZED, _NOT_FOUND = 401, 404
_PIECE: Final = 1 << 18
_CHUNK: Final = 4 << 20  # the largest that every known registry takes
_TRIES: Final = 5
_BYTES: Final = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """What a manifest says of a blob or of another manifest."""

    media_type: str
    digest: Digest
    size: int
    title: str = ""  # the annotation org.opencontainers.image.title: a file name

    def json(self) -> dict[str, Any]:
        """The descriptor as it stands in a manifest."""
        found = {"mediaType": self.media_type, "digest": f"sha256:{self.digest}", "size": self.size}
        return {**found, "annotations": {"org.opencontainers.image.title": self.title}} if self.title else found


class Registry:
    """One repository. Safe to use from several threads; *stop* ends transfers with :class:`Interrupted`.

    Every method raises :class:`ReleaseError` when the registry cannot be reached, and :class:`RefusedError` (with the
    status) when it says no.
    """

    def __init__(self, repository: Repository, net: Net, *, stop: threading.Event | None = None) -> None:
        self.repository = repository
        self._net, self._stop = net, stop or threading.Event()
        self._session = Session(repository, net)

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository has the blob."""
        answer = self._session.ask("HEAD", self._blob(digest))
        if answer.status not in (_OK, _NOT_FOUND):
            raise refusal(answer, self.repository, "looking for a blob")
        return answer.status == _OK

    def read_blob(
        self,
        digest: Digest,
        part: Path,
        *,
        size: int | None = None,
        came: Callable[[int], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> bool:
        """Fetch a blob into *part*, going on behind what that has already; False when the repository has it not.

        The bytes are not checked here. Raises as :meth:`buildonce.system.net.Net.download` does.
        """
        url = self._blob(digest)
        for tries_left in (1, 0):
            used = self._session.authorization
            try:
                self._net.download(
                    url, part, size=size, came=came, stop=stop or self._stop, headers=self._session.headers(url)
                )
            except RefusedError as error:
                if error.status == _NOT_FOUND:
                    return False
                if error.status != _UNAUTHORIZED or not tries_left:
                    raise self._denied(error) from error
                # A download does not keep the challenge: a question about the same blob gets it and answers it.
                if self._session.authorization == used and not self.has_blob(digest):
                    return False
            else:
                return True
        return False  # never reached: the second try returns or raises

    def read_small(self, digest: Digest) -> bytes | None:
        """The checked bytes of a small blob, such as a configuration; None when the repository has it not."""
        answer = self._session.ask("GET", self._blob(digest))
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise refusal(answer, self.repository, "reading a blob")
        if files.sha256_bytes(answer.body) != digest:
            raise VerificationError(f"the blob sha256:{digest} has other bytes", where=str(self.repository))
        return answer.body

    def push_blob(self, path: Path, digest: Digest, *, came: Callable[[int], None] = lambda _: None) -> bool:
        """Send the file *path*, whose sha256 is *digest*, unless it is there; answers whether it was sent.

        *came* hears how many bytes the registry has been sent.
        """
        if self.has_blob(digest):
            return False
        _Upload(self, path, digest, came).run()
        return True

    def push_bytes(self, data: bytes, media_type: str) -> Descriptor:
        """Send a small blob unless it is there."""
        digest = files.sha256_bytes(data)
        if not self.has_blob(digest):
            place, _ = self.begin()
            answer = self.ask("PUT", finished(place, digest), headers=_BYTES, body=data)
            if answer.status != _CREATED:
                raise refusal(answer, self.repository, "sending a blob")
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def manifest(self, reference: str) -> bytes | None:
        """The exact bytes of the manifest with this tag or digest (``sha256:…``, checked); None when there is none."""
        answer = self._session.ask("GET", self._manifest(reference), headers={"Accept": _MANIFEST_TYPES})
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise refusal(answer, self.repository, f"reading the manifest {reference}")
        if reference.startswith("sha256:") and reference != f"sha256:{files.sha256_bytes(answer.body)}":
            raise VerificationError(f"the manifest {reference} has other bytes", where=str(self.repository))
        return answer.body

    def push_manifest(self, data: bytes, reference: str = "", *, media_type: str = MANIFEST_TYPE) -> Digest:
        """Store exactly these bytes under a tag, or only under their digest; answers that. Blobs have to be there."""
        digest = files.sha256_bytes(data)
        if len(data) > _LARGEST_MANIFEST:
            raise ReleaseError("the manifest is larger than 4 MiB, which registries refuse", where=str(self.repository))
        answer = self._session.ask(
            "PUT", self._manifest(reference or f"sha256:{digest}"), headers={"Content-Type": media_type}, body=data
        )
        if answer.status != _CREATED:
            raise refusal(answer, self.repository, "writing the manifest")
        if answer.headers.get("docker-content-digest", f"sha256:{digest}") != f"sha256:{digest}":
            raise VerificationError("the registry stored another manifest than it was sent", where=str(self.repository))
        return digest

    def begin(self) -> tuple[str, int]:
        """Begin an upload; answers where its bytes go, and the smallest chunk that the registry takes."""
        answer = self._session.ask("POST", self.repository.url("blobs/uploads/"))
        if answer.status != _ACCEPTED or "location" not in answer.headers:
            raise refusal(answer, self.repository, "beginning an upload")
        least = answer.headers.get("oci-chunk-min-length", "")
        return self.place(answer, ""), int(least) if least.isdecimal() else 0

    def ask(
        self, method: str, url: str, *, headers: dict[str, str], body: Callable[[], Iterator[bytes]] | bytes = b""
    ) -> Answer:
        """A request that is part of an upload, sent once."""
        return self._session.ask(method, url, headers=headers, body=body, again=False)

    def place(self, answer: Answer, before: str) -> str:
        """Where the upload goes on: registries may move it with every answer, by a path or a whole address."""
        location = answer.headers.get("location")
        return urljoin(before or self.repository.url(""), location) if location else before

    def rest(self, failures: int) -> bool:
        """Wait before the next try, longer after each failure; answers whether transfers have to end."""
        return self._stop.wait(self._net.pause_after(failures))

    def stop(self) -> None:
        """End all transfers, in whatever thread."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether transfers have to end."""
        return self._stop.is_set()

    def _blob(self, digest: Digest) -> str:
        return self.repository.url(f"blobs/sha256:{digest}")

    def _manifest(self, reference: str) -> str:
        return self.repository.url(f"manifests/{reference}")

    def _denied(self, error: RefusedError) -> RefusedError:
        hint = f"docker login {self.repository.host}" if error.status in (_UNAUTHORIZED, 403) else ""
        return RefusedError(str(error), status=error.status, where=str(self.repository), hint=hint)


class _Upload:
    """One blob on its way."""

    def __init__(self, registry: Registry, path: Path, digest: Digest, came: Callable[[int], None]) -> None:
        self._registry, self._path, self._digest, self._came = registry, path, digest, came
        self._size = path.stat().st_size
        self._place, self._least = registry.begin()

    def run(self) -> None:
        try:
            answer = self._send("PUT", finished(self._place, self._digest), 0, self._size)
        except ReleaseError:
            pass  # it broke on the way
        else:
            if answer.status == _CREATED:
                return
            if answer.status in (_UNAUTHORIZED, 403):
                raise refusal(answer, self._registry.repository, "sending a blob")
        self._in_chunks()

    def _in_chunks(self) -> None:
        offset, failures = self._offset(), 0
        while offset < self._size:
            length = min(max(_CHUNK, self._least), self._size - offset)
            try:
                answer = self._send("PATCH", self._place, offset, length)
                if answer.status not in (_ACCEPTED, _CREATED, _NO_CONTENT):
                    raise refusal(answer, self._registry.repository, "sending a blob")
            except ReleaseError:
                failures += 1
                if failures >= _TRIES or self._registry.rest(failures):
                    raise
                before, offset = offset, self._offset()
                failures = 0 if offset > before else failures
            else:
                self._place, offset, failures = self._registry.place(answer, self._place), offset + length, 0
        answer = self._registry.ask("PUT", finished(self._place, self._digest), headers={"Content-Length": "0"})
        if answer.status != _CREATED:
            raise refusal(answer, self._registry.repository, "sending a blob")

    def _send(self, method: str, url: str, offset: int, length: int) -> Answer:
        headers = {**_BYTES, "Content-Length": str(length)}
        if method == "PATCH":
            headers["Content-Range"] = f"{offset}-{offset + length - 1}"
        return self._registry.ask(method, url, headers=headers, body=lambda: self._pieces(offset, length))

    def _pieces(self, offset: int, length: int) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(offset)
            while length and (piece := file.read(min(_PIECE, length))):
                if self._registry.stopped:
                    raise Interrupted
                yield piece
                length -= len(piece)
                self._came(file.tell())

    def _offset(self) -> int:
        """How many bytes the registry has; a new upload when it forgot this one."""
        answer = self._registry.ask("GET", self._place, headers={})
        found = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("range", ""))
        if answer.status == _NO_CONTENT:
            self._place = self._registry.place(answer, self._place)
            # "0-0" is said of nothing as well as of one byte; a chunk too many is refused and begins anew.
            return int(found[1]) + 1 if found and found[1] != "0" else 0
        self._place, self._least = self._registry.begin()
        return 0


def finished(place: str, digest: Digest) -> str:
    """The address that ends an upload: *place* with the digest behind whatever its query holds."""
    parts = urlsplit(place)
    query = "&".join(part for part in (parts.query, urlencode({"digest": f"sha256:{digest}"})) if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
