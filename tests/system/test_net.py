"""HTTP: documents, sizes, credentials and certificates. Downloads are tested with fetch."""

from __future__ import annotations

import datetime as dt
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.system.server import FileServer, cuts, says, serving

from buildonce.errors import ReleaseError
from buildonce.system.net import Net, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        yield running


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    for name in (
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "PIP_CERT",
        "NETRC",
    ):
        monkeypatch.delenv(name, raising=False)
    made = Net(patience=3, pause=0.01, timeout=5)
    yield made
    made.close()


def test_a_document_survives_trouble(server: FileServer, net: Net) -> None:
    server.files["/index"] = b"document"
    server.faults["/index"] = [cuts(3, data=b"document"), says(502)]
    assert net.read(server.url("/index"), accept="application/json") == b"document"
    assert server.headers[-1]["Accept"] == "application/json"
    assert server.headers[-1]["Accept-Encoding"] == "identity"


def test_a_document_that_is_not_there(server: FileServer, net: Net) -> None:
    with pytest.raises(ReleaseError, match="the server says 404 Not Found") as caught:
        net.read(server.url("/gone"))
    assert caught.value.problems[0].where == server.url("/gone")


def test_a_document_without_end(server: FileServer, net: Net) -> None:
    server.files["/big"] = b"x" * ((64 << 20) + 1)
    with pytest.raises(ReleaseError, match="larger than 64 MiB"):
        net.read(server.url("/big"))


def test_size(server: FileServer, net: Net) -> None:
    server.files["/a"] = b"12345"
    assert net.size(server.url("/a")) == 5
    assert net.size(server.url("/gone")) is None
    assert [method for method, _, _ in server.requests] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "nonsense", "http://", "https://[::1"])
def test_an_address_that_is_none(net: Net, url: str) -> None:
    with pytest.raises(ReleaseError, match="cannot be fetched"):
        net.read(url)


def test_redirects_are_followed_but_not_for_ever(server: FileServer, net: Net) -> None:
    server.files["/a"] = b"here"
    server.faults["/old"] = [says(302, Location="/a")]
    assert net.read(server.url("/old")) == b"here"
    server.faults["/loop"] = [says(302, Location="/loop")] * 50
    with pytest.raises(ReleaseError, match="cannot be fetched"):
        net.read(server.url("/loop"))


def test_credentials_come_from_netrc(
    server: FileServer, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/a"] = b""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    net.read(server.url("/a"))
    assert server.headers[-1]["Authorization"] == "Basic YWRhOnNlY3JldA=="


def test_a_broken_netrc(server: FileServer, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("nonsense\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with pytest.raises(ReleaseError, match="netrc file cannot be read"):
        net.read(server.url("/a"))


def test_a_proxy_comes_from_the_environment(server: FileServer, net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url(""))
    server.files["http://files.example.org/a"] = b"through the proxy"
    assert net.read("http://files.example.org/a") == b"through the proxy"


def test_shown() -> None:
    assert shown("https://ada:secret@example.org:8443/a/b.whl?token=x#sha256=y") == "https://example.org:8443/a/b.whl"


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Silent."""


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that do not trust us are part of the tests."""


@pytest.fixture
def trusted(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An https server, and the certificate that makes it trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    bundle, both = tmp_path / "bundle.pem", tmp_path / "server.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both.write_bytes(private + bundle.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with QuietServer(("127.0.0.1", 0), Hello) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"https://localhost:{running.server_address[1]}/", bundle
        running.shutdown()
        thread.join()


@pytest.mark.usefixtures("net")
def test_an_unknown_certificate_is_refused_at_once(trusted: tuple[str, Path]) -> None:
    net, began = Net(patience=2, pause=3), time.monotonic()
    with pytest.raises(ReleaseError, match="certificate is not trusted") as caught:
        net.read(trusted[0])
    assert "SSL_CERT_FILE" in caught.value.problems[0].hint
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"])
def test_certificates_from_the_environment(
    trusted: tuple[str, Path], net: Net, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(trusted[1]))
    assert net.read(trusted[0]) == b"hello"


def test_certificates_from_pips_configuration(
    trusted: tuple[str, Path], net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\ncert = {trusted[1]}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    assert net.read(trusted[0]) == b"hello"


def test_certificates_that_are_not_there(trusted: tuple[str, Path], net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent.pem")
    with pytest.raises(ReleaseError, match="the certificates cannot be read") as caught:
        net.read(trusted[0])
    assert caught.value.problems[0].where == "/nonexistent.pem"
