"""What is wrong with the command line or the keys is told before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce.signing import release as signing
from tests import small_release

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.signing import Key
    from tests.cli.conftest import Ended


@pytest.fixture
def team(tmp_path: Path) -> Key:
    """The key that signed the release; its files are ``team.key`` and ``team.pub``."""
    return small_release.key(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, team: Key) -> Path:
    made = small_release.unsigned(tmp_path / "tinyapp")
    signing.sign(made, team)
    return made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quick", "--sign"], "--quick proves too little for --sign"),
        (["--quick", "--vary"], "--quick proves too little for --vary"),
        (["--key", "team.key"], "--key is for --sign"),
        ([], "missing argument"),
    ],
)
def test_usage(release: Callable[..., Ended], options: list[str], message: str) -> None:
    ended = release("reproduce", *options, *(["dist/x"] if options else []))
    assert ended.code == 2
    assert ended.stderr.startswith(f"error: {message}")


def test_nobody_is_trusted(release: Callable[..., Ended], folder: Path) -> None:
    ended = release("reproduce", str(folder))
    assert ended.code == 1
    assert "no key is trusted here" in ended.stderr
    assert "hint: name the signer's public key with --trust" in ended.stderr


def test_a_key_that_is_missing_is_told_first(release: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    trust = ("--trust", str(tmp_path / "team.pub"))
    ended = release("reproduce", str(folder), *trust, "--sign", "--key", str(tmp_path / "nobody.key"))
    assert ended.code == 1
    assert ended.stderr.startswith("error: there is no such key\n")


def test_the_releaser_cannot_be_the_rebuilder(release: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    trust = ("--trust", str(tmp_path / "team.pub"))
    ended = release("reproduce", str(folder), *trust, "--sign", "--key", str(tmp_path / "team.key"))
    assert ended.code == 1
    assert "error: team signed the release itself" in ended.stderr
    assert "--key FILE" in ended.stderr


def test_a_release_of_another_version_of_the_tool(release: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    ended = release("reproduce", str(folder), "--trust", str(tmp_path / "team.pub"))
    assert ended.code == 6
    assert ended.stderr.count("buildonce==0.1.0 release reproduce") == 2


def test_a_tampered_release(release: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    (folder / "release.json").write_bytes((folder / "release.json").read_bytes().replace(b"tinyapp", b"otherap"))
    ended = release("reproduce", str(folder), "--trust", str(tmp_path / "team.pub"))
    assert ended.code == 4


def test_verify_counts_rebuilds(release: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    ended = release("verify", str(folder), "--key", str(tmp_path / "team.pub"), "--reproduced", "1", "--json")
    assert ended.code == 4
    (problem,) = ended.data["error"]["problems"]
    assert problem["message"] == "reproduced by 0 trusted keys, not by 1"
    assert "release reproduce --sign" in problem["hint"]
