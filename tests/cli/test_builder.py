"""``release builder``: what it says where there is nothing, and of wrong arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended


@pytest.fixture(autouse=True)
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")


def test_nothing_is_there(release: Callable[..., Ended], tmp_path: Path) -> None:
    assert release("builder", "list", "-C", str(tmp_path), "--json").data == []
    ended = release("builder", "gc", "-C", str(tmp_path), "--json")
    assert ended.data == {"dry_run": False, "size": 0, "removed": [], "busy": [], "hosts": []}
    assert "0 B would be removed" in release("builder", "gc", "--dry-run", "-C", str(tmp_path)).stderr


def test_shell_needs_a_terminal_or_a_line(release: Callable[..., Ended], tmp_path: Path) -> None:
    ended = release("builder", "shell", "-C", str(tmp_path))
    assert ended.code == 1
    assert "error: there is no terminal here\nhint: run one line of shell with" in ended.stderr


@pytest.mark.parametrize("command", [("create",), ("shell", "-c", "true")])
def test_outside_of_a_project(release: Callable[..., Ended], tmp_path: Path, command: tuple[str, ...]) -> None:
    assert release("builder", *command, "-C", str(tmp_path)).code == 3


@pytest.mark.parametrize(("option", "value"), [("--runner", "chroot"), ("--time-limit", "0"), ("--time-limit", "soon")])
def test_wrong_values_are_usage_errors(release: Callable[..., Ended], tmp_path: Path, option: str, value: str) -> None:
    for command in (("build",), ("lock",), ("builder", "create")):
        assert release(*command, option, value, "-C", str(tmp_path)).code == 2


def test_a_wrong_variable_is_named(
    release: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDONCE_RUNNER", "chroot")
    ended = release("build", "-C", str(tmp_path))
    assert ended.code == 2
    assert "chroot" in ended.stderr
