"""A package index on this machine: the simple API (PEP 503, PEP 691) over tiny wheels and sdists."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.wheelmaker import contents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_JSON = "application/vnd.pypi.simple.v1+json"


def wheel(
    name: str,
    version: str,
    *,
    tag: str = "py3-none-any",
    requires: Iterable[str] = (),
    requires_python: str = "",
) -> bytes:
    """The bytes of an honest wheel; the same for the same arguments."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        members = contents({}, name=name, version=version, tag=tag, requires=requires, requires_python=requires_python)
        for path, data in members.items():
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def sdist(name: str, version: str, *, requires: Iterable[str] = (), build: str | None = "") -> bytes:
    """The bytes of an sdist with static metadata (PEP 643), so that nothing has to run to read it.

    *build* is its ``[build-system]`` as TOML; None for an old one without pyproject.toml.
    """
    metadata = f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {one}\n" for one in requires)
    members = {"PKG-INFO": metadata, "setup.py": "raise SystemExit('no test runs this')\n"}
    if build is not None:
        members["pyproject.toml"] = build or '[build-system]\nrequires = ["setuptools>=1"]\n'
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for path, text in members.items():
            info = tarfile.TarInfo(f"{name}-{version}/{path}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


def filename(name: str, version: str, tag: str = "py3-none-any") -> str:
    return f"{name.replace('-', '_')}-{version}-{tag}.whl"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Project:
    files: dict[str, bytes] = field(default_factory=dict)
    requires_python: dict[str, str] = field(default_factory=dict)
    algorithm: str = "sha256"


class Index(ThreadingHTTPServer):
    """Serves its projects below ``/simple/``; ``requests`` are the methods and paths that were asked for."""

    daemon_threads = True

    def __init__(self, *, html: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.projects: dict[str, Project] = {}
        self.requests: list[tuple[str, str]] = []
        self.html = html
        self.head = True

    @property
    def asked(self) -> list[str]:
        return [path for _, path in self.requests]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple/"

    def add(
        self,
        name: str,
        version: str,
        *,
        tags: Iterable[str] = ("py3-none-any",),
        requires: Iterable[str] = (),
        requires_python: str = "",
    ) -> None:
        """A wheel for each of *tags*."""
        requires = tuple(requires)
        for tag in tags:
            data = wheel(name, version, tag=tag, requires=requires, requires_python=requires_python)
            self.put(name, filename(name, version, tag), data)
            self.projects[name].requires_python[filename(name, version, tag)] = requires_python

    def add_sdist(self, name: str, version: str, *, requires: Iterable[str] = (), build: str | None = "") -> None:
        self.put(name, f"{name}-{version}.tar.gz", sdist(name, version, requires=requires, build=build))

    def put(self, name: str, file: str, data: bytes) -> None:
        self.projects.setdefault(name, Project()).files[file] = data

    def hash(self, name: str, file: str) -> str:
        return sha256(self.projects[name].files[file])

    def hashes(self, name: str, version: str) -> list[str]:
        start = f"{name.replace('-', '_')}-{version}"
        return sorted(
            sha256(data)
            for file, data in self.projects[name].files.items()
            if file.startswith((f"{start}-", f"{start}.tar"))
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Index

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path))
        if self.command == "HEAD" and not self.server.head:
            self._answer(405, "text/plain", b"")
            return
        parts = self.path.strip("/").split("/")
        project = self.server.projects.get(parts[1]) if len(parts) > 1 else None
        if project is None:
            self._answer(404, "text/plain", b"")
        elif len(parts) == 2:
            self._answer(200, *self._page(parts[1], project))
        elif parts[2] in project.files:
            self._answer(200, "application/octet-stream", project.files[parts[2]])
        else:
            self._answer(404, "text/plain", b"")

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def _page(self, name: str, project: Project) -> tuple[str, bytes]:
        digests = {file: hashlib.new(project.algorithm, data).hexdigest() for file, data in project.files.items()}
        if self.server.html:
            links = [f'<a href="{file}#{project.algorithm}={digest}">{file}</a>' for file, digest in digests.items()]
            return "text/html", f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        files = [
            {
                "filename": file,
                "url": f"{self.server.url}{name}/{file}",
                "hashes": {project.algorithm: digest},
                "requires-python": project.requires_python.get(file, ""),
            }
            for file, digest in digests.items()
        ]
        return _JSON, json.dumps({"meta": {"api-version": "1.0"}, "name": name, "files": files}).encode()

    def _answer(self, code: int, kind: str, data: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Silent."""


@contextlib.contextmanager
def serving(*, html: bool = False) -> Iterator[Index]:
    with Index(html=html) as index:
        thread = threading.Thread(target=index.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield index
        index.shutdown()
        thread.join()
