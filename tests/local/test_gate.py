"""What runs in the gate of an environment, here without a container: it hands connections on, and asks."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.errors import ReleaseError
from buildonce.local import gate
from buildonce.system import share
from buildonce.system.placing import Found, Said
from tests import ports

if TYPE_CHECKING:
    from collections.abc import Iterator

GATE = str(share.path("recipes", "local", "gate.py"))
LARGE = b"x" * (3 << 20)
ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/json": (200, {}, b'{"version": "1.4.0"}'),
    "/header": (200, {"X-Release": "1.4.1"}, b"well"),
    "/ill": (503, {}, b'{"version": "1.4.0"}'),
    "/list": (200, {}, b"[1]"),
    "/moved": (302, {"Location": "/json"}, b""),
    "/large": (200, {}, LARGE),
}


class Application(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, headers, body = ANSWERS[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name in the base class
        """Nothing."""


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    """The port of one that answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def ask(url: str) -> dict[str, Any]:
    """Asked as in the container: the program comes as an argument, and the environment's proxies count for nothing."""
    program = share.path("recipes", "local", "gate.py").read_text("utf-8")
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, "ask", url],
        env={"http_proxy": "http://127.0.0.1:9"},
        check=True,
        capture_output=True,
    ).stdout
    found = json.loads(said)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("path", "status", "version"),
    [
        ("/json", 200, "1.4.0"),
        ("/header", 200, "1.4.1"),
        ("/ill", 503, "1.4.0"),
        ("/list", 200, ""),
        ("/moved", 200, "1.4.0"),
    ],
)
def test_it_asks_for_status_and_version(application: int, path: str, status: int, version: str) -> None:
    assert ask(f"http://127.0.0.1:{application}{path}") == {"status": status, "version": version}


def test_nobody_answers() -> None:
    found = ask(f"http://127.0.0.1:{ports.free()}/")
    assert (found["status"], found["version"]) == (0, "")
    assert "refused" in found["why"]


@contextlib.contextmanager
def forwarding(to: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = ports.free()
    with subprocess.Popen([sys.executable, GATE, "forward", str(port), "127.0.0.1", str(to)]) as process:
        try:
            end = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < end
            yield process, port
        finally:
            process.kill()


def test_it_hands_connections_on_whole(application: int) -> None:
    with forwarding(application) as (process, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/large", timeout=10) as answer:
            assert answer.read() == LARGE
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0  # as process 1 of its container it would not die of a signal


def test_a_connection_to_nobody_is_closed() -> None:
    with forwarding(ports.free()) as (_, port), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("answer", "told", "next_step"),
    [
        ({"status": 200, "version": ""}, "answers 200 and no version", "a header X-Release"),
        ({"status": 200, "version": "1.3"}, "answers 200 and version 1.3, not 1.4", "give it longer"),
        ({"status": 503, "version": "1.4"}, "answers 503", "give it longer"),
        ({"status": 0, "version": "", "why": "refused"}, "answers nothing: refused", "give it longer"),
    ],
)
def test_what_is_told_of_an_application_that_does_not_get_well(answer: Any, told: str, next_step: str) -> None:
    class Engine:
        def execute(self, *_: Any) -> Said:
            return Said(code=0, output=json.dumps(answer))

    made = Found(id="1", role="gate", name="gate", image="", running=True, ports={}, facts={"interpreter": "python3"})
    with pytest.raises(ReleaseError) as refused:
        gate.await_health(
            Engine(),  # type: ignore[arg-type]
            made,
            gate.Expected(health="/health", version="1.4", timeout=-1),
            alive=lambda: None,
        )
    (problem,) = refused.value.problems
    assert told in problem.message
    assert next_step in problem.hint
