"""Who may publish to a registry: everything that stands in the way is said before a byte is sent."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import re
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from buildonce.errors import ReleaseError
from tests import faults, ports, registries
from tests.publishers import small_images
from tests.publishers.shelves import Shelf, means
from tests.registries import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.publishers import Means, Outgoing
    from buildonce.signing import Key
    from tests.registries import Running, TokenServer


@pytest.fixture(scope="module")
def release(key: Key, tmp_path_factory: pytest.TempPathFactory) -> Outgoing:
    return small_images.release(tmp_path_factory.mktemp("one"), key)


@pytest.fixture(scope="module")
def shut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With TLS and a password."""
    with registries.running(tmp_path_factory.mktemp("shut"), tls=True, basic=True) as found:
        yield found


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with registries.token_server() as found:
        yield found


@pytest.fixture(scope="module")
def guarded(tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Asks for tokens."""
    with registries.running(tmp_path_factory.mktemp("guarded"), tokens=tokens) as found:
        yield found


@pytest.fixture
def tools(key: Key, tmp_path: Path) -> Iterator[Means]:
    made = means(tmp_path, key)
    yield made
    made.system.net.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    return tmp_path


def secure(shut: Running, tools: Means) -> Shelf:
    """TLS also where the registry is on this machine, which `localhost` in the name alone would not ask for."""
    return Shelf(host=shut.host, direct=shut.host, name="team/orders", means=tools)


@contextlib.contextmanager
def by_tls(monkeypatch: pytest.MonkeyPatch, ca: Path | None) -> Iterator[None]:
    """A registry on this machine is spoken to by TLS, as any other is."""
    from buildonce.registry import repository

    with monkeypatch.context() as patch:
        patch.setattr(repository, "_HERE", re.compile("(?!)"))
        if ca:
            patch.setenv("SSL_CERT_FILE", str(ca))
        yield


def test_a_password_over_tls(
    shut: Running, tools: Means, home: Path, release: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries.log_in(home, shut.host)
    with by_tls(monkeypatch, shut.ca):
        shelf = secure(shut, tools)
        shelf.publish(release)
        assert shelf.is_seen()
        assert shelf.problems() == []
    assert PASSWORD not in shut.log.read_text()


def test_a_wrong_password(
    shut: Running, tools: Means, home: Path, release: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries.log_in(home, shut.host, password="wrong horse")
    with by_tls(monkeypatch, shut.ca), pytest.raises(ReleaseError, match="401") as refused:
        secure(shut, tools).publisher().prepare(release)
    (problem,) = refused.value.problems
    assert problem.hint == f"docker login {shut.host}"
    said = f"{refused.value} {problem}"
    assert "wrong horse" not in said
    assert base64.b64encode(f"{USER}:wrong horse".encode()).decode() not in said


def test_nobody(shut: Running, tools: Means, home: Path, release: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    with by_tls(monkeypatch, shut.ca), pytest.raises(ReleaseError, match="401"):
        secure(shut, tools).publisher().prepare(release)


def test_a_certificate_that_nobody_trusts(
    shut: Running, tools: Means, home: Path, release: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries.log_in(home, shut.host)
    with by_tls(monkeypatch, None), pytest.raises(ReleaseError, match="certificate is not trusted") as refused:
        secure(shut, tools).publisher().prepare(release)
    assert "SSL_CERT_FILE" in refused.value.problems[0].hint


def test_a_certificate_that_has_ended(
    tools: Means, home: Path, release: Outgoing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca = trustme.CA()
    ended = ca.issue_cert("127.0.0.1", not_after=dt.datetime.now(dt.UTC) - dt.timedelta(days=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ended.configure_cert(context)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    expired = pytest.raises(ReleaseError, match="expired")
    with _tls_server(context) as host, by_tls(monkeypatch, tmp_path / "ca.pem"), expired:
        Shelf(host=host, direct=host, name="team/orders", means=tools).publisher().prepare(release)


@contextlib.contextmanager
def _tls_server(context: ssl.SSLContext) -> Iterator[str]:
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is what is expected."""

    with Quiet(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_tokens_for_two_repositories(
    guarded: Running, tokens: TokenServer, tools: Means, home: Path, release: Outgoing
) -> None:
    """To mount a layer, the token has to allow reading in its repository too."""
    registries.log_in(home, guarded.host)
    first = Shelf(host=guarded.host, direct=guarded.host, name="team/first", means=tools)
    first.publish(release)
    second = first.beside(2)
    tokens.asked.clear()
    second.publish(release, mount=[first.image])
    assert second.problems() == []
    scopes = {one["scope"] for one in tokens.asked}
    assert any("team/first:pull" in scope and "team/first/n2:" in scope for scope in scopes), scopes


def test_who_may_only_read(guarded: Running, tokens: TokenServer, tools: Means, home: Path, release: Outgoing) -> None:
    registries.log_in(home, guarded.host)
    tokens.may_push = False
    try:
        with pytest.raises(ReleaseError, match="may not") as refused:
            Shelf(host=guarded.host, direct=guarded.host, name="team/read", means=tools).publisher().prepare(release)
    finally:
        tokens.may_push = True
    assert refused.value.exit_code == 1
    assert "docker login" in refused.value.problems[0].hint


def test_a_registry_that_is_read_only(tmp_path: Path, tools: Means, home: Path, release: Outgoing) -> None:
    more = {"storage": {"maintenance": {"readonly": {"enabled": True}}}}
    with registries.running(tmp_path / "read-only", more=more) as server:
        with pytest.raises(ReleaseError, match="may not") as refused:
            Shelf(host=server.host, direct=server.host, name="team/x", means=tools).publisher().prepare(release)
        assert "read-only" in refused.value.problems[0].hint


def test_a_registry_that_is_not_there(tools: Means, home: Path, release: Outgoing) -> None:
    host = f"127.0.0.1:{ports.free()}"
    with pytest.raises(ReleaseError, match="network"):
        Shelf(host=host, direct=host, name="team/x", means=tools).publisher().prepare(release)


def test_a_disk_that_is_full(tmp_path: Path, tools: Means, home: Path, release: Outgoing) -> None:
    """The registry cannot keep the base layer; when it can, the same line completes it."""
    with registries.running(tmp_path / "full", largest_file=small_images.BASE_SIZE // 2) as server:
        shelf = Shelf(host=server.host, direct=server.host, name="team/x", means=tools)
        with pytest.raises(ReleaseError, match=r"50\d|network"):
            shelf.publish(release)
        assert not shelf.is_seen()
        assert shelf.registry.tags() == ()
    with registries.running(tmp_path / "full") as server:
        shelf = Shelf(host=server.host, direct=server.host, name="team/x", means=tools)
        shelf.publish(release)
        assert shelf.problems() == []


def test_no_secret_is_in_what_is_shown(shut: Running, tools: Means, home: Path, release: Outgoing) -> None:
    secret = json.loads(registries.log_in(home, shut.host).read_text())["auths"][shut.host]["auth"]
    shelf = secure(shut, tools)
    publisher = shelf.publisher()
    assert secret not in repr(publisher) + repr(shelf.registry) + publisher.place
    with faults.proxy(f"http://{shut.host}") as proxy:
        proxy.fault = faults.Fault(kind="status", status=403)
        with pytest.raises(ReleaseError) as refused:
            Shelf(host=proxy.host, direct=shut.host, name="team/x", means=tools).publisher().prepare(release)
    assert secret not in f"{refused.value.problems}"
