"""Something goes wrong at each request of a publication to devpi in turn: after another run all is there and right, and
at no time is half a release to be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce import publishing
from buildonce.errors import ReleaseError
from buildonce.signing import release as releases
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from tests import indexes, small_release
from tests.faults import Fault, proxy
from tests.publishers.index_sites import index_publisher

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.publishers import Outgoing
    from buildonce.signing import Key
    from tests.faults import Proxy

pytestmark = pytest.mark.integration

VERSION = small_release.VERSION.pep440
OWN = {f"tinyapp-{VERSION}-py3-none-any.whl", f"tinyapp-{VERSION}.tar.gz", f"tinyapp-{VERSION}.doc.zip"}
# The server is down from then on; it fails from then on; one request goes wrong, with its answer or without.
FAULTS = {
    "down": Fault(kind="unheard"),
    "failing": Fault(kind="status"),
    "disk full": Fault(kind="status", status=507),
    "cut": Fault(kind="half", times=1),
    "unanswered": Fault(kind="unanswered", times=1),
    "truncated": Fault(kind="truncated", times=1),
    "slow": Fault(kind="slow", times=3),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    indexes.log_in("127.0.0.1")


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


@pytest.mark.parametrize("name", FAULTS)
def test_at_every_request(name: str, release: Outgoing, capsys: pytest.CaptureFixture[str]) -> None:
    server, fault = indexes.devpi(), FAULTS[name]
    tried = failed = hit = 0
    with proxy(server.url) as before:
        while True:
            path = server.new_index()
            before.reset(Fault(kind=fault.kind, first=tried + 1, times=fault.times, status=fault.status))
            well = publish(before, path, release)
            if not before.faults:
                break
            tried, failed, hit = tried + 1, failed + (not well), hit + before.faults
            assert server.seen(path, "tinyapp").keys() in (set(), OWN), before.requests
            before.reset()
            assert publish(before, path, release), before.requests
            assert_whole(server, path, release)
    assert tried > 20
    assert (failed > 0) is (fault.times is None)
    with capsys.disabled():
        print(f"\n{name}: at each of {tried} requests, {hit} faults; {failed} runs failed, all were completed")


def assert_whole(server: indexes.Devpi, path: str, release: Outgoing) -> None:
    found = server.seen(path, "tinyapp")
    assert found.keys() == OWN
    assert {name: one for name, one in release.files.items() if name in OWN}.items() <= found.items()
    assert server.seen(path, "click")
    assert server.seen(path, "colorama")
    assert server.call("GET", indexes.USER)["indexes"] == {}, "what waited aside is gone"
