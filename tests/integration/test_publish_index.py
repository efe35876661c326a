"""A real release on a real devpi; a fault at each request of its publication in turn: after another run all is there
and right, and at no time is half a release to be seen.
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from buildonce import publishing
from buildonce.errors import ReleaseError
from buildonce.signing import release as releases
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from tests import indexes, small_release
from tests.faults import Fault, proxy
from tests.integration.conftest import Example
from tests.publishers.index_sites import index_publisher

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.publishers import Outgoing
    from buildonce.signing import Key
    from tests.conftest import Told
    from tests.faults import Proxy
    from tests.integration.conftest import Built

pytestmark = pytest.mark.integration

VERSION = small_release.VERSION.pep440
OWN = {f"tinyapp-{VERSION}-py3-none-any.whl", f"tinyapp-{VERSION}.tar.gz", f"tinyapp-{VERSION}.doc.zip"}
# The server is down from a request on, at each of them in turn. The others take turns: each request has one of them.
DOWN = Fault(kind="unheard")
FAULTS = {
    "failing": Fault(kind="status"),
    "disk full": Fault(kind="status", status=507),
    "cut": Fault(kind="half", times=1),
    "unanswered": Fault(kind="unanswered", times=1),
    "truncated": Fault(kind="truncated", times=1),
    "slow": Fault(kind="slow", times=3),
}
TURNS = [("down", DOWN, 1, 1), *((name, fault, n, len(FAULTS)) for n, (name, fault) in enumerate(FAULTS.items(), 1))]


@pytest.fixture(autouse=True)
def logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    indexes.log_in("127.0.0.1", path=tmp_path / "netrc")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Outgoing:
    made = small_release.unsigned(tmp_path_factory.mktemp("release") / "tinyapp", small_release.for_an_index)
    releases.sign(made, key)
    return publishing.outgoing(made, releases.verify(made, [key.public]))


def publish(before: Proxy, path: str, release: Outgoing) -> bool:
    """Whether it ended well, as a process of its own would."""
    net = Net(pause=0.001)
    publisher = index_publisher("devpi", f"{before.url}/{path}/", net, wheelhouse=True)
    try:
        publishing.deliver("there", publisher, release, SilentProgress())
    except ReleaseError:
        return False
    finally:
        net.close()
    return True


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "fault", "begin", "every"), TURNS, ids=[name for name, *_ in TURNS])
def test_at_every_request(name: str, fault: Fault, begin: int, every: int, release: Outgoing, told: Told) -> None:
    server = indexes.devpi()
    tried = failed = hit = 0
    with proxy(server.url) as before:
        for number in itertools.count(begin, every):
            path = server.new_index()
            before.reset(replace(fault, first=number))
            well = publish(before, path, release)
            if not before.faults:
                break
            tried, failed, hit = tried + 1, failed + (not well), hit + before.faults
            assert server.seen(path, "tinyapp").keys() in (set(), OWN), before.requests
            before.reset()
            assert publish(before, path, release), before.requests
            assert_whole(server, path, release)
    assert number > 20
    assert (failed > 0) is (fault.times is None)
    told(f"devpi: {name}, at {tried} requests in turn", hit)


def assert_whole(server: indexes.Devpi, path: str, release: Outgoing) -> None:
    found = server.seen(path, "tinyapp")
    assert found.keys() == OWN
    assert {name: one for name, one in release.files.items() if name in OWN}.items() <= found.items()
    assert server.seen(path, "click")
    assert server.seen(path, "colorama")
    assert server.call("GET", indexes.USER)["indexes"] == {}, "what waited aside is gone"


@pytest.mark.timeout(1800)
def test_the_server_is_killed_and_comes_back(release: Outgoing, tmp_path: Path, told: Told) -> None:
    """SIGKILL while it works for the N-th request."""
    server = indexes.new_devpi(tmp_path)
    points = (8, 15, 16, 22)
    with proxy(server.url) as before, ThreadPoolExecutor(1) as pool:
        for point in points:
            path = server.new_index()
            before.reset()
            running = pool.submit(publish, before, path, release)
            while len(before.exchanges) < point and not running.done():
                time.sleep(0.001)
            server.kill()
            running.result()
            server.recover()
            server.start()
            assert server.seen(path, "tinyapp").keys() in (set(), OWN)
            before.reset()
            assert publish(before, path, release)
            assert_whole(server, path, release)
    server.kill()
    told("devpi killed, and whole after the next run", len(points))


def test_pip_needs_no_other_index(orders: Example, first: Built, tmp_path: Path) -> None:
    """The command publishes a real release; pip, which knows no other index, installs the application."""
    server = indexes.devpi()
    path = server.new_index()
    root = tmp_path / "orders"
    shutil.copytree(orders.root, root, ignore=shutil.ignore_patterns("dist"))
    with (root / "pyproject.toml").open("a") as file:
        table = f'[tool.release.publish.production]\ntype = "devpi"\nurl = "{server.url}/{path}/"\nwheelhouse = true'
        file.write(f"\n{table}\n")
    elsewhere = Example(root, {**orders.environment, "NETRC": os.environ["NETRC"]})
    publish = ("publish", str(first.folder), "--to", "production")
    (done,) = elsewhere.release(*publish)["destinations"]
    assert done["sent"]
    (line,) = done["use"]
    assert line.startswith("pip install ")
    assert not any(one["sent"] for one in elsewhere.release(*publish)["destinations"])
    python = tmp_path / "venv/bin/python"
    subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", str(tmp_path / "venv")], check=True)
    pip = [sys.executable, "-m", "pip", "--isolated", "--python", str(python), "--no-cache-dir"]
    environment = {name: one for name, one in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run([*pip, *shlex.split(line)[1:]], check=True, env=environment)
    said = subprocess.run([python.with_name("orders"), "--version"], check=True, capture_output=True, text=True)
    assert first.version in said.stdout
