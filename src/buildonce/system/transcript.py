"""What a program said while it ran: appended to a log, its end at hand for errors."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Transcript", "opened"]

_TAIL_LINES: Final = 40


class Transcript:
    """The log of one run, open for whatever the program says."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self._start = stream.tell()

    def tail(self) -> str:
        """The last lines that this run wrote."""
        self.stream.seek(self._start)
        return "\n".join(self.stream.read().decode(errors="replace").splitlines()[-_TAIL_LINES:])


@contextlib.contextmanager
def opened(log: Path | None, argv: Sequence[str]) -> Iterator[Transcript]:
    """Begin a run of *argv* at the end of *log*, or in a file that nobody sees."""
    with contextlib.ExitStack() as stack:
        if log is None:
            stream: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(log.open("a+b"))
            stream.seek(0, 2)
        stream.write(f"+ {shlex.join(argv)}\n".encode())
        stream.flush()
        yield Transcript(stream)
