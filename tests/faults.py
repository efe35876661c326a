"""A proxy on this machine before any HTTP server, in which something goes wrong at a given request.

Used by the tests of everything that sends: a fault at the first request, at the second, …, at the last of them.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

Kind = Literal["unheard", "half", "unanswered", "status", "slow", "truncated"]

# Every kind, for parametrised tests.
KINDS: tuple[Kind, ...] = ("unheard", "half", "unanswered", "status", "slow", "truncated")

_PIECE = 1 << 16
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "expect", "proxy-connection", "te", "upgrade"})
_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to *times* requests (None: to all) from the request with the number *first* on, counted from 1.
    With *only*, nothing but requests that begin so (``PUT /v2/``) is counted.

    unheard      the connection is cut before the server hears of the request, as when it is down
    half         the connection is cut in the middle of the request's body; without one it is as ``unheard``
    unanswered   the server does what it is asked, and the connection is cut before the answer
    status       the answer is *status*, and the server hears nothing of it
    slow         the answer comes *seconds* late
    truncated    the server does what it is asked, and the connection is cut in the middle of the answer's body
    """

    kind: Kind
    first: int = 1
    times: int | None = None
    status: int = 500
    seconds: float = 0.05
    only: str = ""

    def hits(self, number: int) -> bool:
        return number >= self.first and (self.times is None or number < self.first + self.times)


@dataclass(kw_only=True)
class Exchange:
    """A request and its answer, as far as they came; the bytes are those of the bodies."""

    number: int
    method: str
    path: str
    received: int = 0  # from the client
    sent: int = 0  # to the client
    status: int | None = None  # what the client was told; None: nothing
    fault: Kind | None = None


@dataclass
class Proxy:
    """Stands before one server. ``fault`` may be set at any time; ``exchanges`` are in order of their beginnings."""

    url: str  # with the server's path, without a slash at the end
    host: str  # with the port
    fault: Fault | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def received(self) -> int:
        """The bytes of all request bodies."""
        return sum(one.received for one in self.exchanges)

    @property
    def sent(self) -> int:
        """The bytes of all answers' bodies."""
        return sum(one.sent for one in self.exchanges)

    @property
    def faults(self) -> int:
        """How many requests something went wrong with."""
        return sum(one.fault is not None for one in self.exchanges)

    @property
    def requests(self) -> list[str]:
        """``PUT /v2/…`` of every request so far."""
        return [f"{one.method} {one.path}" for one in self.exchanges]

    def reset(self, fault: Fault | None = None) -> None:
        """Forget what was, count from 1 again, with another *fault* or none."""
        with self._lock:
            self.exchanges, self.fault = [], fault

    def begin(self, method: str, path: str) -> tuple[Exchange, Fault | None]:
        with self._lock:
            made = Exchange(number=len(self.exchanges) + 1, method=method, path=path)
            self.exchanges.append(made)
            fault = self.fault
            number = sum(one.startswith(fault.only) for one in self.requests) if fault else 0
            hit = fault if fault and self.requests[-1].startswith(fault.only) and fault.hits(number) else None
            made.fault = hit.kind if hit else None
            return made, hit


@contextlib.contextmanager
def proxy(to: str, *, trust: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """A proxy before the server at the address *to* (``http://127.0.0.1:5000``); to it plain HTTP is spoken.

    With *trust* the server is spoken to by TLS.
    """
    parts = urlsplit(to)
    if parts.scheme == "https":
        assert trust, "a context that trusts the server is needed"

    class Handler(_Handler):
        server_host, server_port, context = parts.hostname or "", parts.port or 80, trust

    with _Server(("127.0.0.1", 0), Handler) as server:
        host = f"127.0.0.1:{server.server_address[1]}"
        made = Proxy(url=urlunsplit(("http", host, parts.path, "", "")).rstrip("/"), host=host)
        Handler.proxy = made
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or that was cut off, is the purpose."""


class _CutError(Exception):
    """The connection to the client ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client to acknowledge its headers
    proxy: Proxy
    server_host: str
    server_port: int
    context: ssl.SSLContext | None

    def _serve(self) -> None:
        exchange, fault = self.proxy.begin(self.command, self.path)
        try:
            self._exchange(exchange, fault)
        except (OSError, http.client.HTTPException, _CutError):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _exchange(self, exchange: Exchange, fault: Fault | None) -> None:
        kind = fault.kind if fault else None
        if kind == "unheard":
            raise _CutError
        if fault and kind == "status":
            for piece in self._body():
                exchange.received += len(piece)
            self._refuse(exchange, fault.status)
            return
        with contextlib.closing(self._far()) as far:
            self._forward(far, exchange, half=kind == "half")
            answer = far.getresponse()
            if fault and kind == "slow":
                time.sleep(fault.seconds)
            if kind == "unanswered":
                answer.read()
                raise _CutError
            self._answer(answer, exchange, truncated=kind == "truncated")

    def _far(self) -> http.client.HTTPConnection:
        if self.context:
            return http.client.HTTPSConnection(self.server_host, self.server_port, context=self.context, timeout=60)
        return http.client.HTTPConnection(self.server_host, self.server_port, timeout=60)

    def _forward(self, far: http.client.HTTPConnection, exchange: Exchange, *, half: bool) -> None:
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
        length = int(self.headers.get("Content-Length") or 0)
        if half and not chunked and not length:
            raise _CutError
        far.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                far.putheader(name, value)
        if chunked:
            far.putheader("Transfer-Encoding", "chunked")
        far.putheader("Connection", "close")
        far.endheaders()
        for piece in self._body():
            exchange.received += len(piece)
            if half and (chunked or exchange.received > length // 2):
                piece = piece[: len(piece) // 2]
                far.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked and piece else piece)
                raise _CutError
            far.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            far.send(b"0\r\n\r\n")

    def _body(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                yield self._exactly(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        rest = int(self.headers.get("Content-Length") or 0)
        while rest:
            piece = self._exactly(min(rest, _PIECE))
            rest -= len(piece)
            yield piece

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise _CutError
        return data

    def _answer(self, answer: http.client.HTTPResponse, exchange: Exchange, *, truncated: bool) -> None:
        exchange.status = answer.status
        bodiless = self.command == "HEAD" or answer.status in _BODILESS
        length = answer.getheader("Content-Length")
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        chunked = length is None and not bodiless
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not bodiless:
            limit = int(length) // 2 if length and truncated else None
            for piece in _pieces(answer, limit, truncated=truncated):
                exchange.sent += len(piece)  # before it: whoever has the answer may look at once
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        # A server that ends in the middle of its answer looks like the end of the body (http.client, read with a size).
        if truncated or (length and not bodiless and exchange.sent < int(length)):
            raise _CutError
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, exchange: Exchange, status: int) -> None:
        body = b"this is a fault of the test\n"
        exchange.status, exchange.sent = status, 0 if self.command == "HEAD" else len(body)
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Silent."""


def _pieces(answer: http.client.HTTPResponse, limit: int | None, *, truncated: bool) -> Iterator[bytes]:
    """The body, whole, or up to *limit*; when that is not known, half of the first piece."""
    came = 0
    while piece := answer.read(_PIECE):
        if truncated:
            piece = piece[: len(piece) // 2] if limit is None else piece[: limit - came]
        came += len(piece)
        if piece:
            yield piece
        if truncated and (limit is None or came >= limit):
            return
