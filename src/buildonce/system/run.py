"""The only module that starts programs."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from buildonce.errors import BuildError, MissingToolError
from buildonce.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.model import Command

__all__ = ["PACKAGES", "HostRunner"]

# Where Debian and Ubuntu have the programs that this one starts, for the line that installs them.
PACKAGES: Final = {
    "apt-get": "apt",
    "bwrap": "bubblewrap",
    "cosign": "cosign",
    "docker": "docker.io",
    "git": "git",
}

_TAIL_LINES = 40
_GRACE = 5.0  # seconds between asking a program to end and ending it


class HostRunner:
    """Runs programs on this machine with the user's environment (their proxies, credentials and certificates).

    Output is in English and UTF-8 whatever the user's locale is, so that logs and their parsers agree.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def stop(self) -> None:
        """End all programs that run, in whatever thread, and start no other; called again, without mercy.

        For signal handlers: does not wait. Who waits for a program gets KeyboardInterrupt.
        """
        wanted = signal.SIGKILL if self._stopped else signal.SIGTERM
        self._stopped = True
        for process in tuple(self._running):
            _send(process, wanted)

    def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
        """See :class:`buildonce.protocols.Runner`. Ctrl-C ends the program and all that it started."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", **dict(command.environment)}
        with _open_log(log) as stream:
            stream.write(f"+ {shlex.join(command.argv)}\n".encode())
            stream.flush()
            start = stream.tell()
            returncode, stdout = self._run(command, environment, stream)
            stream.seek(start)
            tail = "\n".join(stream.read().decode(errors="replace").splitlines()[-_TAIL_LINES:])
        if check and returncode != 0:
            raise BuildError(
                f"{Path(command.argv[0]).name} ended with exit code {returncode}",
                log=tail,
                log_path=str(log or ""),
            )
        return Outcome(returncode=returncode, stdout=stdout, tail=tail, log=log)

    def _run(self, command: Command, environment: dict[str, str], log: IO[bytes]) -> tuple[int, bytes]:
        if self._stopped:
            raise KeyboardInterrupt
        with _start(command, environment, log) as process:
            self._running.add(process)
            try:
                if self._stopped:  # while it was started
                    raise KeyboardInterrupt
                stdout, _ = process.communicate(timeout=command.timeout)
            except subprocess.TimeoutExpired as error:
                _end(process)
                raise BuildError(f"{Path(command.argv[0]).name} did not end within {command.timeout:.0f} s") from error
            except BaseException:
                _end(process)
                raise
            finally:
                self._running.discard(process)
        if self._stopped:  # it may have been ended in the middle of its work
            raise KeyboardInterrupt
        return process.returncode, stdout or b""


@contextlib.contextmanager
def _open_log(log: Path | None) -> Iterator[IO[bytes]]:
    if log is None:
        with tempfile.TemporaryFile() as stream:
            yield stream
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a+b") as stream:
        stream.seek(0, os.SEEK_END)
        yield stream


def _start(command: Command, environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if command.capture else log,
            stderr=log,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if error.filename == command.cwd:
            raise
        program = Path(command.argv[0]).name
        package = PACKAGES.get(program)
        raise MissingToolError(
            f"the program {program} is not on this machine",
            hint=f"sudo apt-get install {package}" if package else "run `release doctor` for the line that installs it",
        ) from error


def _send(process: subprocess.Popen[bytes], wanted: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, wanted)


def _end(process: subprocess.Popen[bytes]) -> None:
    _send(process, signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        _send(process, signal.SIGKILL)
        process.wait()
