"""A build root for unit tests: this machine with a real interpreter, every bind at the place it asks for."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from buildonce import target as targets
from buildonce.system.run import HostRunner

if TYPE_CHECKING:
    from buildonce.model import Command, Outcome, Target

__all__ = ["HERE", "Room"]


def _here() -> Target:
    """debian-12, but with the Python that runs the tests."""
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    version = platform.python_version()
    return dataclasses.replace(targets.load("debian-12"), python=version, interpreter=PurePosixPath(python))


HERE = _here()


class Room:
    """Runs commands here. A writable bind becomes a link at its place, so that files see their final path.

    Other binds are put into the command line, because places like ``/build`` cannot be made here.
    """

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self._one_at_a_time = threading.Lock()

    def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
        self.commands.append(command)
        argv = list(command.argv)
        with self._one_at_a_time:
            links = []
            for bind in command.binds:
                if bind.writable:
                    place = Path(bind.target)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.symlink_to(bind.source)
                    links.append(place)
                else:
                    argv = [word.replace(str(bind.target), str(bind.source)) for word in argv]
            try:
                here = dataclasses.replace(command, argv=tuple(argv), binds=())
                return HostRunner().run(here, log=log, check=check)
            finally:
                for link in links:
                    os.unlink(link)  # noqa: PTH108
