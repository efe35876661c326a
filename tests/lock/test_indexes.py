"""Where packages come from: pip's configuration told to uv, private names first, no place of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from buildonce import target as targets
from buildonce.lock import indexes
from tests.lock.index import serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lock.conftest import User
    from tests.lock.index import Index

BOOKWORM = targets.load("debian-12")
PRIVATE, PUBLIC = "https://ada:secret@index.example/simple/", "https://mirror.example/simple/"


@pytest.fixture
def pip_conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only configuration of pip and uv that there is."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    path = tmp_path / "pip.conf"
    monkeypatch.setattr(indexes, "_pip_files", lambda: (path,))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    return path


def test_pips_indexes_are_told_to_uv(pip_conf: Path) -> None:
    pip_conf.write_text(f"[global]\nindex-url = {PUBLIC}\nextra-index-url =\n    {PRIVATE}\n    https://b.example/\n")
    assert indexes.environment({}) == (
        ("UV_DEFAULT_INDEX", PUBLIC),
        ("UV_INDEX", f"{PRIVATE} https://b.example/"),
    )


def test_a_variable_of_pip_counts_before_its_file(pip_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_conf.write_text(f"[global]\nindex-url = {PUBLIC}\n")
    monkeypatch.setenv("PIP_INDEX_URL", PRIVATE)
    assert indexes.environment({}) == (("UV_DEFAULT_INDEX", PRIVATE),)


def test_places_of_this_machine_are_left_out(pip_conf: Path) -> None:
    pip_conf.write_text(
        f"[global]\nindex-url = file:///srv/b\nextra-index-url = file:///srv/a {PRIVATE}\nfind-links = /srv/c\n"
    )
    assert indexes.environment({}) == (("UV_INDEX", PRIVATE),)


@pytest.mark.parametrize("settings", [{"index": [{"url": PRIVATE}]}, {"index-url": PRIVATE}, {"no-index": True}])
def test_uvs_own_configuration_is_enough(pip_conf: Path, settings: dict[str, object]) -> None:
    pip_conf.write_text(f"[global]\nindex-url = {PUBLIC}\n")
    assert indexes.environment(settings) == ()


def test_a_variable_of_uv_is_enough(pip_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_conf.write_text(f"[global]\nindex-url = {PUBLIC}\n")
    monkeypatch.setenv("UV_INDEX", PRIVATE)
    assert indexes.environment({}) == ()


def test_an_explicit_index_takes_nobodys_place(pip_conf: Path) -> None:
    pip_conf.write_text(f"[global]\nindex-url = {PUBLIC}\n")
    assert indexes.environment({"index": [{"url": PRIVATE, "explicit": True}]}) == (("UV_DEFAULT_INDEX", PUBLIC),)


def test_the_users_uv_toml_counts(pip_conf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pip_conf.write_text(f"[global]\nindex-url = {PUBLIC}\n")
    monkeypatch.delenv("UV_NO_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text(f'[[index]]\nurl = "{PRIVATE}"\n')
    assert indexes.environment({}) == ()


def test_pips_certificates_serve_uv_too(pip_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_conf.write_text("[global]\ncert = /srv/corp.pem\n")
    monkeypatch.delenv("SSL_CERT_FILE")
    assert indexes.environment({}) == (("SSL_CERT_FILE", "/srv/corp.pem"),)


def test_a_private_name_is_never_taken_from_the_public_index(
    index: Index, user: User, pip_conf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Dependency confusion: the public index has a newer version of a name that is ours."""
    index.add("internal", "99.0")
    with serving() as private:
        private.add("internal", "1.0")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
        url = private.url.replace("http://", "http://ada:secret@")
        pip_conf.write_text(f"[global]\nindex-url = {index.url}\nextra-index-url = {url}\n")
        user.project("internal")
        (internal,) = user.lock().select(BOOKWORM)
    assert internal.version == "1.0"
    assert internal.file.url.startswith(private.url)
    for name in ("pylock.toml", "pylock.build.toml"):
        assert "secret" not in (user.root / name).read_text()
