"""What a person sees of the progress, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from buildonce.system import console
from buildonce.system.console import LiveProgress, PlainProgress, SilentProgress


def terminal(*, color: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        no_color=not color,
        width=80,
        highlight=False,
        legacy_windows=False,
    )


def text(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def test_the_display_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(console.progress(stream_isatty=True)) is LiveProgress
    assert type(console.progress(stream_isatty=False)) is PlainProgress
    assert type(console.progress(stream_isatty=True, verbose=True)) is PlainProgress
    assert type(console.progress(stream_isatty=True, quiet=True)) is SilentProgress
    monkeypatch.setenv("TERM", "dumb")
    assert type(console.progress(stream_isatty=True)) is PlainProgress


@pytest.mark.parametrize(
    ("no_color", "color", "wanted"),
    [("", True, True), ("1", True, False), ("", False, False), ("0", True, False)],
)
def test_color(monkeypatch: pytest.MonkeyPatch, no_color: str, *, color: bool, wanted: bool) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    assert console.wants_color(color=color) is wanted


def test_the_moving_line_is_one_line_on_a_narrow_terminal() -> None:
    """What does not fit is cut: the second half of a wrapped line would stay on the screen."""
    shown = terminal()
    shown.width = 40
    with LiveProgress(console=shown) as display:
        display.step("fetch 24 Python files and 210 OS packages of debian-12")
        display.advance("fetching", 50_000_000, 150_000_000)
        assert display._live is not None
        moving = shown.render_lines(display._live.renderable)
    assert len(moving) == 1


def test_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with PlainProgress() as display:
        display.step("fetch")
        for done in range(11):
            now += 1
            display.advance("wheels", done, 10)
        display.note("something")
        display.step("build")
        now += 6
        display.advance("nothing to count", 0, 0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "==> fetch",
        "    wheels: 40 %",
        "    wheels: 90 %",
        "    something",
        "==> build",
    ]


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with SilentProgress() as display:
        display.step("a")
        display.note("b")
        display.advance("c", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_live_steps() -> None:
    shown = terminal()
    with LiveProgress(console=shown) as display:
        display.step("fetch [3] files")
        display.advance("wheels", 52_000_000, 104_000_000)
        display.note("a [bold] note")
        display.step("build")
        display.advance("files", 1, 4)
    lines = text(shown)
    assert "✓ fetch [3] files" in lines
    assert "a [bold] note" in lines
    assert "✓ build" in lines
    assert lines.index("✓ fetch") < lines.index("✓ build")
    assert "✗" not in lines
    assert "\x1b[32m" not in lines


def test_a_live_step_that_failed() -> None:
    shown = terminal(color=True)
    display = LiveProgress(console=shown)

    def work() -> None:
        with display:
            display.step("fetch")
            display.step("build")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    lines = text(shown)
    assert "\x1b[32m✓\x1b[0m fetch" in lines
    assert "\x1b[31m✗\x1b[0m build" in lines
    assert "✓\x1b[0m build" not in lines


def test_the_moving_line_tells_how_far() -> None:
    shown = terminal()
    display = LiveProgress(console=shown)
    with display:
        display.step("fetch")
        display.advance("wheels", 52_000_000, 104_000_000)
        assert display._live is not None
        with shown.capture() as captured:
            shown.print(display._live.renderable)
        assert "52.0/104.0 MB" in captured.get()
        display.advance("files", 1, 4)
        with shown.capture() as captured:
            shown.print(display._live.renderable)
        assert "1/4" in captured.get()


def test_it_may_be_used_without_a_context() -> None:
    """A step outside shows its line when it is done, and nothing moves."""
    shown = terminal()
    display = LiveProgress(console=shown)
    display.step("a")
    display.advance("x", 1, 2)
    display.step("b")
    assert "✓ a" in text(shown)
