"""How far the work is, for a person: live on a terminal, plain lines elsewhere, or nothing.

All of it goes to stderr; stdout is for data.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

from buildonce.protocols import Progress

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, TextIO

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

__all__ = ["Display", "LiveProgress", "PlainProgress", "SilentProgress", "progress", "wants_color"]

_RARELY: Final = 5.0  # seconds between two percentages in a log
_UNIT: Final = 10_000  # totals beyond this are bytes, and shown in megabytes


class Display(Progress, Protocol):
    """A progress that has to be ended: use it as a context manager around all the work."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; the last step is done, or failed when there is an error."""
        ...


def wants_color(*, color: bool = True) -> bool:
    """Whether output may be coloured: without --no-color and NO_COLOR (https://no-color.org)."""
    return color and not os.environ.get("NO_COLOR")


def progress(*, stream_isatty: bool, verbose: bool = False, quiet: bool = False, color: bool = True) -> Display:
    """The display that fits: silent when *quiet*, live on a terminal, else plain lines.

    *verbose* asks for plain lines even on a terminal, so that they stand between what else is printed.
    """
    if quiet:
        return SilentProgress()
    if stream_isatty and not verbose and os.environ.get("TERM") != "dumb":
        return LiveProgress(color=wants_color(color=color))
    return PlainProgress()


class SilentProgress:
    """Says nothing."""

    def step(self, title: str) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def advance(self, detail: str, done: int, total: int) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing."""


class PlainProgress(SilentProgress):
    """Lines for a log: one for each step and note, and now and then how far a long step is."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._said = time.monotonic()

    def step(self, title: str) -> None:
        """``==> title``."""
        self._said = time.monotonic()
        self._say(f"==> {title}")

    def note(self, message: str) -> None:
        """The message, indented below its step."""
        self._say(f"    {message}")

    def advance(self, detail: str, done: int, total: int) -> None:
        """A percentage, at most every five seconds."""
        if total and time.monotonic() - self._said >= _RARELY:
            self._said = time.monotonic()
            self._say(f"    {detail}: {100 * done // total} %")

    def _say(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


class LiveProgress:
    """A line for every finished step with its time, and below them a moving one for the step that runs."""

    def __init__(self, *, color: bool = True, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True, no_color=not color, highlight=False)
        self._live: Live | None = None
        self._title, self._began = "", 0.0

    def step(self, title: str) -> None:
        """The step before gets its line; this one begins to move."""
        self._finish("[green]✓[/]")
        self._title, self._began = title, time.monotonic()
        self._show("", 0, 0)

    def note(self, message: str) -> None:
        """A line that stays above the moving one."""
        from rich.text import Text

        self._console.print(Text(f"  {message}"))

    def advance(self, detail: str, done: int, total: int) -> None:
        """A bar with what is done of all."""
        self._show(detail, done, total)

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(console=self._console, refresh_per_second=12, transient=True)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The last step gets its line: done, or failed."""
        self._finish("[green]✓[/]" if kind is None else "[red]✗[/]")
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _finish(self, mark: str) -> None:
        from rich.markup import escape

        if self._title:
            seconds = time.monotonic() - self._began
            self._console.print(f"{mark} {escape(self._title)} [dim]{seconds:.1f} s[/]")
            self._title = ""

    def _show(self, detail: str, done: int, total: int) -> None:
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table

        if self._live is None:
            return
        row = Table.grid(padding=(0, 1))
        cells: list[Spinner | Text | ProgressBar] = [Spinner("dots"), _line(self._title)]
        if total:
            cells += [
                _line(detail, style="dim"),
                ProgressBar(total, done, width=24),
                _line(_amount(done, total)),
            ]
        row.add_row(*cells)
        self._live.update(row)


def _line(text: str, style: str = "") -> Text:
    """One line, cut where the terminal ends: a second one would stay when the row moves on."""
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _amount(done: int, total: int) -> str:
    if total < _UNIT:
        return f"{done}/{total}"
    return f"{done / 1e6:.1f}/{total / 1e6:.1f} MB"
