"""Real registries on this machine: Debian's docker-registry, plain, with passwords, with TLS, with tokens; and a line
to it that breaks.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import bcrypt
import trustme
import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests import ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

USER, PASSWORD = "ada", "correct horse: battery"


@dataclass
class Running:
    """A registry that answers."""

    host: str  # with the port
    folder: Path
    log: Path
    ca: Path | None = None

    def repository(self, name: str = "team/vault") -> str:
        return f"oci://{self.host}/{name}"

    @property
    def blobs(self) -> list[Path]:
        """The blobs it stores, whoever refers to them."""
        return sorted(self.folder.glob("data/docker/registry/v2/blobs/sha256/*/*/data"))

    def blob(self, sha256: str) -> Path:
        return self.folder / f"data/docker/registry/v2/blobs/sha256/{sha256[:2]}/{sha256}/data"

    @property
    def requests(self) -> list[str]:
        """``PUT /v2/…`` of every request so far, in the order of their ends."""
        rows = (json.loads(line) for line in self.log.read_text().splitlines() if '"http.response.status"' in line)
        return [f"{row['http.request.method']} {row['http.request.uri']}" for row in rows]


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    tls: bool = False,
    basic: bool = False,
    tokens: TokenServer | None = None,
    more: Mapping[str, Mapping[str, Any]] | None = None,
    largest_file: int | None = None,
) -> Iterator[Running]:
    """A registry that keeps its data in *folder*; for :data:`USER` only with *basic*, or for whom *tokens* says.

    *more* is added to the sections of its configuration; a file beyond *largest_file* bytes fails as on a full disk.
    """
    program = shutil.which("docker-registry")
    assert program, "the Debian package docker-registry is missing"
    folder.mkdir(exist_ok=True)
    port = ports.free()
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "secret"},
    }
    ca_file = None
    if tls:
        ca = trustme.CA()
        certificate = ca.issue_cert("localhost", "127.0.0.1")
        ca_file = folder / "ca.pem"
        ca.cert_pem.write_to_path(ca_file)
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        chain = b"".join(one.bytes() for one in certificate.cert_chain_pems)
        (folder / "cert.pem").write_bytes(chain)
        settings["http"]["tls"] = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    if basic:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (folder / "htpasswd").write_text(f"{USER}:{hashed}\n")
        settings["auth"] = {"htpasswd": {"realm": "the team", "path": str(folder / "htpasswd")}}
    if tokens:
        tokens.ca.cert_pem.write_to_path(folder / "tokens.pem")
        settings["auth"] = {
            "token": {
                "realm": tokens.realm,
                "service": "registry",
                "issuer": "issuer",
                "rootcertbundle": str(folder / "tokens.pem"),
            }
        }
    for section, values in (more or {}).items():
        settings[section] |= values
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    log = folder / "log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
    limit = ["prlimit", f"--fsize={largest_file}"] if largest_file else []
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*limit, program, "serve", str(folder / "config.yml")], stdout=out, stderr=out, env=environment
        )
        try:
            _wait(process, port, log)
            yield Running(host=f"127.0.0.1:{port}", folder=folder, log=log, ca=ca_file)
        finally:
            process.terminate()
            process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def log_in(home: Path, host: str, *, user: str = USER, password: str = PASSWORD) -> Path:
    """What ``docker login`` leaves in *home*."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path = home / ".docker" / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return path


@dataclass
class TokenServer:
    """Gives tokens as Docker's token specification says, signed by a certificate of *ca*; in threads of its own."""

    ca: trustme.CA = field(default_factory=trustme.CA)
    realm: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)  # the queries and forms
    lives: int = 300  # seconds
    may_push: bool = True

    def token(self, scope: str) -> str:
        """A JWT for *scope* (distribution, "Token Authentication Implementation")."""
        wanted = [one.split(":") for one in scope.split()]
        access = [
            {
                "type": kind,
                "name": name,
                "actions": [one for one in actions.split(",") if self.may_push or one == "pull"],
            }
            for kind, name, actions in wanted
        ]
        certificate = self.ca.issue_cert("tokens.example.org")
        key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        pem = certificate.cert_chain_pems[0].bytes().decode()
        der = "".join(pem.split("-----")[2].split())
        now = int(time.time())
        claims = {
            "iss": "issuer",
            "sub": USER,
            "aud": "registry",
            "exp": now + self.lives,
            "nbf": now - 10,
            "iat": now,
            "jti": uuid.uuid4().hex,
            "access": access,
        }
        signed = f"{_part({'typ': 'JWT', 'alg': 'ES256', 'x5c': [der]})}.{_part(claims)}"
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


@contextlib.contextmanager
def token_server() -> Iterator[TokenServer]:
    made = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
            expected = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
            self._answer(asked, granted=self.headers["Authorization"] == expected)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = {key: value[0] for key, value in parse_qs(form).items()}
            self._answer(asked, granted=asked.get("refresh_token") == "identity")

        def _answer(self, asked: dict[str, str], *, granted: bool) -> None:
            made.asked.append(asked)
            body = json.dumps({"token": made.token(asked["scope"])} if granted else {}).encode()
            self.send_response(200 if granted else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.realm = f"http://127.0.0.1:{server.server_address[1]}/token"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@dataclass
class Line:
    """A line to a server, which breaks after so many bytes in either direction, for each number in *breaks* once."""

    host: str
    breaks: list[int] = field(default_factory=list)
    broken: int = 0


@contextlib.contextmanager
def line(to: str) -> Iterator[Line]:
    """A line to the server *to*."""
    host, _, port = to.partition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Line(host=f"127.0.0.1:{listener.getsockname()[1]}")

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    threading.Thread(target=connect, args=(near,), daemon=True).start()

        def connect(near: socket.socket) -> None:
            with near, contextlib.suppress(OSError), socket.create_connection((host, int(port))) as far:
                back = threading.Thread(target=carry, args=(far, near), daemon=True)
                back.start()
                carry(near, far)
                back.join()

        def carry(one: socket.socket, other: socket.socket) -> None:
            carried = 0
            with contextlib.suppress(OSError):
                while piece := one.recv(65536):
                    carried += len(piece)
                    if made.breaks and carried > made.breaks[0]:
                        made.breaks.pop(0)
                        made.broken += 1
                        break
                    other.sendall(piece)
            for end in (one, other):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=serve, daemon=True).start()
        yield made
