"""The proxy of the fault tests does what it says: otherwise those tests prove nothing."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.faults import Fault, Proxy, proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = b"0123456789" * 40_000


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    heard: list[bytes]

    def do_GET(self) -> None:
        self._say(BODY)

    def do_HEAD(self) -> None:
        self._say(BODY)

    def do_PUT(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if len(body) < int(self.headers["Content-Length"]):
                return
        self.heard.append(body)
        self._say(body)

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path == "/dying":
            body = body[: len(body) // 2]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Silent."""


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def before(heard: list[bytes]) -> Iterator[Proxy]:
    class Handler(_Echo):
        pass

    Handler.heard = heard
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, contextlib.ExitStack() as ending:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        ending.callback(server.shutdown)
        yield ending.enter_context(proxy(f"http://127.0.0.1:{server.server_address[1]}/base/"))


@pytest.mark.parametrize("path", ["/plain", "/chunked"])
def test_without_a_fault_nothing_changes_and_everything_is_counted(
    before: Proxy, heard: list[bytes], path: str
) -> None:
    assert before.url == f"http://{before.host}/base"
    with httpx.Client(base_url=f"http://{before.host}") as client:
        assert client.get(path).content == BODY
        assert client.head(path).headers.get("Content-Length", str(len(BODY))) == str(len(BODY))
        assert client.put(path, content=BODY).content == BODY
        assert client.put(path, content=iter([b"abc", b"def"])).content == b"abcdef"
    assert heard == [BODY, b"abcdef"]
    assert before.requests == [f"{method} {path}" for method in ("GET", "HEAD", "PUT", "PUT")]
    assert (before.received, before.sent) == (len(BODY) + 6, 2 * len(BODY) + 6)
    assert before.faults == 0


@pytest.mark.parametrize(("kind", "arrives"), [("unheard", False), ("half", False), ("unanswered", True)])
def test_a_cut_connection(before: Proxy, heard: list[bytes], kind: str, arrives: bool) -> None:
    before.reset(Fault(kind=kind, first=2, times=1))  # type: ignore[arg-type]
    url = f"http://{before.host}/x"
    assert httpx.put(url, content=b"one").content == b"one"
    with pytest.raises(httpx.TransportError):
        httpx.put(url, content=BODY)
    assert httpx.put(url, content=b"three").content == b"three"
    assert heard == ([b"one", BODY, b"three"] if arrives else [b"one", b"three"])
    assert [one.fault for one in before.exchanges] == [None, kind, None]
    assert before.exchanges[1].status is None


def test_a_server_that_is_down_from_a_request_on(before: Proxy, heard: list[bytes]) -> None:
    before.reset(Fault(kind="unheard", first=2))
    url = f"http://{before.host}/x"
    httpx.put(url, content=b"one")
    for _ in range(3):
        with pytest.raises(httpx.TransportError):
            httpx.put(url, content=b"more")
    assert heard == [b"one"]
    before.reset()
    assert httpx.put(url, content=b"up").content == b"up"
    assert before.faults == 0


@pytest.mark.parametrize("path", ["/plain", "/chunked"])
def test_an_answer_that_ends_in_the_middle(before: Proxy, path: str) -> None:
    before.reset(Fault(kind="truncated"))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://{before.host}{path}")
    assert 0 < before.sent < len(BODY)


def test_a_server_that_ends_in_the_middle_of_its_answer(before: Proxy) -> None:
    """It is not waited for."""
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://{before.host}/dying", timeout=20)


def test_an_answer_of_another_status_reaches_no_server(before: Proxy, heard: list[bytes]) -> None:
    before.reset(Fault(kind="status", status=503))
    with httpx.Client() as client:
        assert client.put(f"http://{before.host}/x", content=BODY).status_code == 503
        assert client.head(f"http://{before.host}/x").status_code == 503
    assert heard == []


def test_a_slow_answer_is_whole(before: Proxy) -> None:
    before.reset(Fault(kind="slow", seconds=0.01))
    assert httpx.get(f"http://{before.host}/x").content == BODY
    assert before.faults == 1
