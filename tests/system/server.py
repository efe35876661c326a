"""A real HTTP server on this machine that can be told to misbehave."""

from __future__ import annotations

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Fault = Callable[["Handler"], bool]


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` (path: bytes); ``faults`` (path: list) are used up first, one a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.ranges = True
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range
        self.headers: list[dict[str, str]] = []
        self.now = self.most = 0  # requests at this moment, and the highest number of them
        self.counting = threading.Lock()
        self.wait_for = 0.0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def ranges_of(self, path: str) -> list[str | None]:
        return [header for _, asked, header in self.requests if asked == path]

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        with self.server.counting:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            self.answer()
        finally:
            with self.server.counting:
                self.server.now -= 1

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append((self.command, path, self.headers["Range"]))
        self.server.headers.append(dict(self.headers))
        if self.server.wait_for:
            threading.Event().wait(self.server.wait_for)
        waiting = self.server.faults.get(path)
        if waiting and waiting.pop(0)(self):
            return
        if path not in self.server.files:
            self.status(404)
            return
        data = self.server.files[path]
        found = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(found[1]) if found and self.server.ranges else 0
        if start >= len(data) and start:
            self.status(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[start:])

    def status(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Silent."""


@contextlib.contextmanager
def serving() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def says(code: int, **headers: str) -> Fault:
    """Answer with this status and nothing else."""

    def fault(handler: Handler) -> bool:
        handler.status(code, **headers)
        return True

    return fault


def cuts(after: int, *, data: bytes, told: bool = True, offset: int = 0) -> Fault:
    """Hang up after so many bytes of *data* from *offset*; the true length is *told* before, or not."""

    def fault(handler: Handler) -> bool:
        handler.send_response(206 if offset else 200)
        if offset:
            handler.send_header("Content-Range", f"bytes {offset}-{len(data) - 1}/{len(data)}")
        if told:
            handler.send_header("Content-Length", str(len(data) - offset))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(data[offset : offset + after])
        handler.close_connection = True
        return True

    return fault


def hangs(until: threading.Event, *, data: bytes, after: int, reached: threading.Event | None = None) -> Fault:
    """Send so many bytes of *data*, then nothing until *until*."""

    def fault(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])
        handler.wfile.flush()
        if reached is not None:
            reached.set()
        until.wait(30)
        handler.close_connection = True
        return True

    return fault
