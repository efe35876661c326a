"""A process that is killed at its N-th change of the file system, for every N that there is.

The kernel ends it (SIGKILL) just before the change: nothing is cleaned up. Then files that were still being written
are torn, as if the rest of their bytes had not reached the disk. Changes are what Python's audit events tell
(PEP 578): files opened for writing, renamed, linked, removed, folders made and removed, modes and times set.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Crashes", "killed_at"]

_PATHS = {
    "open": (0,),
    "os.chmod": (0,),
    "os.link": (0, 1),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.symlink": (0, 1),
    "os.truncate": (0,),
    "os.utime": (0,),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# A clean process, which has imported all of it once, and from which each one to be killed is forked.
_PROCESSES = multiprocessing.get_context("forkserver")


class Crashes:
    """Counts how often a process was killed; a test prints it."""

    def __init__(self) -> None:
        self.count = 0

    def each(self, work: Callable[..., object], *arguments: object, below: Callable[[], Path]) -> Iterator[Path]:
        """Kill *work* at its 1st, 2nd… change, each time in a new folder (its first argument), until it ends by itself.

        *below* makes that folder. Yields it after each kill; at last *work* has to end well.
        """
        for step in itertools.count(1):
            folder = below()
            if not killed_at(step, work, folder, *arguments, below=folder):
                assert self.count or step > 1, "nothing was changed at all"
                return
            self.count += 1
            _tear(folder)
            yield folder


def killed_at(step: int, work: Callable[..., object], *arguments: object, below: Path) -> bool:
    """Run *work* (a function of a module) in a process that is killed before its *step*-th change *below* a folder.

    False when it ended well with fewer changes.
    """
    _PROCESSES.set_forkserver_preload(["__main__", work.__module__])
    process = _PROCESSES.Process(target=_run, args=(step, str(below.resolve()), work, arguments))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), f"it ended with {process.exitcode} instead"
    return process.exitcode != 0


def _run(step: int, below: str, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    left = step

    def heed(event: str, told: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _PATHS and _changes(event, told) and any(_is_below(told[at], below) for at in _PATHS[event]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(heed)
    work(*arguments)


def _tear(folder: Path) -> None:
    for part in folder.rglob(".*.part"):
        os.truncate(part, part.stat().st_size // 2)


def _changes(event: str, told: tuple[Any, ...]) -> bool:
    return event != "open" or bool(told[2] & _WRITING)


def _is_below(path: object, folder: str) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return isinstance(path, int)  # a file that is open: only those that this work has opened can be changed by it
    return os.path.abspath(os.fsdecode(path)).startswith(folder + os.sep)  # noqa: PTH100 - no more events
