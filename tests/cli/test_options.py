"""The options that every command has."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click
import pytest

from buildonce import cli, doctoring, planning, verification
from buildonce.cli import options
from buildonce.errors import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from buildonce.system import System
    from tests.cli.conftest import Ended


def every() -> Iterator[click.Command]:
    context = click.Context(cli.command)
    for name in cli.COMMANDS:
        found = cli.command.get_command(context, name)
        assert found is not None
        yield from found.commands.values() if isinstance(found, click.Group) else (found,)


@pytest.mark.parametrize("command", [c for c in every() if c.name != "completion"], ids=lambda command: command.name)
def test_every_command_has_the_common_options(command: click.Command) -> None:
    found = {option for parameter in command.params for option in parameter.opts}
    assert found >= {"-C", "--json", "-v", "--verbose", "-q", "--quiet", "--no-color"}


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, System]]:
    """What ``release plan`` was asked for."""
    calls: list[tuple[Path, System]] = []

    def make(root: Path, system: System) -> planning.Plan:
        calls.append((root, system))
        system.progress.step("a step")
        return planning.Plan(name="shop", commit="c" * 40, tag="v1", formats=("wheel",), targets=())

    monkeypatch.setattr(planning, "make", make)
    return calls


def test_folder(
    release: Callable[..., Ended], planned: list[tuple[Path, System]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    release("plan")
    release("plan", "-C", "below")
    release("plan", "-C", "/else/where")
    assert [str(root) for root, _ in planned] == [str(tmp_path), str(tmp_path / "below"), "/else/where"]


def test_store(
    release: Callable[..., Ended], planned: list[tuple[Path, System]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release("plan")
    monkeypatch.delenv("BUILDONCE_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    release("plan")
    assert [system.store.root for _, system in planned] == [tmp_path / "store", tmp_path / "cache/buildonce"]


@pytest.mark.usefixtures("planned")
def test_data_goes_to_stdout_and_all_else_to_stderr(release: Callable[..., Ended]) -> None:
    ended = release("plan")
    assert ended.stdout == "shop at cccccccccccc (v1): wheel\n"
    assert ended.stderr == "==> a step\n"
    assert release("plan", "-q").stderr == ""
    assert release("plan", "--json").data == {
        "name": "shop", "commit": "c" * 40, "tag": "v1", "formats": ["wheel"], "targets": [],
    }  # fmt: skip


def test_quiet_says_errors(release: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ReleaseError("it failed")

    monkeypatch.setattr(doctoring, "examine", fail)
    assert release("doctor", "-q").stderr == "error: it failed\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt_and_are_as_before_afterwards(
    release: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def interrupted(_: Path, system: System) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(planning, "make", interrupted)
    outer = signal.signal(number, signal.default_int_handler)  # whoever runs the tests may ignore it (nohup)
    try:
        assert release("plan").code == 130
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, outer)


def test_a_second_signal_does_not_disturb_the_cleaning_up(
    release: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(_: Path, system: System) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            (tmp_path / "clean").write_text("")

    monkeypatch.setattr(planning, "make", interrupted)
    assert release("plan").code == 130
    assert (tmp_path / "clean").exists()


def test_what_the_caller_ignores_stays_ignored(release: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    def make(_: Path, system: System) -> planning.Plan:
        signal.raise_signal(signal.SIGHUP)
        return planning.Plan(name="shop", commit="c" * 40, tag="", formats=(), targets=())

    monkeypatch.setattr(planning, "make", make)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert release("plan").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_verify_wants_a_release(release: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "trusted", lambda *_: ())
    ended = release("verify", "-C", str(tmp_path), "dist")
    assert ended.code == 4
    assert ended.stderr.startswith("error: there is no release here: no SHA256SUMS\n")
    assert f"in: {tmp_path}/dist" in ended.stderr
    assert "dist/NAME-VERSION" in ended.stderr


def test_options_are_values() -> None:
    assert options.Common.__dataclass_params__.frozen  # type: ignore[attr-defined]
