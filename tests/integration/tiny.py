"""Tiny projects of a few hand-made files, for builds that go wrong within seconds.

Wheels and sdists come from an index on this machine, OS packages from the lists that apt read once. The store is the
one of all integration tests, so that its build root is there already.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from buildonce import buildroot, fetch
from buildonce import lock as locks
from buildonce import project as projects
from buildonce import target as targets
from buildonce.debs import lock as deblock
from buildonce.system import System, files
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner
from buildonce.system.store import Store
from tests import wheelmaker
from tests.builders.small_stage import download
from tests.oci.image_stage import store as tests_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buildonce.model import DebPin
    from tests.lock.index import Index
    from tests.system.server import FileServer

TARGET = "debian-12"
BACKEND = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
TOOLS = ("setuptools==84.2.1", "pex==2.105.2")
SCM = ("setuptools-scm==10.3.4", "vcs-versioning==2.6.0", "typing-extensions==4.16.0", "packaging==26.3")

PYPROJECT = """\
[build-system]
requires = {build}
build-backend = "setuptools.build_meta"

[project]
name = "shop"
{version}
requires-python = ">=3.11"
dependencies = {dependencies}

[project.scripts]
shop = "shop:{function}"

[tool.setuptools]
py-modules = ["shop"]

[tool.release]
formats = {formats}
{more}"""


def store_folder() -> Path:
    """The store of whoever runs the tests: with a build root in it, only the first run is slow."""
    place = os.environ.get("BUILDONCE_STORE")
    return Path(place) if place else tests_store().root


@cache
def debs() -> tuple[DebPin, ...]:
    """The OS packages of the target, asked for once; its build root is in the store."""
    target, store, host = targets.load(TARGET), Store(store_folder()), HostRunner()
    pins = deblock.resolve(target, {*target.toolchain, *target.runtime}, host, state=store.root)
    net, progress = Net(), SilentProgress()
    found = fetch.fetch([pin.file for pin in pins], store=store, net=net, progress=progress)
    net.close()
    paths = tuple(found[pin.file.sha256] for pin in pins)
    buildroot.ensure(target, pins, paths, store, progress=progress, host=host)
    return pins


def stock(index: Index) -> None:
    """Put what builds the project and packs it into *index*, fetched once from the index of this machine's pip."""
    for path in (*download(*TOOLS), *download(*SCM)):
        index.put(path.name.partition("-")[0].replace("_", "-"), path.name, path.read_bytes())


def sdist(name: str, version: str, texts: Mapping[str, str]) -> bytes:
    """An sdist with *texts* by path, its metadata static, so that locking does not run it."""
    members = {"PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n", "pyproject.toml": BACKEND}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for path, text in {**members, **texts}.items():
            info = tarfile.TarInfo(f"{name}-{version}/{path}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


def salt() -> str:
    """Makes the bytes of a file unlike any that a store holds already."""
    return f"salt = {uuid.uuid4().hex!r}\n"


@dataclass
class User:
    """Somebody with the project ``shop``, a home of their own, and the index of a tiny company."""

    root: Path
    home: Path
    index: Index
    server: FileServer  # for files that have to come in a certain way
    environment: dict[str, str] = field(default_factory=dict)
    patience: float = 120  # seconds that a command may take

    def __post_init__(self) -> None:
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "GIT_"))}
        self.environment = {
            **mine,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "BUILDONCE_STORE": str(store_folder()),
            "UV_DEFAULT_INDEX": self.index.url,
            "UV_CACHE_DIR": str(self.home / "uv"),
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    @property
    def dist(self) -> Path:
        return self.root / "dist"

    @property
    def left(self) -> list[str]:
        """What is in ``dist/`` of builds: nothing after a failure."""
        own = {".lock", ".gitignore"}
        return sorted(path.name for path in self.dist.iterdir() if path.name not in own) if self.dist.exists() else []

    def project(
        self,
        *dependencies: str,
        function: str = "main",
        formats: tuple[str, ...] = ("wheel",),
        build: tuple[str, ...] = ("setuptools",),
        version: str = 'version = "1.0"',
        more: str = "",
    ) -> None:
        """Write the project."""
        text = PYPROJECT.format(
            dependencies=list(dependencies),
            function=function,
            formats=list(formats),
            build=list(build),
            version=version,
            more=more,
        )
        self.write("pyproject.toml", text)
        self.write("shop.py", "def main():\n    print('open')\n")

    def wheel(self, name: str, files: Mapping[str, str | bytes], **facts: Any) -> str:
        """Put the wheel of *name* 1.0 that holds *files* into the index, alone; answers its file name."""
        made = wheelmaker.make(self.home / "wheels", files, name=name, **facts)
        self.index.projects.pop(name, None)
        self.index.put(name, made.name, made.read_bytes())
        return made.name

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=self.root, env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self) -> None:
        """Commit everything; the repository is made when there is none."""
        if not (self.root / ".git").exists():
            self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "a commit")

    def lock(self) -> None:
        """What ``release lock`` does, but apt and the build backends are not asked again."""
        pins = debs()
        system = System(store=Store(store_folder()), net=Net(patience=1), host=HostRunner(), progress=SilentProgress())
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(deblock, "resolve", lambda *_, **__: pins)
            locks.make(projects.read(self.root), system)
        system.net.close()

    def ready(self, *dependencies: str, **project: Any) -> User:
        """Write, lock and commit the project."""
        self.project(*dependencies, **project)
        self.lock()
        self.commit()
        return self

    def change(self, name: str, change: Any) -> None:
        """Edit the parsed lock file *name* with the function *change*, so that the lock still is a whole."""
        path = self.root / name
        data = tomllib.loads(path.read_text())
        change(data)
        path.write_text(tomli_w.dumps(data))
        python = self.root / "pylock.toml"
        if path != python:
            own = tomllib.loads(python.read_text())
            own["tool"]["buildonce"]["files"][name] = files.sha256_file(path)
            python.write_text(tomli_w.dumps(own))
        self.commit()

    def move(self, filename: str, data: bytes) -> str:
        """Let the lock's *filename* come from the file server, which sends *data*; answers its path there."""
        self.server.files[f"/{filename}"] = data
        python = self.root / "pylock.toml"
        before = f"{self.index.url}{filename.partition('-')[0]}/{filename}"
        text = python.read_text()
        assert before in text
        python.write_text(text.replace(before, self.server.url(f"/{filename}")))
        self.commit()
        return f"/{filename}"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "buildonce", *arguments]

    def run(self, *arguments: str, start: tuple[str, ...] = (), **environment: str) -> Ended:
        """``release …`` in the project, in a process of its own; *start* is what starts it."""
        done = subprocess.run(
            [*start, *self.command(*arguments)],
            cwd=self.root,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=self.patience,
        )
        print(*arguments, "ended with", done.returncode, done.stdout, done.stderr, sep="\n")
        return Ended(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Ended:
    """What the command said."""

    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The ``error:`` lines, and those that go on with them."""
        return [line for line in self.stderr.splitlines() if line.startswith(("error: ", "  and: "))]

    @property
    def error(self) -> str:
        """The one error."""
        assert len(self.errors) == 1, self.stderr
        return self.errors[0].removeprefix("error: ")

    @property
    def hint(self) -> str:
        """The next step: the last thing that is said, of one line or several."""
        assert "\nhint: " in self.stderr, self.stderr
        return self.stderr.rpartition("\nhint: ")[2].rstrip("\n")

    @property
    def data(self) -> Any:
        return json.loads(self.stdout)
