"""A user's project, an index with what every lock needs, and a constant for apt's answer."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import lock as locks
from buildonce import project as projects
from buildonce.debs import lock as deblock
from buildonce.model import DebPin, Digest, RemoteFile
from buildonce.system import System
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from tests.lock.index import Index, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.lock import Asked, Lock
    from buildonce.system.run import HostRunner
    from buildonce.system.store import Store

LIBC = DebPin(
    name="libc6",
    version="2.36-9",
    architecture="amd64",
    file=RemoteFile(
        filename="libc6_2.36-9_amd64.deb",
        sha256=Digest("0" * 64),
        size=1,
        url="http://debian.example/libc6.deb",
    ),
)


@dataclass
class User:
    """Somebody with a project, who runs ``release lock`` and ``release build``."""

    root: Path
    system: System

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text)
        return path

    def project(
        self,
        *dependencies: str,
        targets: tuple[str, ...] = ("debian-12",),
        requires_python: str = ">=3.11",
        build: tuple[str, ...] = ("hatchling",),
        backend: str = "hatchling.build",
        more: str = "",
    ) -> None:
        self.write(
            "pyproject.toml",
            f"""[project]
name = "orders"
version = "1.0"
requires-python = "{requires_python}"
dependencies = {list(dependencies)!r}
[build-system]
requires = {list(build)!r}
build-backend = "{backend}"
[tool.release]
targets = {list(targets)!r}
{more}
""",
        )

    def lock(self, extra_requires: Callable[[Asked], tuple[str, ...]] | None = None) -> Lock:
        return locks.make(projects.read(self.root), self.system, extra_requires=extra_requires)

    def read(self) -> Lock:
        return locks.read(projects.read(self.root))

    def report(self, lock: Lock) -> list[str]:
        return [one.line for one in locks.report(lock, projects.read(self.root))]

    def toml(self, name: str = "pylock.toml") -> dict[str, Any]:
        return tomllib.loads((self.root / name).read_text())

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.root.iterdir() if path.is_file()}


@pytest.fixture
def index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """The index that the user's uv is configured for; a cache of its own, for ports are used again."""
    with serving(html=getattr(request, "param", False)) as found:
        found.add("hatchling", "1.27")
        found.add("setuptools", "80.0")
        found.add("pex", "2.105.2")
        found.add("build", "1.6.1", requires=["pyproject-hooks"])
        found.add("pyproject-hooks", "1.2")
        monkeypatch.setenv("UV_DEFAULT_INDEX", found.url)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
        yield found


@pytest.fixture
def user(
    tmp_path: Path,
    host: HostRunner,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[User]:
    if not request.node.get_closest_marker("integration"):
        for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
            if name not in ("UV_DEFAULT_INDEX", "UV_CACHE_DIR") or "index" not in request.fixturenames:
                monkeypatch.delenv(name)
    monkeypatch.setattr(deblock, "resolve", lambda *args, **options: (LIBC,))
    root = tmp_path / "orders"
    root.mkdir()
    net = Net(patience=1, pause=0.01)
    yield User(root, System(store=store, net=net, host=host, progress=SilentProgress()))
    net.close()
