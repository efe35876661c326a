"""The only HTTP. Proxies, netrc and certificates are those that pip and curl would use on this machine.

A connection that breaks is taken up again where it broke (RFC 9110, 14: range requests); a busy server is
asked again, more slowly each time. Bytes are handed on as they come: whoever asked for them checks what they
are.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from buildonce.errors import ReleaseError
from buildonce.system import certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import httpx

__all__ = ["Answer", "Interrupted", "Net", "RefusedError", "shown"]

_CHUNK = 1 << 17
_LARGEST_DOCUMENT = 64 << 20
_LONGEST_PAUSE = 60.0
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_THIS_RANGE = 416


class Interrupted(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The download was told to stop; what came so far is kept."""


class RefusedError(ReleaseError):
    """The server answered, and its answer is no: *status* says which no."""

    def __init__(self, message: str, *, status: int, where: str, hint: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a server said. The names of ``headers`` are lower case; ``url`` is where it was said, after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""


class _Again(Exception):  # noqa: N818 - an answer, not an error
    """Worth another try, *after* seconds at the earliest."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Net:
    """HTTP for the whole run; safe to use from several threads. Connects on first use.

    *patience* is how many tries in a row may bring nothing new, *pause* the seconds before the second of them
    (each next pause is twice as long), *timeout* the seconds that a server may be silent.
    """

    def __init__(self, *, patience: int = 5, pause: float = 0.5, timeout: float = 60.0, streams: int = 16) -> None:
        self.streams = streams
        self._patience, self._pause, self._timeout = patience, pause, timeout
        self._connecting = threading.Lock()
        self._client: httpx.Client | None = None

    def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def pause_after(self, failures: int) -> float:
        """How many seconds to wait after so many failures in a row."""
        return min(self._pause * 2.0 ** (failures - 1), _LONGEST_PAUSE)

    def read(self, url: str, *, accept: str = "*/*") -> bytes:
        """A small document; *accept* is a header. Raises :class:`ReleaseError` when it cannot be had."""
        document = bytearray()

        def attempt() -> None:
            document.clear()
            with self._open(url, {"Accept": accept}) as response:
                for chunk in response.iter_bytes(_CHUNK):
                    document.extend(chunk)
                    if len(document) > _LARGEST_DOCUMENT:
                        raise ReleaseError(f"larger than {_LARGEST_DOCUMENT >> 20} MiB", where=shown(url))

        self._persist(url, attempt, lambda: 0, threading.Event())
        return bytes(document)

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Callable[[], Iterator[bytes]] | bytes = b"",
        again: bool = True,
    ) -> Answer:
        """One request of a protocol whose answers the caller knows: whatever the status, it is the answer.

        The credentials are those in *headers*, never those of the netrc file. A busy server or a broken connection is
        tried *again*; not for a *body* of which the server may have taken a part.

        Raises :class:`ReleaseError` when there is no answer.
        """
        found: list[Answer] = []

        def attempt() -> None:
            content = body if isinstance(body, bytes) else body()
            headers_ = {"Accept-Encoding": "identity", **headers}
            with self._connected().stream(method, url, headers=headers_, content=content, auth=None) as response:
                document = bytearray()
                for chunk in response.iter_bytes(_CHUNK):
                    document.extend(chunk)
                    if len(document) > _LARGEST_DOCUMENT:
                        raise ReleaseError(f"larger than {_LARGEST_DOCUMENT >> 20} MiB", where=shown(url))
                if again and response.status_code in _BUSY:
                    raise _busy(response)
                lower = {name.lower(): value for name, value in response.headers.items()}
                found.append(
                    Answer(status=response.status_code, headers=lower, body=bytes(document), url=str(response.url))
                )

        self._persist(url, attempt, lambda: 0, threading.Event(), patience=self._patience if again else 1)
        return found[0]

    def size(self, url: str) -> int | None:
        """How many bytes *url* has, without fetching them; None when the server does not say."""
        found: list[str] = []

        def attempt() -> None:
            with self._open(url, {}, method="HEAD") as response:
                found[:] = [response.headers.get("Content-Length", "")]

        try:
            self._persist(url, attempt, lambda: 0, threading.Event())
        except ReleaseError:
            return None
        return int(found[0]) if found[0].isdecimal() else None

    def download(
        self,
        url: str,
        part: Path,
        *,
        size: int | None = None,
        came: Callable[[int], None] = lambda _: None,
        stop: threading.Event | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Fetch *url* into the file *part*, going on behind the bytes that it has already.

        *came* hears how many bytes the part has, after each piece. Ends as soon as there are more than *size*
        bytes: the caller sees the wrong size. With *headers* (of a protocol), the netrc file has no say.

        Raises :class:`RefusedError` when the server says no, :class:`ReleaseError`, with the part kept, when the
        network fails, OSError when the disk does, and :class:`Interrupted` when *stop* is set.
        """
        stop = stop or threading.Event()

        def have() -> int:
            return part.stat().st_size if part.exists() else 0

        def attempt() -> None:
            if (start := have()) and size is not None and start >= size:
                return
            with self._open(
                url, {**(headers or {}), **({"Range": f"bytes={start}-"} if start else {})}, own=headers is not None
            ) as response:
                _append(response, part, start, size, came, stop)
            if size is not None and have() < size:
                raise _Again(f"the answer ended after {have()} of {size} bytes")

        self._persist(url, attempt, have, stop)

    def _persist(
        self,
        url: str,
        attempt: Callable[[], None],
        progress: Callable[[], int],
        stop: threading.Event,
        *,
        patience: int | None = None,
    ) -> None:
        """Try until it works, or until ``patience`` tries in a row got no further than any before."""
        import httpx

        patience = patience or self._patience
        furthest, failures = progress(), 0
        while True:
            try:
                return attempt()
            except (httpx.HTTPError, httpx.InvalidURL, _Again) as error:
                failures += 1
                if (reached := progress()) > furthest:
                    furthest, failures = reached, 1
                if failures >= patience or _is_hopeless(error):
                    raise _failure(url, error) from error
                after = error.after if isinstance(error, _Again) else 0.0
                if stop.wait(min(max(self.pause_after(failures), after), _LONGEST_PAUSE)):
                    raise Interrupted from error

    @contextlib.contextmanager
    def _open(
        self, url: str, headers: Mapping[str, str], method: str = "GET", *, own: bool = False
    ) -> Iterator[httpx.Response]:
        """The answer to a request; with *own*, its headers hold the credentials, and the netrc file has no say."""
        import httpx

        # Compression on the way would leave it to the server which bytes are counted and hashed.
        headers = {"Accept-Encoding": "identity", **headers}
        auth = None if own else httpx.USE_CLIENT_DEFAULT
        with self._connected().stream(method, url, headers=headers, auth=auth) as response:
            if response.status_code in _BUSY:
                raise _busy(response)
            if not response.is_success and response.status_code != _NOT_THIS_RANGE:
                code = response.status_code
                raise RefusedError(_says(response), status=code, where=shown(url), hint=_HINTS.get(code, ""))
            yield response

    def _connected(self) -> httpx.Client:
        import httpx

        with self._connecting:
            if self._client is None:
                self._client = httpx.Client(
                    auth=_netrc(),
                    follow_redirects=True,
                    headers={"User-Agent": "buildonce"},
                    limits=httpx.Limits(max_connections=self.streams, max_keepalive_connections=self.streams),
                    timeout=self._timeout,
                    verify=certificates.trusted(),
                )
            return self._client


def _says(response: httpx.Response) -> str:
    return f"the server says {response.status_code} {response.reason_phrase}".strip()


def _busy(response: httpx.Response) -> _Again:
    after = response.headers.get("Retry-After", "")
    return _Again(_says(response), float(after) if after.isdecimal() else 0.0)


_HINTS: Final = {
    401: "put the credentials for this host into ~/.netrc",
    403: "put the credentials for this host into ~/.netrc",
    404: "the file is no longer there; `release lock` finds where it is now",
    410: "the file is no longer there; `release lock` finds where it is now",
}


def shown(url: str) -> str:
    """*url* without credentials: user, password and whatever the query holds."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _append(
    response: httpx.Response,
    part: Path,
    start: int,
    size: int | None,
    came: Callable[[int], None],
    stop: threading.Event,
) -> None:
    offset = _offset(response)
    if offset not in {0, start}:
        os.truncate(part, 0)
        raise _Again("the server sent another range than it was asked for")
    with part.open("r+b" if part.exists() else "wb", buffering=0) as file:
        file.seek(offset)
        file.truncate()
        for chunk in response.iter_raw():
            file.write(chunk)
            came(file.tell())
            if stop.is_set():
                raise Interrupted
            if size is not None and file.tell() > size:
                return


def _offset(response: httpx.Response) -> int:
    """Where the answer starts; -1 when it is of no use. A server may ignore Range and send everything."""
    if response.status_code == _NOT_THIS_RANGE:
        return -1
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else 0


def _is_hopeless(error: Exception) -> bool:
    """Whether another try would say the same."""
    import httpx

    same = (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects, httpx.DecodingError)
    return isinstance(error, same) or "CERTIFICATE_VERIFY_FAILED" in str(error)


def _failure(url: str, error: Exception) -> ReleaseError:
    reason = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return ReleaseError(
            f"the server's certificate is not trusted: {reason}",
            where=shown(url),
            hint="name your organisation's certificates: SSL_CERT_FILE=/path/to/bundle.pem",
        )
    if _is_hopeless(error):
        return ReleaseError(f"this address cannot be fetched: {reason}", where=shown(url))
    return ReleaseError(
        f"the network was cut: {reason}",
        where=shown(url),
        hint="run it again: what is here is kept, and only the rest is fetched",
    )


def _netrc() -> httpx.NetRCAuth | None:
    import httpx

    named = os.environ.get("NETRC")
    path = Path(named) if named else Path.home() / ".netrc"
    try:
        return httpx.NetRCAuth(str(path)) if path.is_file() else None
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError) as error:
        raise ReleaseError(f"the netrc file cannot be read: {error}", where=str(path)) from error
