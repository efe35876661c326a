"""Blobs and manifests of one repository (OCI distribution specification 1.1).

A blob that the registry has is never sent again; one that another repository of the registry has is mounted from there.
One that is large goes in one piece, as every registry takes it; when the connection breaks on the way, or the registry
wants smaller pieces, the rest goes in chunks, from where it is (:mod:`buildonce.registry.uploading`).
"""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urljoin

from buildonce.errors import ReleaseError, VerificationError
from buildonce.registry.session import Session, refusal
from buildonce.registry.uploading import BYTES, TRIES, Upload, finished
from buildonce.system import files
from buildonce.system.net import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from buildonce.model import Digest
    from buildonce.registry.repository import Repository
    from buildonce.system.archive import Part
    from buildonce.system.net import Answer, Net

__all__ = ["EMPTY", "EMPTY_TYPE", "INDEX_TYPE", "MANIFEST_TYPE", "Descriptor", "Registry"]

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
_DOCKER: Final = "application/vnd.docker.distribution.manifest"
_MANIFEST_TYPES: Final = f"{MANIFEST_TYPE}, {INDEX_TYPE}, {_DOCKER}.v2+json, {_DOCKER}.list.v2+json"
EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
EMPTY: Final = b"{}"  # image specification 1.1, "Guidance for an Empty Descriptor"
_MOST_PAGES: Final = 10_000
_LARGEST_MANIFEST: Final = 4 << 20  # what registries have to take at least; most take no more
_OK, _CREATED, _ACCEPTED = 200, 201, 202
_UNAUTHORIZED, _NOT_FOUND, _SERVER_ERROR = 401, 404, 500


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

    def push_blob(
        self,
        source: Path | Part,
        digest: Digest,
        *,
        came: Callable[[int], None] = lambda _: None,
        mount: Sequence[Repository] = (),
    ) -> bool:
        """Send *source*, whose sha256 is *digest*, unless it is there; answers whether bytes were sent.

        Before, the registry is asked to take it from one of the repositories *mount*. *came* hears how many bytes the
        registry has been sent.
        """
        if self.has_blob(digest):
            return False
        begun = self._mounted(digest, [one.name for one in mount if one.host == self.repository.host])
        if begun == "":
            return False
        place, least = (begun, 0) if begun else self.begin()
        Upload(self, source, digest, place=place, least=least, came=came).run()
        return True

    def mount_blob(self, digest: Digest, source: Repository) -> bool:
        """Let the registry take a blob from its repository *source*; answers whether the blob is there now."""
        if self.has_blob(digest):
            return True
        begun = self._mounted(digest, [source.name] if source.host == self.repository.host else [])
        if begun:
            self._cancel(begun)
        return begun == ""

    def _mounted(self, digest: Digest, names: Sequence[str]) -> str | None:
        """``""`` when one of the repositories *names* gave the blob, else the upload that was begun in its place."""
        begun = None
        for name in names:
            if begun:
                self._cancel(begun)
            query = urlencode({"mount": f"sha256:{digest}", "from": name})
            answer = self._session.ask("POST", self.repository.url(f"blobs/uploads/?{query}"))
            if answer.status == _CREATED:
                return ""
            # Who may not read there is told so by some registries, and sends the bytes.
            begun = self.place(answer, "") if answer.status == _ACCEPTED and "location" in answer.headers else None
        return begun

    def require_push(self) -> None:
        """Make sure that this user may push, and leave nothing behind. Raises :class:`RefusedError`."""
        self._cancel(self.begin()[0])

    def _cancel(self, place: str) -> None:
        with contextlib.suppress(ReleaseError):  # registries forget uploads after a while
            self.ask("DELETE", place, headers={})

    def push_bytes(self, data: bytes, media_type: str) -> Descriptor:
        """Send a small blob unless it is there; tried again when the connection breaks."""
        digest, failures = files.sha256_bytes(data), 0
        while not self.has_blob(digest):
            try:
                place, _ = self.begin()
                answer = self.ask("PUT", finished(place, digest), headers=BYTES, body=data)
                if answer.status == _CREATED:
                    break
                raise refusal(answer, self.repository, "sending a blob")
            except ReleaseError as error:
                failures += 1
                hopeless = isinstance(error, RefusedError) and error.status < _SERVER_ERROR
                if hopeless or failures >= TRIES or self.rest(failures):
                    raise
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

    def tags(self) -> tuple[str, ...]:
        """All tags of the repository; none when there is no such repository."""
        rows = self._pages(self.repository.url("tags/list"), "tags", "listing tags")
        return tuple(str(row) for row in rows or ())

    def referrers(self, digest: Digest) -> tuple[dict[str, Any], ...] | None:
        """The descriptors of what refers to the manifest *digest*; None when the registry does not keep them."""
        rows = self._pages(self.repository.url(f"referrers/sha256:{digest}"), "manifests", "listing referrers")
        return None if rows is None else tuple(row for row in rows if isinstance(row, dict))

    def _pages(self, url: str, key: str, what: str) -> list[Any] | None:
        """The rows below *key* of a listing of several pages (RFC 8288 names the next); None when there is none."""
        found: list[Any] = []
        for _ in range(_MOST_PAGES):
            answer = self._session.ask("GET", url)
            if answer.status == _NOT_FOUND:
                return None
            if answer.status != _OK:
                raise refusal(answer, self.repository, what)
            try:
                found += json.loads(answer.body)[key] or []
            except (ValueError, KeyError, TypeError) as error:
                raise ReleaseError(f"{what}: the registry's answer is no list", where=str(self.repository)) from error
            place, _, relation = answer.headers.get("link", "").partition(">")
            if 'rel="next"' not in relation:
                break
            url = urljoin(url, place.lstrip(" <"))
        return found

    def begin(self) -> tuple[str, int]:
        """Begin an upload; answers where its bytes go, and the smallest chunk that the registry takes."""
        answer = self._session.ask("POST", self.repository.url("blobs/uploads/"))
        if answer.status != _ACCEPTED or "location" not in answer.headers:
            raise refusal(answer, self.repository, "beginning an upload")
        least = answer.headers.get("oci-chunk-min-length", "")
        return self.place(answer, ""), int(least) if least.isdecimal() else 0

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        body: Callable[[], Iterator[bytes]] | bytes = b"",
        again: bool = False,
    ) -> Answer:
        """A request that is part of an upload; sent once, unless it may be sent *again*."""
        return self._session.ask(method, url, headers=headers, body=body, again=again)

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
