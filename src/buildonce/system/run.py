"""The only module that starts programs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import termios
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from buildonce.errors import BuildError, MissingToolError, TimeLimitError
from buildonce.model import Outcome
from buildonce.system import terminal, transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from buildonce.model import Command

__all__ = ["PACKAGES", "HostRunner"]

# Where Debian and Ubuntu have the programs that this one starts, for the line that installs them.
PACKAGES: Final = {
    "apt-ftparchive": "apt-utils",
    "apt-get": "apt",
    "bwrap": "bubblewrap",
    "cosign": "cosign",
    "docker": "docker.io",
    "git": "git",
}

_GRACE = 5.0  # seconds between asking a program to end and ending it


class HostRunner:
    """Runs programs on this machine with the user's environment (their proxies, credentials and certificates).

    Output is in English and UTF-8 whatever the user's locale is, so that logs and their parsers agree.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ends: list[Callable[[], None]] = []
        self._stopped = False

    def stop(self) -> None:
        """End all programs that run, in whatever thread, and start no other; called again, without mercy.

        For signal handlers: does not wait. Who waits for a program gets KeyboardInterrupt.
        """
        wanted = signal.SIGKILL if self._stopped else signal.SIGTERM
        self._stopped = True
        for process in tuple(self._running):
            _send(process, wanted)
        for end in tuple(self._ends):
            end()

    @contextlib.contextmanager
    def heeding(self, end: Callable[[], None]) -> Iterator[None]:
        """See :class:`buildonce.protocols.Host`."""
        self._ends.append(end)
        try:
            if self._stopped:
                raise KeyboardInterrupt
            yield
        finally:
            self._ends.remove(end)
        if self._stopped:  # the work may have been ended in the middle
            raise KeyboardInterrupt

    def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
        """See :class:`buildonce.protocols.Runner`. Ctrl-C ends the program and all that it started."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", **dict(command.environment)}
        with transcript.opened(log, command.argv) as said:
            try:
                returncode, stdout = self._run(command, environment, said.stream)
            except TimeLimitError as error:
                error.log, error.log_path = said.tail(), str(log or "")
                raise
            tail = said.tail()
        if check and returncode != 0:
            raise BuildError(
                f"{Path(command.argv[0]).name} ended with exit code {returncode}",
                log=tail,
                log_path=str(log or ""),
            )
        return Outcome(returncode=returncode, stdout=stdout, tail=tail, log=log)

    def interact(self, argv: Sequence[str]) -> int:
        """Give a program a terminal of its own, joined with this one, until it ends; answers its exit code.

        Its own, because what runs on a terminal can type into it (TIOCSTI), and so leave a sandbox.
        """
        mine, its = os.openpty()
        try:
            terminal.resize(mine, terminal.size())
            with subprocess.Popen(
                argv,
                stdin=its,
                stdout=its,
                stderr=its,
                preexec_fn=_own_terminal,  # noqa: PLW1509 - no other thread has begun
            ) as process:
                os.close(its)
                self._running.add(process)
                try:
                    terminal.join(
                        mine,
                        read=lambda: terminal.read(mine),
                        write=lambda data: _write_all(mine, data),
                        resized=lambda wanted: terminal.resize(mine, wanted),
                    )
                    return process.wait()
                except BaseException:
                    _end(process)
                    raise
                finally:
                    self._running.discard(process)
        finally:
            os.close(mine)

    def _run(self, command: Command, environment: dict[str, str], log: IO[bytes]) -> tuple[int, bytes]:
        with self.heeding(lambda: None), _start(command, environment, log) as process:
            self._running.add(process)
            try:
                if self._stopped:  # while it was started
                    raise KeyboardInterrupt
                stdout, _ = process.communicate(timeout=command.timeout)
            except subprocess.TimeoutExpired as error:
                _end(process)
                raise TimeLimitError.of_program(command.argv[0], command.timeout or 0) from error
            except BaseException:
                _end(process)
                raise
            finally:
                self._running.discard(process)
        return process.returncode, stdout or b""


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


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


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
