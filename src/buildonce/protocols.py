"""The seams to the machine: running programs, telling a person how far work is, where files are kept and published.

Checked by mypy, not registered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from buildonce.model import Command, Digest, Outcome, RemoteFile

__all__ = ["Host", "Progress", "Runner", "Vault"]


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


class Vault(Protocol):
    """A place that keeps files by their sha256, for the day on which their upstream is gone."""

    @property
    def name(self) -> str:
        """How a person calls it: its path or address, without credentials."""
        ...

    def bring(self, file: RemoteFile, part: Path, *, came: Callable[[int], None], stop: threading.Event) -> bool:
        """Write the bytes that it has for *file* into *part*, which exists and may have a beginning; False when none.

        Nobody has checked them: the caller does. *came* hears how many bytes the part has.

        Raises :class:`buildonce.errors.VerificationError` when it has the file but cannot give it,
        :class:`buildonce.errors.ReleaseError` when the vault as a whole is of no use now, and OSError when *part*
        cannot be written.
        """
        ...

    def listing(self, digest: Digest) -> bytes | None:
        """The JSON that lists all that it keeps for the lock *digest*, or None when it keeps nothing for that."""
        ...
