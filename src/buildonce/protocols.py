"""The seams to the machine: running programs and telling a person how far work is. Checked by mypy, not registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from buildonce.model import Command, Outcome

__all__ = ["Host", "Progress", "Runner"]


class Runner(Protocol):
    """Runs a program: on this machine, or inside a target's build root without network."""

    def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
        """Run *command* to its end; all output goes to *log* (appended), stdout also to the outcome.

        With *check* a non-zero exit raises :class:`buildonce.errors.BuildError` with the end of the log.
        A program that is not there raises :class:`buildonce.errors.MissingToolError`.
        """
        ...


class Host(Runner, Protocol):
    """Runs programs on this machine, and knows when a person or the system wants all work to end."""

    def heeding(self, end: Callable[[], None]) -> AbstractContextManager[None]:
        """While the context is open, *end* is called (by a signal handler: it must not wait) when work is to end.

        The context then raises KeyboardInterrupt.
        """
        ...

    def interact(self, argv: Sequence[str]) -> int:
        """Give the program a terminal that is joined with this one, until it ends; answers its exit code."""
        ...


class Progress(Protocol):
    """Tells a person how far long work is. The default implementation says nothing."""

    def step(self, title: str) -> None:
        """A new step of the pipeline begins; the step before it is done."""
        ...

    def note(self, message: str) -> None:
        """Something worth a line of its own, kept on the screen."""
        ...

    def advance(self, detail: str, done: int, total: int) -> None:
        """How far the present step is, in whatever unit it counts (bytes, files)."""
        ...
