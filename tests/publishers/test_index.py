"""The index publisher with real servers: what travels along, what is refused, what happens when something breaks."""

from __future__ import annotations

import datetime as dt
import http.server
import shutil
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import keyring.backends.fail
import pytest
import trustme
from keyring.backend import KeyringBackend
from keyring.credentials import SimpleCredential

from buildonce import promoting, publishing
from buildonce.errors import ConfigurationError, ReleaseError, VerificationError
from buildonce.publishers import Means
from buildonce.publishers.index import promote
from buildonce.publishers.index.login import find, variables
from buildonce.signing import release as releases
from buildonce.signing import sums
from buildonce.system import System
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner
from tests import indexes, small_release
from tests.faults import KINDS, Fault, Kind, proxy
from tests.publishers.index_sites import index_publisher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from buildonce.promoting import Promoted
    from buildonce.publishers import IndexPublisher, Outgoing, Parcel
    from buildonce.signing import Key
    from buildonce.system.store import Store

DEPENDENCIES = {"click-1.0-py3-none-any.whl", "colorama-1.0-py3-none-any.whl"}
VERSION = small_release.VERSION.pep440
OWN = {f"tinyapp-{VERSION}-py3-none-any.whl", f"tinyapp-{VERSION}.tar.gz", f"tinyapp-{VERSION}.doc.zip"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    made = small_release.unsigned(tmp_path_factory.mktemp("release") / "tinyapp", small_release.for_an_index)
    releases.sign(made, key)
    return made


@pytest.fixture
def release(folder: Path, key: Key) -> Outgoing:
    return publishing.outgoing(folder, releases.verify(folder, [key.public]))


@pytest.fixture
def server() -> indexes.Devpi:
    return indexes.devpi()


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net(pause=0.001)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def logged_in() -> None:
    indexes.log_in("127.0.0.1")


def devpi(server: indexes.Devpi, path: str, net: Net, *, url: str = "", wheelhouse: bool = True) -> IndexPublisher:
    return index_publisher("devpi", f"{url or server.url}/{path}/", net, wheelhouse=wheelhouse)


def publish(publisher: IndexPublisher, release: Outgoing) -> tuple[Parcel, ...]:
    return publishing.deliver("there", publisher, release, SilentProgress()).sent


def test_the_dependencies_come_first_and_are_locked(server: indexes.Devpi, net: Net, release: Outgoing) -> None:
    path = server.new_index()
    sent = [one.name for one in publish(devpi(server, path, net), release)]
    assert set(sent[:2]) == DEPENDENCIES
    assert set(sent[2:]) == OWN
    houses = [one for one in release.manifest.artifacts if one.kind == "wheelhouse"]
    locked = {entry.path.removeprefix("wheels/"): entry.sha256 for one in houses for entry in one.extras}
    for name in ("click", "colorama"):
        assert server.seen(path, name).items() <= locked.items()


def test_what_pip_has_to_know_is_uploaded_too(server: indexes.Devpi, net: Net, release: Outgoing) -> None:
    path = server.new_index()
    publish(devpi(server, path, net), release)
    about = server.call("GET", f"{path}/tinyapp")[VERSION]
    assert about["requires_dist"] == ["click", "colorama"]
    assert about["keywords"] == "a, b"
    assert about["metadata_version"] == "2.4"


def test_the_documents_travel_along_and_verify(
    server: indexes.Devpi, net: Net, release: Outgoing, key: Key, tmp_path: Path
) -> None:
    path = server.new_index()
    publisher = devpi(server, path, net)
    publish(publisher, release)
    assert publisher.index.documents("tinyapp", VERSION, tmp_path)
    assert releases.documents(tmp_path, [key.public]).manifest.version.pep440 == VERSION
    assert (tmp_path / "attestations").is_dir()
    assert not (tmp_path / "log").exists()
    assert not publisher.index.documents("tinyapp", "9.9", tmp_path)


def test_without_a_wheelhouse_there_is_none_to_publish(server: indexes.Devpi, net: Net, signed: Path, key: Key) -> None:
    release = publishing.outgoing(signed, releases.verify(signed, [key.public]))
    with pytest.raises(ConfigurationError, match="without a wheelhouse"):
        devpi(server, server.new_index(), net).prepare(release)


def test_a_missing_permission_is_found_before_anything_is_sent(
    server: indexes.Devpi, net: Net, release: Outgoing
) -> None:
    path = server.new_index()
    before = server.state(path)
    for user, password, said in (
        (indexes.EVE, indexes.PASSWORD, "403"),
        (indexes.USER, "wrong password", "401"),
        ("nobody", "no password", "401"),
    ):
        indexes.log_in("127.0.0.1", user, password)
        with pytest.raises(ReleaseError, match=said) as refused:
            devpi(server, path, net).prepare(release)
        assert repr(user) in refused.value.problems[0].hint
        assert password not in str(refused.value.problems)
    assert server.state(path) == before


def test_without_a_login_the_hint_says_where_to_put_one(
    server: indexes.Devpi, net: Net, release: Outgoing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(ReleaseError, match="401") as refused:
        devpi(server, server.new_index(), net).prepare(release)
    assert "BUILDONCE_THERE_PASSWORD" in refused.value.problems[0].hint
    monkeypatch.setenv("BUILDONCE_THERE_USER", indexes.USER)
    monkeypatch.setenv("BUILDONCE_THERE_PASSWORD", indexes.PASSWORD)
    assert devpi(server, server.new_index(), net).prepare(release)


def test_an_index_that_is_not_there_and_one_that_takes_nothing(
    server: indexes.Devpi, net: Net, release: Outgoing, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseError, match="no such index"):
        devpi(server, "releases/none", net).prepare(release)
    with pytest.raises(ReleaseError, match="no index takes uploads here"):
        index_publisher("index", f"{indexes.pypiserver(tmp_path).url}/simple/", net).prepare(release)
    with pytest.raises(ConfigurationError, match="not the address of an index"):
        index_publisher("devpi", "http://127.0.0.1/x/", net)


def test_who_may_not_make_an_index_publishes_in_order(server: indexes.Devpi, net: Net, release: Outgoing) -> None:
    """What pip needs comes last even then: documents, wheel, sdist."""
    path = server.new_index()
    with proxy(server.url) as before:
        publisher = devpi(server, path, net, url=before.url)
        # A server with --restrict-modify answers so.
        before.reset(Fault(kind="status", status=403, only="PUT "))
        publish(publisher, release)
    assert server.seen(path, "tinyapp").keys() == OWN
    logs = server.call("GET", f"{path}/tinyapp")[VERSION]["+links"]
    assert [link["href"].rpartition(VERSION)[2] for link in logs] == [".doc.zip", "-py3-none-any.whl", ".tar.gz"]


def test_a_foreign_file_of_the_version_is_noticed(server: indexes.Devpi, net: Net, release: Outgoing) -> None:
    """A wheel with another tag would be what pip chooses."""
    path = server.new_index()
    publisher = devpi(server, path, net)
    publish(publisher, release)
    name = f"tinyapp-{VERSION}-cp311-cp311-linux_x86_64.whl"
    server.upload(path, "tinyapp", VERSION, name, b"evil")
    for check in (publisher.prepare, publisher.read_back):
        with pytest.raises(VerificationError, match=name.replace("+", r"\+")):
            check(release)


def rebuilt(release: Outgoing, key: Key, tmp_path: Path, *, only: Sequence[str] = ()) -> Outgoing:
    """The same version with other bytes: every artifact is longer, or those of the kinds *only*."""
    folder = shutil.copytree(release.folder, tmp_path / "other")
    for name in ("attestations", "log"):
        shutil.rmtree(folder / name)
    made = []
    for one in release.manifest.artifacts:
        path = folder / one.file
        path.write_bytes(path.read_bytes() + b"!" * (not only or one.kind in only))
        made.append(small_release.described(one, path))
    for name, data in small_release.documents(small_release.stage(tmp_path / "stage"), made).items():
        (folder / name).write_bytes(data)
    (folder / "SHA256SUMS").write_bytes(sums.sums(folder))
    releases.sign(folder, key)
    return publishing.outgoing(folder, releases.verify(folder, [key.public]))


def test_documents_of_another_build_are_refused(
    server: indexes.Devpi, net: Net, release: Outgoing, key: Key, tmp_path: Path
) -> None:
    """The same wheel and sdist, but another manifest: which of them is vouched for?"""
    path = server.new_index()
    publish(devpi(server, path, net), release)
    other = rebuilt(release, key, tmp_path, only=("wheelhouse",))
    with pytest.raises(VerificationError, match=release.digest) as refused:
        devpi(server, path, net).prepare(other)
    assert other.digest in str(refused.value)


def test_two_at_once_do_no_harm(server: indexes.Devpi, net: Net, release: Outgoing) -> None:
    path = server.new_index()
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(publish, devpi(server, path, net), release) for _ in range(3)]
        for job in jobs:
            job.result()
    assert server.seen(path, "tinyapp").keys() == OWN
    assert publish(devpi(server, path, net), release) == ()


def test_of_two_different_ones_at_once_one_wins_as_a_whole(
    server: indexes.Devpi, net: Net, release: Outgoing, key: Key, tmp_path: Path
) -> None:
    path = server.new_index()
    both = [release, rebuilt(release, key, tmp_path)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(publish, devpi(server, path, net, wheelhouse=False), one) for one in both]
        failures = [job.exception() for job in jobs]
    assert [type(one) for one in failures if one] == [VerificationError]
    winner = both[failures.index(None)]
    found = server.seen(path, "tinyapp")
    assert found.keys() == OWN
    assert {name: one for name, one in winner.files.items() if name in found}.items() <= found.items()


@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_is_overcome_without_the_user(server: indexes.Devpi, net: Net, release: Outgoing, kind: Kind) -> None:
    """At the upload of the wheel; tests/integration/test_index_faults.py has all the requests."""
    path = server.new_index()
    with proxy(server.url) as before:
        publisher = devpi(server, path, net, url=before.url, wheelhouse=False)
        before.reset(Fault(kind=kind, first=1, times=1, only="POST /ci/"))
        publish(publisher, release)
        assert before.faults == 1
    assert server.seen(path, "tinyapp").keys() == OWN


@pytest.mark.parametrize("first", [8, 13, 18])
def test_a_server_that_goes_down_leaves_nothing_half(
    server: indexes.Devpi, net: Net, release: Outgoing, first: int
) -> None:
    path = server.new_index()
    with proxy(server.url) as before:
        before.reset(Fault(kind="unheard", first=first))
        with pytest.raises(ReleaseError):
            publish(devpi(server, path, net, url=before.url, wheelhouse=False), release)
        assert server.seen(path, "tinyapp").keys() in (set(), OWN)
        before.reset()
        publish(devpi(server, path, net, url=before.url, wheelhouse=False), release)
    assert server.seen(path, "tinyapp").keys() == OWN
    assert server.call("GET", indexes.USER)["indexes"].keys() == set()


def test_promotion_pushes_the_same_bytes_and_is_no_change_again(
    server: indexes.Devpi, net: Net, release: Outgoing
) -> None:
    staging, production = server.new_index(volatile=True), server.new_index()
    source, target = (devpi(server, path, net) for path in (staging, production))
    publish(source, release)
    moved = promote(source.index, target.index, release.manifest, release.digest, SilentProgress())
    assert {one.name for one in moved if not one.there} == OWN | DEPENDENCIES
    for name in ("tinyapp", "click", "colorama"):
        assert server.seen(production, name) == server.seen(staging, name) != {}
    before = server.state(production)
    logs = {link["href"]: [one["what"] for one in link["log"]] for link in before[1]["tinyapp"][VERSION]["+links"]}  # type: ignore[index]
    assert all(what[-1] == "push" for what in logs.values())
    again = promote(source.index, target.index, release.manifest, release.digest, SilentProgress())
    assert all(one.there for one in again)
    assert server.state(production) == before


def test_promotion_takes_nothing_along_that_is_not_of_the_release(
    server: indexes.Devpi, net: Net, release: Outgoing
) -> None:
    staging, production = server.new_index(), server.new_index()
    source, target = (devpi(server, path, net) for path in (staging, production))
    publish(source, release)
    other = "click-1.0-cp311-cp311-linux_x86_64.whl"
    server.upload(staging, "click", "1.0", other, b"of another lock")
    promote(source.index, target.index, release.manifest, release.digest, SilentProgress())
    assert server.seen(production, "click").keys() == {"click-1.0-py3-none-any.whl"}
    server.upload(staging, "tinyapp", VERSION, f"tinyapp-{VERSION}-cp311-cp311-linux_x86_64.whl", b"evil")
    elsewhere = devpi(server, server.new_index(), net)
    with pytest.raises(VerificationError, match="not of this release"):
        promote(source.index, elsewhere.index, release.manifest, release.digest, SilentProgress())


def test_promotion_completes_what_is_half_there_and_refuses_other_bytes(
    server: indexes.Devpi, net: Net, release: Outgoing
) -> None:
    """A push of what is partly there would be refused, after a part of it was stored."""
    staging, production = server.new_index(), server.new_index()
    source, target = (devpi(server, path, net) for path in (staging, production))
    publish(source, release)
    sdist = f"tinyapp-{VERSION}.tar.gz"
    server.upload(production, "tinyapp", VERSION, sdist, (release.folder / sdist).read_bytes())
    promote(source.index, target.index, release.manifest, release.digest, SilentProgress())
    assert server.seen(production, "tinyapp").keys() == OWN
    other = server.new_index()
    server.upload(other, "click", "1.0", "click-1.0-py3-none-any.whl", b"other bytes")
    with pytest.raises(VerificationError, match="published are other bytes"):
        promote(source.index, devpi(server, other, net).index, release.manifest, release.digest, SilentProgress())
    assert server.seen(other, "tinyapp") == {}


def test_promotion_to_another_kind_of_index_carries_the_files(
    server: indexes.Devpi, net: Net, release: Outgoing, tmp_path: Path
) -> None:
    staging, production = server.new_index(), indexes.pypiserver(tmp_path)
    source = devpi(server, staging, net)
    target = index_publisher("index", f"{production.url}/", net, wheelhouse=True)
    publish(source, release)
    promote(source.index, target.index, release.manifest, release.digest, SilentProgress())
    assert production.seen("tinyapp").keys() == {name for name in OWN if not name.endswith(".doc.zip")}
    assert production.seen("click").keys() == {"click-1.0-py3-none-any.whl"}


_RENAMED = '[project]\nname = "tinyapp"\nversion = "1"\n\n[tool.release]\nname = "tiny-service"\n'


def test_the_command_promotes_by_push(
    server: indexes.Devpi, net: Net, release: Outgoing, key: Key, store: Store, tmp_path: Path
) -> None:
    """Of the release this machine takes the documents, the wheel and the sdist; the rest stays on the server. There the
    project has its own name, whatever its releases are called.
    """
    places = {"staging": server.new_index(), "production": server.new_index()}
    tables = [
        f'[tool.release.publish.{name}]\ntype = "devpi"\nurl = "{server.url}/{path}/"\nwheelhouse = true\n'
        for name, path in places.items()
    ]
    (tmp_path / "pyproject.toml").write_text("\n".join([_RENAMED, *tables]))
    system = System(store=store, net=net, host=HostRunner(), progress=SilentProgress())
    means = Means(system=system, key=lambda _: key, trusted=(key.public,))

    def moved(*, dry_run: bool = False) -> Promoted:
        return promoting.promote(
            tmp_path, VERSION, means, source="staging", target="production", user="ada", dry_run=dry_run
        )

    with pytest.raises(ReleaseError, match="not published there"):
        moved()
    publish(devpi(server, places["staging"], net), release)
    assert {one.name for one in moved(dry_run=True).published.sent} == OWN | DEPENDENCIES
    assert server.seen(places["production"], "tinyapp") == {}
    first = moved()
    assert {one.name for one in first.published.sent} == OWN | DEPENDENCIES
    for name in ("tinyapp", "click", "colorama"):
        assert server.seen(places["production"], name) == server.seen(places["staging"], name) != {}
    path, _, version = first.record.removeprefix(f"{server.url}/").rpartition("/")
    log = server.call("GET", path)[version]["+links"][0]["log"][-1]
    assert (log["what"], log["who"], log["src"]) == ("push", indexes.USER, places["staging"])
    again = moved()
    assert (again.published.sent, again.record) == ((), "")


def test_what_an_index_sends_elsewhere_for_is_not_there(
    server: indexes.Devpi, net: Net, release: Outgoing, tmp_path: Path
) -> None:
    """pypiserver sends whoever asks for an unknown project to another index, which may have it."""
    other = server.new_index()
    publish(devpi(server, other, net), release)
    elsewhere = f"{server.url.replace('127.0.0.1', 'localhost')}/{other}/+simple/"
    here = indexes.pypiserver(tmp_path, fallback=elsewhere)
    publisher = index_publisher("index", f"{here.url}/", net, wheelhouse=True)
    assert not any(one.there for one in publisher.prepare(release))


def test_a_login_goes_to_no_other_host(server: indexes.Devpi, net: Net, release: Outgoing) -> None:
    path = server.new_index()
    publisher = devpi(server, path, net)
    assert "Authorization" in publisher.index.web._authorization(f"{server.url}/x")
    assert publisher.index.web._authorization("http://files.example.org/x") == {}
    assert publisher.index.web._authorization(server.url.replace("http:", "https:")) == {}


class Ring(KeyringBackend):
    """A keyring with one entry."""

    priority = 1
    viable = False  # nobody finds it by itself

    def get_credential(self, service: str, username: str | None) -> SimpleCredential:
        return SimpleCredential("ring", "of the ring")

    def get_password(self, service: str, username: str) -> str:
        return "of the ring"

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


def test_the_order_of_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://index.example.org/user/prod/"
    user, password = variables("team-prod.eu")
    assert (user, password) == ("BUILDONCE_TEAM_PROD_EU_USER", "BUILDONCE_TEAM_PROD_EU_PASSWORD")
    monkeypatch.setattr("keyring.core._keyring_backend", Ring())  # type: ignore[no-untyped-call]
    assert (ring := find("team-prod.eu", url))
    assert (ring.user, ring.password) == ("ring", "of the ring")
    rules = tmp_path / "netrc"
    rules.write_text("machine index.example.org login net password rc\n")
    monkeypatch.setenv("NETRC", str(rules))
    assert (found := find("team-prod.eu", url))
    assert (found.user, found.password) == ("net", "rc")
    monkeypatch.setenv(password, "pypi-token")
    assert (token := find("team-prod.eu", url))
    assert (token.user, token.password) == ("__token__", "pypi-token")
    assert "pypi-token" not in repr(token)
    rules.write_text("machine index.example.org login net password\npassword secret\n")
    monkeypatch.delenv(password)
    with pytest.raises(ReleaseError, match="netrc") as refused:
        find("team-prod.eu", url)
    assert "secret" not in str(refused.value)


def test_a_machine_without_a_keyring_has_no_login_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyring.core._keyring_backend", keyring.backends.fail.Keyring())  # type: ignore[no-untyped-call]
    monkeypatch.setenv("BUILDONCE_THERE_USER", "ada")
    assert find("there", "https://index.example.org/") is None


def test_an_expired_certificate_is_found_before_anything_is_sent(
    release: Outgoing, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_before=past, not_after=past.replace(year=2021)).configure_cert(context)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        publisher = index_publisher("index", f"https://127.0.0.1:{server.server_address[1]}/", net)
        with pytest.raises(ReleaseError, match=r"certificate is not trusted.*expired"):
            publisher.prepare(release)
        server.shutdown()
        thread.join()
