"""Programs of the host, started in one way: no terminal, no questions, an end in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from problems import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LONG = 600  # seconds
TAIL = 15  # lines

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    # Nothing but these steps restarts the service.
    "NEEDRESTART_MODE": "l",
    "NEEDRESTART_SUSPEND": "1",
}


@dataclass(frozen=True)
class Done:
    """A program that has ended, or was ended (code 124)."""

    argv: tuple[str, ...]
    code: int
    output: str  # both streams

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def tail(self) -> str:
        """Its last words."""
        return "\n".join(self.output.strip().splitlines()[-TAIL:])


def run(
    *argv: str,
    timeout: float = LONG,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    quiet: bool = False,
) -> Done:
    """Run a program to its end. It has a session of its own: a link to the controller that breaks takes nothing away
    from it.
    """
    if not quiet:
        print("+", *argv, file=sys.stderr, flush=True)
    # Neither a pipe, which a daemon that a maintainer script started would keep open, nor a file: the disk may be full.
    output = os.memfd_create("output")
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, **(environment or {})},
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        os.close(output)
        return Done(argv, 127, str(error))
    code = _wait(process, timeout)
    said = os.pread(output, os.fstat(output).st_size, 0).decode(errors="replace")
    os.close(output)
    if code and not quiet:
        print(said.rstrip(), f"({argv[0]} ended with {code})", sep="\n", file=sys.stderr, flush=True)
    return Done(argv, code, said)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(process.pid, number)
            try:
                process.wait(10)
                break
            except subprocess.TimeoutExpired:
                continue
        return 124


def must(*argv: str, why: str = "", timeout: float = LONG, environment: Mapping[str, str] | None = None) -> str:
    """What the program printed; raises :class:`Refused` when it failed."""
    done = run(*argv, timeout=timeout, environment=environment)
    if not done.ok:
        ended = "took too long" if done.code == 124 else f"ended with {done.code}"
        raise Refused(f"{why or ' '.join(argv[:2])}: {ended}", done.tail)
    return done.output


def there(program: str) -> bool:
    """Whether the host has *program*."""
    return any(os.access(f"{folder}/{program}", os.X_OK) for folder in ENVIRONMENT["PATH"].split(":"))
