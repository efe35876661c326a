"""Real package indexes on this machine: devpi, and pypiserver for all that are not devpi."""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import hashlib
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests import ports

OWNER, USER, EVE = "releases", "ci", "eve"
PASSWORD = "correct horse: battery"  # of all users of all indexes
JSON = {"Accept": "application/json"}
DEVPI = [sys.executable, "-m", "devpi_server"]
# Its passlib cannot be imported beside a bcrypt of these years.
PYPISERVER = "import sys; sys.modules['bcrypt'] = None; from pypiserver.__main__ import main; main()"


def log_in(host: str, user: str = USER, password: str = PASSWORD, *, path: Path | None = None) -> None:
    """What a user writes into ``~/.netrc``, or the file *path*; the only login there."""
    path = path or Path.home() / ".netrc"
    path.write_text(f'machine {host.partition(":")[0]} login {user} password "{password}"\n')
    path.chmod(0o600)


@dataclass
class Devpi:
    """A devpi server that answers. Its users: an owner of indexes, one that may upload to them, and another."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, at first or again."""
        port = self.url.rpartition(":")[2]
        options = ["--serverdir", str(self.folder), "--host", "127.0.0.1", "--port", port, "--threads", "8"]
        self.process = start([*DEVPI, *options], int(port), self.folder.parent / "log")

    def kill(self) -> None:
        """End it as a power cut does. Its :meth:`start` may need :meth:`recover` before it."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def recover(self) -> None:
        """What an administrator does when it was killed while it wrote and then does not start ("attempt to write a
        readonly database", devpi issue 952): it opens its database for reading first, and who only reads cannot roll
        back what SQLite's journal says was begun (sqlite.org/lockingv3.html, "hot journals").
        """
        with contextlib.closing(sqlite3.connect(self.folder / ".sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def new_index(self, *, volatile: bool = False, upload: str = USER, name: str = "") -> str:
        """The path of a new index without bases."""
        path = f"{OWNER}/{name or f'i{uuid.uuid4().hex[:12]}'}"
        self.call("PUT", path, type="stage", bases=[], volatile=volatile, acl_upload=[upload])
        return path

    def call(self, method: str, path: str, *, user: str = OWNER, **value: Any) -> Any:
        """The ``result`` of a request by *user*; None when what it names is not there."""
        answer = httpx.request(
            method, f"{self.url}/{path}", json=value or None, headers=JSON, auth=(user, PASSWORD), timeout=60
        )
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json().get("result") if answer.content else None

    def upload(self, path: str, name: str, version: str, filename: str, data: bytes) -> None:
        form = {":action": "file_upload", "name": name, "version": version}
        httpx.post(
            f"{self.url}/{path}/", data=form, files={"content": (filename, data)}, auth=(USER, PASSWORD)
        ).raise_for_status()

    def seen(self, path: str, name: str) -> dict[str, str]:
        """File name → sha256 of what pip gets, and of the documentation."""
        found = seen(f"{self.url}/{path}/+simple/{name}/")
        for version, data in (self.call("GET", f"{path}/{name}") or {}).items():
            for link in data.get("+links", ()):
                if link["rel"] == "doczip":
                    found[f"{name}-{version}.doc.zip"] = _file(link["href"])
        return found

    def state(self, path: str) -> object:
        """All that the server says of the index, with who did what when; and which indexes the uploader has."""
        index = self.call("GET", path)
        files = {name: self.call("GET", f"{path}/{name}") for name in index["projects"]}
        return index, files, sorted((self.call("GET", USER) or {}).get("indexes", {}))

    def stored(self, path: str) -> list[Path]:
        """The files of the index on the server's disk."""
        return sorted(one for one in (self.folder / "+files" / path).rglob("*") if one.is_file())


def seen(url: str, auth: tuple[str, str] | None = None) -> dict[str, str]:
    """File name → sha256 of what pip gets from the project page at *url*."""
    answer = httpx.get(url, headers={"Accept": "text/html"}, auth=auth)
    if answer.status_code == 404:
        return {}
    answer.raise_for_status()
    links = [part.partition('"')[0] for part in answer.text.split('href="')[1:]]
    urls = {httpx.URL(url).join(link).copy_with(fragment=None) for link in links}
    return {httpx.URL(one).path.rpartition("/")[2]: _file(one, auth) for one in urls}


def _file(url: str | httpx.URL, auth: tuple[str, str] | None = None) -> str:
    data = httpx.get(url, auth=auth).raise_for_status().content
    return hashlib.sha256(data).hexdigest()


@functools.cache
def devpi() -> Devpi:
    """One server for all tests of this process, who make indexes of their own; its start takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="buildonce-devpi-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return new_devpi(folder)


def new_devpi(folder: Path) -> Devpi:
    """A new server that keeps its data in *folder*, to the end of this process."""
    serverdir = folder / "server"
    program = [sys.executable, "-c", "from devpi_server.init import init; init()"]
    subprocess.run(
        [*program, "--serverdir", serverdir, "--no-root-pypi", "--root-passwd", PASSWORD],
        check=True,
        capture_output=True,
    )
    port = ports.free()
    made = Devpi(url=f"http://127.0.0.1:{port}", folder=serverdir)
    made.start()
    for user in (OWNER, USER, EVE):
        made.call("PUT", user, user="root", password=PASSWORD, email="")
    return made


def start(argv: list[str], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a server that ends with this process; answers when it takes connections."""
    with log.open("ab") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    atexit.register(_end, process)
    for _ in range(6000):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)


@dataclass
class Pypiserver:
    """A pypiserver that answers, for :data:`USER` only."""

    url: str
    folder: Path

    def seen(self, name: str) -> dict[str, str]:
        return seen(f"{self.url}/simple/{name}/", (USER, PASSWORD))


def pypiserver(folder: Path, *, fallback: str = "") -> Pypiserver:
    """A new pypiserver that keeps its files in *folder*, to the end of this process. It sends whoever asks for a
    project that it has not to the index *fallback*.
    """
    files = folder / "files"
    files.mkdir(parents=True)
    hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    (folder / "htpasswd").write_text(f"{USER}:{{SHA}}{hashed}\n")
    port = ports.free()
    other = ["--fallback-url", fallback] if fallback else ["--disable-fallback"]
    options = [*other, "-p", str(port), "-i", "127.0.0.1", "-a", "update,list,download", "-P", str(folder / "htpasswd")]
    start([sys.executable, "-c", PYPISERVER, "run", *options, str(files)], port, folder / "log")
    return Pypiserver(url=f"http://127.0.0.1:{port}", folder=files)
