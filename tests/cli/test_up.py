"""``release up`` and ``release down``: what they refuse, and with which exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

PROJECT = '[project]\nname = "shop"\nversion = "1.0"\n'
SERVICE = PROJECT + '[tool.release.service]\ncommand = "shop serve"\nport = 8000\n'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, on a machine without an engine."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    found = tmp_path / "shop"
    found.mkdir()
    (found / "pyproject.toml").write_text(SERVICE)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "--name", "Shop"),
        ("up", "--name", "-x"),
        ("up", "--name", "a" * 42),
        ("up", "--format", "wheel"),
        ("up", "--port", "0"),
        ("down", "--name", "a/b"),
        ("down", "--all", "--name", "shop"),
    ],
)
def test_usage(release: Callable[..., Ended], root: Path, arguments: tuple[str, ...]) -> None:
    assert release(*arguments, "-C", str(root)).code == 2


def test_what_is_no_service_is_not_started(release: Callable[..., Ended], root: Path) -> None:
    (root / "pyproject.toml").write_text(PROJECT)
    release("key", "new", "--no-passphrase", "-C", str(root))
    ended = release("up", "-C", str(root))
    assert ended.code == 3
    assert "error: what is no service cannot be started\n   in: pyproject.toml: tool.release.service" in ended.stderr


def test_credentials_without_a_value(release: Callable[..., Ended], root: Path) -> None:
    more = 'credentials = ["token", "key"]\n[tool.release.up.credentials]\nkey = "local"\n'
    (root / "pyproject.toml").write_text(SERVICE + more)
    release("key", "new", "--no-passphrase", "-C", str(root))
    ended = release("up", "-C", str(root))
    assert ended.code == 3
    assert "the service wants the credentials token" in ended.stderr


def test_no_key_and_nothing_built(release: Callable[..., Ended], root: Path) -> None:
    assert "no key is trusted here" in release("up", "-C", str(root)).stderr
    assert release("key", "new", "ana", "--no-passphrase", "-C", str(root)).code == 0
    ended = release("up", "-C", str(root))
    assert (ended.code, "nothing was built here" in ended.stderr) == (1, True)


def test_without_an_engine(release: Callable[..., Ended], root: Path) -> None:
    for arguments in (("down",), ("down", "--all"), ("down", "--name", "other")):
        ended = release(*arguments, "-C", str(root))
        assert (ended.code, "no Docker engine answers" in ended.stderr) == (5, True)
