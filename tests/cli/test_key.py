"""``release key new`` and ``release key show``."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's keys are."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config/buildonce/keys"


@pytest.fixture
def passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "passphrase").write_text("correct horse battery staple\n")
    monkeypatch.setenv("RELEASE_KEY_PASSPHRASE_FILE", str(tmp_path / "passphrase"))


@pytest.mark.usefixtures("passphrase")
def test_new_is_protected_and_tells_how_others_verify(release: Callable[..., Ended], place: Path) -> None:
    ended = release("key", "new", "team")
    assert ended.code == 0
    assert "ENCRYPTED" in (place / "team.key").read_text()
    assert (place / "team.key").stat().st_mode & 0o777 == 0o600
    assert ended.stdout == (place / "team.pub").read_text()
    for program in ("release verify", "openssl", "ssh-keygen", "gpgv", "sha256sum -c"):
        assert program in ended.stderr
    shown = release("key", "show", "team")
    assert (shown.code, shown.stdout) == (0, ended.stdout)


@pytest.mark.usefixtures("place")
def test_without_a_passphrase_it_is_told(release: Callable[..., Ended]) -> None:
    ended = release("key", "new", "team", "--no-passphrase")
    assert ended.code == 0
    assert "unprotected: whoever reads the file can sign" in ended.stderr


@pytest.mark.usefixtures("place")
def test_nobody_to_type_a_passphrase(release: Callable[..., Ended]) -> None:
    ended = release("key", "new", "team")
    assert ended.code == 1
    assert "nobody is there to type it" in ended.stderr
    assert "RELEASE_KEY_PASSPHRASE_FILE" in ended.stderr


@pytest.mark.usefixtures("passphrase")
def test_a_key_is_never_overwritten(release: Callable[..., Ended], place: Path) -> None:
    release("key", "new", "team")
    before = (place / "team.key").read_bytes()
    ended = release("key", "new", "team")
    assert ended.code == 1
    assert "a key is never overwritten" in ended.stderr
    assert (place / "team.key").read_bytes() == before


@pytest.mark.usefixtures("passphrase")
def test_a_path_instead_of_a_name(release: Callable[..., Ended], tmp_path: Path) -> None:
    ended = release("key", "new", str(tmp_path / "here/ours.key"), "--json")
    assert ended.data == {
        "name": "ours",
        "keyid": ended.data["keyid"],
        "public": str(tmp_path / "here/ours.pub"),
    }
    assert ended.data["keyid"].startswith("SHA256:")


@pytest.mark.usefixtures("place")
def test_show_what_is_not_there(release: Callable[..., Ended]) -> None:
    ended = release("key", "show", "nobody")
    assert ended.code == 1
    assert ended.stderr.startswith("error: there is no such key\n")
    assert ended.stderr.endswith("hint: make it with `release key new nobody`\n")


@pytest.mark.usefixtures("passphrase")
def test_the_lines_that_are_shown_work(release: Callable[..., Ended], place: Path, tmp_path: Path) -> None:
    """openssl and ssh-keygen read the public files by the names that the lines have."""
    lines = release("key", "new", "team").stderr
    public = re.search(r"-verify (\S+)", lines)
    allowed = re.search(r"-f (\S+allowed_signers)", lines)
    assert public is not None
    assert allowed is not None
    subprocess.run(["openssl", "pkey", "-pubin", "-noout", "-in", public[1]], check=True)
    subprocess.run(["ssh-keygen", "-l", "-f", str(place / "team.ssh.pub")], check=True, capture_output=True)
    assert allowed[1] == str(place / "team.allowed_signers")
