"""The service."""

import contextlib
import json
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Finishes what it was asked before it ends."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], version: str, *, healthy: bool) -> None:
        super().__init__(address, Answer)
        self.version = version
        self.healthy = healthy
        self.ending = False
        self.connections: set[socket.socket] = set()

    def end(self) -> None:
        """Take no more connections, and no more requests over those there are."""
        self.ending = True
        self.shutdown()
        for connection in tuple(self.connections):
            with contextlib.suppress(OSError):  # it has just been closed
                connection.shutdown(socket.SHUT_RD)  # what has come already can still be read


class Answer(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        """Be known to the server, as long as it lasts."""
        super().setup()
        self.server.connections.add(self.request)

    def finish(self) -> None:
        """Be forgotten."""
        self.server.connections.discard(self.request)
        super().finish()

    def do_GET(self) -> None:
        """``/health`` in JSON; ``/slow`` after a second; the version everywhere else."""
        version = self.server.version
        if self.path == "/health":
            healthy = self.server.healthy
            facts = {"status": "ok" if healthy else "ill", "version": version}
            self.answer(200 if healthy else 503, "application/json", json.dumps(facts))
            return
        if self.path == "/slow":
            time.sleep(1)
        self.answer(200, "text/plain", f"{version}\n")

    def answer(self, status: int, kind: str, text: str) -> None:
        """Send it, whole."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.server.ending:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Load is not worth a journal."""


def serve(host: str, port: int, version: str, *, healthy: bool) -> None:
    """Answer until told to end."""
    server = Server((host, port), version, healthy=healthy)
    # Not in the handler itself: the main thread would wait for itself.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.end).start())
    server.serve_forever(poll_interval=0.05)
    server.server_close()  # waits for the running requests
