"""Real releases of the examples, built once for all integration tests by the command that users run."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends import PROJECTS
from tests.integration import carried, hosts, levels, tiny, varied
from tests.lock import index as indexes
from tests.system import server as servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.conftest import Told
    from tests.integration.beats import Beats
    from tests.integration.hosts import Host
    from tests.integration.load import Count
    from tests.lock.index import Index

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


# The files that take longest, by minutes: begun first, so that none of them runs alone at the end.
LONG = (
    *("test_variations", "test_deploy_orders", "test_deploy_faults", "test_host", "test_deploy", "test_up"),
    *("test_docs_commands", "test_recipes", "test_host_trust", "test_deploy_distributions", "test_deploy_load"),
    "test_apt_hosts",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the machine; what takes long is first."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


LOADED = "requests during a deployment"
VARIED = "builds under a row of the variation matrix"


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Callable[[str, dict[str, str], int], None]:
    """Hears of a build of a project under a row, and how many artifacts of it were the same as ever."""
    return lambda project, row, artifacts: record_property(VARIED, [project, row, artifacts])


@pytest.fixture
def users(record_property: Callable[[str, object], None]) -> Callable[[str, Count], None]:
    """Hears what users saw meanwhile, and of what."""
    return lambda what, count: record_property(LOADED, f"{what}: {count}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much of the variation matrix this run went through, and what users saw, whatever process did."""
    passed = terminalreporter.getreports("passed")
    loads = [value for report in passed for name, value in report.user_properties if name == LOADED]
    if loads:
        terminalreporter.section("load")
        for line in sorted(loads):
            terminalreporter.write_line(line)
    builds = [value for report in passed for name, value in report.user_properties if name == VARIED]
    if not builds:
        return
    terminalreporter.section("variation matrix")
    wanted = varied.pairs(varied.ROWS)
    for project in dict.fromkeys(name for name, _, _ in builds):
        rows = tuple(row for name, row, _ in builds if name == project)
        share = f"{len(varied.pairs(rows) & wanted)} of {len(wanted)} pairs of levels of {len(levels.FACTORS)} factors"
        terminalreporter.write_line(f"{project}: {len(rows)} builds, {share}")
    artifacts = sum(count for _, _, count in builds)
    terminalreporter.write_line(f"{len(builds)} builds, {artifacts} artifacts compared, 0 different")


@dataclass(frozen=True)
class Example:
    """A project as a user has it: a folder with a git repository of its own."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def git(self, *arguments: str) -> str:
        identity = (
            "-c",
            "user.name=Example",
            "-c",
            "user.email=example@example.org",
            "-c",
            "commit.gpgsign=false",
        )
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, summary: str, **texts: str) -> None:
        for path, text in texts.items():
            (self.root / path).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", summary)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """``release …`` in the project, whatever its exit code."""
        return release(*arguments, cwd=self.root, **{**self.environment, **environment})

    def release(self, *arguments: str, **environment: str) -> Any:
        """The parsed ``--json`` result of ``release …``, which has to succeed."""
        done = self.run(*arguments, "--json", **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


def release(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it: a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "buildonce", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def example(name: str, folder: Path, *, more: str = "", **environment: str) -> Example:
    """The example *name*, copied into a fresh repository in *folder*, with *more* at the end of its pyproject.toml,
    locked, with the tag v1.4.0.
    """
    root = folder / name
    shutil.copytree(
        EXAMPLES / name, root, ignore=shutil.ignore_patterns("pylock*.toml", "debs.lock.toml", "__pycache__")
    )
    with (root / "pyproject.toml").open("a") as settings:
        settings.write(more)
    return repository(root, **environment)


def repository(root: Path, *, tag: str = "v1.4.0", **environment: str) -> Example:
    """The project in *root* in a repository of its own: locked, one commit, tagged."""
    made = Example(root, environment)
    made.git("init", "--quiet", "--initial-branch=main")
    made.release("lock")
    made.commit("first")
    made.git("tag", tag)
    return made


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of the tests, apart from those of whoever runs them."""
    return tmp_path_factory.mktemp("config")


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Example:
    """``examples/orders``, locked, one commit, tagged."""
    return example("orders", tmp_path_factory.mktemp("project"), XDG_CONFIG_HOME=str(home))


@dataclass(frozen=True)
class Built:
    """A finished release."""

    folder: Path
    data: Mapping[str, Any]

    def file(self, kind: str, target: str = "") -> Path:
        """The artifact of *kind*; of *target* where there are several."""
        rows = [row for row in self.data["artifacts"] if row["format"] == kind and target in ("", row["target"])]
        return self.folder / str(rows[0]["file"])

    @property
    def version(self) -> str:
        """PEP 440."""
        return str(self.data["version"])

    @property
    def tree(self) -> Mapping[str, str]:
        """The sha256 of every file below /opt/venvs on debian-12, by path, as the manifest says."""
        return self.tree_of("debian-12")

    def tree_of(self, target: str) -> Mapping[str, str]:
        """The same of *target*."""
        predicate = json.loads((self.folder / "release.json").read_bytes())["predicate"]
        entries = predicate["trees"][target]["entries"]
        return {path: sha256 for path, kind, _, _, sha256, *_ in entries if kind != "link"}


@pytest.fixture(scope="session")
def first(orders: Example) -> Built:
    """The release of the tagged commit."""
    data = orders.release("build")
    return Built(Path(data["dir"]), data)


@pytest.fixture(scope="session")
def second(orders: Example, first: Built) -> Built:
    """The release of the next commit, which changes one line of the application."""
    source = orders.root / "src/orders/app.py"
    source.write_text(source.read_text().replace('title="orders"', 'title="Orders"'))
    orders.commit("A better title")
    data = orders.release("build")
    return Built(Path(data["dir"]), data)


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Callable[[str], Example]:
    """The project of that name of ``tests/projects`` in a repository of its own, locked, committed and tagged."""

    @functools.cache
    def make(name: str) -> Example:
        root = tmp_path_factory.mktemp(name) / name
        shutil.copytree(PROJECTS / name, root)
        return repository(root, XDG_CONFIG_HOME=str(home))

    return make


@pytest.fixture(scope="session")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Beats:
    """The releases of the service ``beat``, each built when it is first asked for."""
    from tests.integration.beats import Beats  # it needs what is above

    return Beats.make(tmp_path_factory)


@pytest.fixture(scope="session")
def stores() -> Iterator[varied.Stores]:
    """A store for every user, on the disk, at a place that all can reach."""
    with varied.folder(Path("/var/tmp")) as base:
        yield varied.Stores(base)


@pytest.fixture(scope="session")
def public_key(home: Path, first: Built) -> Path:
    """The public key that the releases are signed with."""
    return home / "buildonce/keys/workstation.pub"


# What these files do to a host is told at the end of the run, but for what goes well.
FAULTS = {"test_host": "a deployment", "test_host_cuts": "a deployment", "test_host_trust": "a delivery"}
NO_FAULTS = {
    *("test_a_life", "test_nothing_was_there", "test_confirmed_is_confirmed", "test_preflight", "test_floor"),
    *("test_preflight_of_a_host_that_is_taken", "test_from_apt"),
}


@pytest.fixture(autouse=True)
def faults_are_told(request: pytest.FixtureRequest, told: Told) -> None:
    """Each is counted when it was survived."""
    what = FAULTS.get(request.path.stem)
    if what and request.node.originalname not in NO_FAULTS:
        told(f"{what}: {request.node.name.removeprefix('test_').replace('_', ' ')}", 1)


@pytest.fixture(autouse=True)
def no_files_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No build leaves half-written releases beside the finished ones."""
    yield
    if "orders" in request.fixturenames:
        found: Example = request.getfixturevalue("orders")
        left = [path.name for path in (found.root / "dist").glob(".*") if path.name not in {".lock", ".gitignore"}]
        assert left == []


@pytest.fixture(scope="session")
def os_packages(orders: Example, first: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An apt repository in a folder: what the application needs of Debian, from its lock, and nothing of ours."""
    packages = carried.needed(first.file("deb"), orders.root / "debs.lock.toml")
    return carried.index(tmp_path_factory.mktemp("carried") / "debian", packages)


@pytest.fixture(scope="session")
def python_host(os_packages: Path) -> Iterator[Host]:
    """A host with the interpreter and the libraries that the application needs, brought as .deb files; no init."""
    with with_python(os_packages, "debian-12") as host:
        yield host


@contextlib.contextmanager
def with_python(os_packages: Path, target: str) -> Iterator[Host]:
    """The same, of any target."""
    shut = {"/home/shut": "ro,mode=0555"}
    image = hosts.HOSTS[target].tag()
    with hosts.running(image, target=target, command=hosts.IDLE, init=True, tmpfs=shut) as host:
        assert host.too_much() == ""
        carried.accept(host, os_packages)
        host.run("apt-get", "install", "-qq", Path(host.python).name, "libpq5", environment=QUIET)
        assert host.too_much() == ""
        yield host


QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


@pytest.fixture(scope="session")
def company() -> Iterator[Index]:
    """The package index of a tiny company."""
    with indexes.serving() as found:
        tiny.stock(found)
        yield found


@pytest.fixture
def user(tmp_path: Path, company: Index) -> Iterator[tiny.User]:
    """Somebody with a project of their own; whatever they do wrong, no half of a release is left."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "home").mkdir()
    with servers.serving() as server:
        made = tiny.User(tmp_path / "shop", tmp_path / "home", company, server)
        yield made
        assert made.left == []
