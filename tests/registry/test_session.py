"""Who one is to a registry: passwords over TLS, tokens that a server signs, credential helpers, and nobody."""

from __future__ import annotations

import base64
import json
import stat
from typing import TYPE_CHECKING

import pytest

from buildonce.errors import ReleaseError
from buildonce.registry import Registry, Repository, credentials
from buildonce.system import files
from buildonce.system.net import Net, RefusedError
from tests import registries
from tests.registries import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registries import Running, TokenServer


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
    """Open with a token only."""
    with registries.running(tmp_path_factory.mktemp("guarded"), tokens=tokens) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def tls(server: Running, name: str = "team/vault") -> Repository:
    return Repository(host=server.host, name=name)  # as for a host that is not this machine


def push(registry: Registry, tmp_path: Path, data: bytes) -> bytes:
    path = tmp_path / "blob"
    path.write_bytes(data)
    registry.push_blob(path, files.sha256_bytes(data))
    (tmp_path / "part").unlink(missing_ok=True)
    (tmp_path / "part").touch()
    assert registry.read_blob(files.sha256_bytes(data), tmp_path / "part")
    return (tmp_path / "part").read_bytes()


@pytest.fixture
def trusted(shut: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(shut.ca))


@pytest.mark.usefixtures("trusted")
def test_a_password_over_tls(shut: Running, net: Net, home: Path, tmp_path: Path) -> None:
    registries.log_in(home, shut.host)
    assert push(Registry(tls(shut), net), tmp_path, b"with password") == b"with password"
    # A client that only reads knows no credentials yet when the first blob is asked for.
    (tmp_path / "part").write_bytes(b"with")
    digest = files.sha256_bytes(b"with password")
    assert Registry(tls(shut), net).read_blob(digest, tmp_path / "part", size=13)
    assert (tmp_path / "part").read_bytes() == b"with password"


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("password", ["", "wrong"])
def test_nobody_and_a_wrong_password(shut: Running, net: Net, home: Path, tmp_path: Path, password: str) -> None:
    if password:
        registries.log_in(home, shut.host, password=password)
    with pytest.raises(RefusedError, match="the registry says 401") as caught:
        push(Registry(tls(shut), net), tmp_path, b"never")
    assert caught.value.problems[0].hint == f"docker login {shut.host}"
    with pytest.raises(RefusedError):
        Registry(tls(shut), net).read_blob(files.sha256_bytes(b"never"), tmp_path / "part")
    assert PASSWORD not in repr(caught.value.problems)


def test_a_certificate_that_nobody_trusts(shut: Running, net: Net, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ReleaseError, match="certificate is not trusted") as caught:
        Registry(tls(shut), net).manifest("v1")
    assert "SSL_CERT_FILE" in caught.value.problems[0].hint


def test_tokens(guarded: Running, tokens: TokenServer, net: Net, home: Path, tmp_path: Path) -> None:
    """A token for reading first; one for writing when the registry asks for it; both kept."""
    registries.log_in(home, guarded.host)
    tokens.asked.clear()
    registry = Registry(Repository.parse(guarded.repository()), net)
    assert push(registry, tmp_path, b"token") == b"token"
    assert push(registry, tmp_path, b"another") == b"another"
    scopes = [one["scope"] for one in tokens.asked]
    assert scopes[0] == "repository:team/vault:pull"
    assert set(scopes[1].removeprefix("repository:team/vault:").split(",")) == {"pull", "push"}
    assert len(scopes) == 2
    assert all(one["service"] == "registry" for one in tokens.asked)


def test_a_token_that_ends_is_renewed(
    guarded: Running, tokens: TokenServer, net: Net, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries.log_in(home, guarded.host)
    registry = Registry(Repository.parse(guarded.repository()), net)
    monkeypatch.setattr(tokens, "lives", -120)  # beyond what a registry allows a clock to be wrong
    with pytest.raises(RefusedError):
        registry.has_blob(files.sha256_bytes(b"x"))
    monkeypatch.setattr(tokens, "lives", 300)
    assert push(registry, tmp_path, b"renewed") == b"renewed"


def test_an_identity_token_is_exchanged(
    guarded: Running, tokens: TokenServer, net: Net, home: Path, tmp_path: Path
) -> None:
    path = registries.log_in(home, guarded.host)
    path.write_text(json.dumps({"auths": {guarded.host: {"identitytoken": "identity"}}}))
    tokens.asked.clear()
    assert push(Registry(Repository.parse(guarded.repository()), net), tmp_path, b"identity") == b"identity"
    assert {one["grant_type"] for one in tokens.asked} == {"refresh_token"}


def test_who_may_only_read(
    guarded: Running, tokens: TokenServer, net: Net, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries.log_in(home, guarded.host)
    monkeypatch.setattr(tokens, "may_push", False)
    with pytest.raises(RefusedError, match="beginning an upload: the registry says 401") as caught:
        push(Registry(Repository.parse(guarded.repository()), net), tmp_path, b"never")
    assert "docker login" in caught.value.problems[0].hint


def test_credentials_go_nowhere_without_tls(guarded: Running, net: Net, home: Path) -> None:
    """A registry behind TLS that sends one to a token server without it."""
    repository = Repository.parse(guarded.repository())
    registry = Registry(repository, net)
    object.__setattr__(repository, "plain", False)
    challenge = 'Bearer realm="http://tokens.example.org/",service="registry"'
    with pytest.raises(ReleaseError, match="without TLS"):
        registry._session.answer(challenge, "")


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str, code: int = 0) -> None:
    """A credential helper on the PATH, which writes down what it was asked."""
    program = folder / "docker-credential-team"
    program.write_text(f"#!/bin/sh\ncat > {folder}/asked\nprintf '%s' '{said}'\nexit {code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


REPOSITORY = Repository.parse("oci://registry.example.org/team/vault")


def test_a_credential_helper(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = registries.log_in(home, "other.example.org")
    path.write_text(json.dumps({"credHelpers": {"registry.example.org": "team"}}))
    helper(tmp_path, monkeypatch, '{"Username": "ada", "Secret": "s"}')
    found = credentials.find(REPOSITORY)
    assert found == credentials.Credentials(user="ada", password="s")
    assert (tmp_path / "asked").read_text() == "registry.example.org"
    helper(tmp_path, monkeypatch, '{"Username": "<token>", "Secret": "t"}')
    assert credentials.find(REPOSITORY) == credentials.Credentials(identity_token="t")
    helper(tmp_path, monkeypatch, "the keychain is locked", 1)
    with pytest.raises(ReleaseError, match="the keychain is locked") as caught:
        credentials.find(REPOSITORY)
    assert caught.value.problems[0].where == str(path)


def test_a_login_for_a_part_of_a_registry_goes_before_that_for_all(home: Path) -> None:
    """As podman writes them."""
    place = home / ".config/containers/auth.json"
    place.parent.mkdir(parents=True)

    def entry(user: str) -> dict[str, str]:
        return {"auth": base64.b64encode(f"{user}:secret".encode()).decode()}

    known = {"registry.example.org/other": entry("c"), "registry.example.org": entry("a")}
    place.write_text(json.dumps({"auths": known}))
    assert credentials.find(REPOSITORY) == credentials.Credentials(user="a", password="secret")
    place.write_text(json.dumps({"auths": {**known, "registry.example.org/team": entry("b")}}))
    assert credentials.find(REPOSITORY) == credentials.Credentials(user="b", password="secret")
    assert credentials.find(Repository.parse("oci://elsewhere.example.org/x")) is None


def test_a_file_that_cannot_be_read(home: Path) -> None:
    path = registries.log_in(home, USER)
    path.write_text("{")
    with pytest.raises(ReleaseError, match="cannot be read") as caught:
        credentials.find(REPOSITORY)
    assert caught.value.problems[0].where == str(path)


def test_secrets_are_not_in_what_is_printed() -> None:
    assert "secret" not in repr(credentials.Credentials(user="a", password="secret"))
