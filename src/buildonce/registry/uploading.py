"""One blob on its way to a registry: in one piece, and when that breaks in chunks, from where the registry is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from buildonce.errors import ReleaseError
from buildonce.registry.session import refusal
from buildonce.system.archive import Part
from buildonce.system.net import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buildonce.model import Digest
    from buildonce.registry.client import Registry
    from buildonce.system.net import Answer

__all__ = ["BYTES", "TRIES", "Upload", "finished"]

BYTES: Final = {"Content-Type": "application/octet-stream"}
_CREATED, _ACCEPTED, _NO_CONTENT = 201, 202, 204
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_PIECE: Final = 1 << 18
_CHUNK: Final = 4 << 20  # the largest that every known registry takes
TRIES: Final = 5


class Upload:
    """The blob *digest*, all of a file or a part of one, to *place*, where the registry begins to take it.

    *least* is the smallest chunk that the registry takes, *came* hears how many bytes it has been sent.
    """

    def __init__(
        self,
        registry: Registry,
        source: Path | Part,
        digest: Digest,
        *,
        place: str,
        least: int,
        came: Callable[[int], None],
    ) -> None:
        self._registry, self._digest, self._came = registry, digest, came
        self._source = Part(path=source, start=0, size=source.stat().st_size) if isinstance(source, Path) else source
        self._place, self._least = place, least

    def run(self) -> None:
        """Send it. Raises :class:`ReleaseError` when the registry cannot be reached or says no."""
        try:
            answer = self._send("PUT", finished(self._place, self._digest), 0, self._source.size)
        except ReleaseError:
            pass  # it broke on the way
        else:
            if answer.status == _CREATED:
                return
            if answer.status in (_UNAUTHORIZED, _FORBIDDEN):
                raise refusal(answer, self._registry.repository, "sending a blob")
        if not self._registry.has_blob(self._digest):  # it may have come, and only the answer was lost
            self._in_chunks()

    def _in_chunks(self) -> None:
        offset, failures, size = self._offset(), 0, self._source.size
        while offset < size:
            length = min(max(_CHUNK, self._least), size - offset)
            try:
                answer = self._send("PATCH", self._place, offset, length)
                if answer.status not in (_ACCEPTED, _CREATED, _NO_CONTENT):
                    raise refusal(answer, self._registry.repository, "sending a blob")
            except ReleaseError:
                failures += 1
                if failures >= TRIES or self._registry.rest(failures):
                    raise
                before, offset = offset, self._offset()
                failures = 0 if offset > before else failures
            else:
                self._place, offset, failures = self._registry.place(answer, self._place), offset + length, 0
        self._finish()

    def _finish(self) -> None:
        try:
            answer = self._registry.ask("PUT", finished(self._place, self._digest), headers={"Content-Length": "0"})
            if answer.status != _CREATED:
                raise refusal(answer, self._registry.repository, "sending a blob")
        except ReleaseError:
            if not self._registry.has_blob(self._digest):  # else only the answer was lost
                raise

    def _send(self, method: str, url: str, offset: int, length: int) -> Answer:
        headers = {**BYTES, "Content-Length": str(length)}
        if method == "PATCH":
            headers["Content-Range"] = f"{offset}-{offset + length - 1}"
        return self._registry.ask(method, url, headers=headers, body=lambda: self._pieces(offset, length))

    def _pieces(self, offset: int, length: int) -> Iterator[bytes]:
        with self._source.path.open("rb") as file:
            file.seek(self._source.start + offset)
            while length and (piece := file.read(min(_PIECE, length))):
                if self._registry.stopped:
                    raise Interrupted
                yield piece
                length -= len(piece)
                self._came(file.tell() - self._source.start)

    def _offset(self) -> int:
        """How many bytes the registry has; a new upload when it forgot this one."""
        answer = self._registry.ask("GET", self._place, headers={}, again=True)
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
