"""What all tests share: a home of their own, no way out to the network, and real git repositories."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadFileScheduling

from buildonce.signing import release
from buildonce.system.run import HostRunner
from buildonce.system.store import Store
from tests import small_release

if TYPE_CHECKING:
    from pathlib import Path

    from xdist.remote import Producer

    from buildonce.signing import Key


EPOCH = 1_700_000_000  # the first commit of every repository; each next one is a minute later

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "hello"
version = "1.0"
"""


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """Signs the small release."""
    return small_release.key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    """The folder of a small signed release, to be read only."""
    folder = small_release.unsigned(tmp_path_factory.mktemp("release") / "tinyapp")
    release.sign(folder, key)
    return folder


Told = Callable[[str, int], None]
_TOLD = "told at the end"


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Told:
    """Hears a line to show at the end of the run, and how many faults it is about."""
    return lambda line, faults: record_property(_TOLD, [line, faults])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests told, whatever process ran them."""
    passed = terminalreporter.getreports("passed")
    lines = [value for report in passed for name, value in report.user_properties if name == _TOLD]
    if lines:
        terminalreporter.section("faults")
        for line, count in sorted(lines):
            terminalreporter.write_line(f"{line}: {count}" if count else line)
        terminalreporter.write_line(f"{sum(count for _, count in lines)} faults, all survived")


def pytest_configure() -> None:
    """Heed signals whatever started the tests: nohup and background jobs ignore them, which children inherit."""
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)


# They look for what is left in the Docker engine, of which there is one: all of them are run by one process.
ENGINE = ("test_ways", "test_builder", "test_containment", "test_variations")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """With ``--dist loadfile`` each process takes whole files: what one made serves all tests of it."""
    return _Files(config, log) if config.getvalue("dist") == "loadfile" else None


class _Files(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "engine" if PurePath(file).stem in ENGINE else file


@pytest.fixture(autouse=True)
def isolated(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No configuration of this machine or of its user. Integration tests keep the machine as it is."""
    if request.node.get_closest_marker("integration"):
        return
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text("[user]\n\tname = Ada Lovelace\n\temail = ada@example.org\n")
    for name in [
        n for n in os.environ if n.startswith(("GIT_", "XDG_", "BUILDONCE_", "AWS_")) or n.lower().endswith("_proxy")
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setattr(socket.socket, "connect", _loopback_only(socket.socket.connect))


def _loopback_only(connect: Any) -> Any:
    def connect_here(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if host and host not in {"127.0.0.1", "::1", "localhost"}:
            pytest.fail(f"a unit test wants to reach {host}; mark it integration")
        connect(self, address)

    return connect_here


@dataclass
class Repository:
    """A git repository whose first commit is a small project."""

    root: Path
    commits: int = 0

    def git(self, *arguments: str) -> str:
        date = f"{EPOCH + 60 * self.commits} +0000"
        environment = {**os.environ, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date, "LC_ALL": "C.UTF-8"}
        command = ["git", "-c", "protocol.file.allow=always", "-C", str(self.root), *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def commit(self, summary: str = "change", **files: str) -> str:
        """Commit all there is, with *files* (path: text) written before; answers the commit."""
        for path, text in files.items():
            self.write(path, text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", summary)
        self.commits += 1
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """One commit, no tag: pyproject.toml of the static version 1.0 and a module."""
    found = new_repository(tmp_path / "hello")
    found.commit("first", **{"pyproject.toml": PYPROJECT, "hello.py": "print('hello')\n"})
    return found


def new_repository(root: Path) -> Repository:
    """An empty repository."""
    root.mkdir(parents=True)
    made = Repository(root)
    made.git("init", "--quiet", "--initial-branch=main")
    return made


@pytest.fixture
def host() -> HostRunner:
    """Runs real programs."""
    return HostRunner()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")
