"""The only module that starts programs."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from buildonce.errors import BuildError, MissingToolError
from buildonce.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.model import Command

__all__ = ["HostRunner"]

_TAIL_LINES = 40
_GRACE = 5.0  # seconds between asking a program to end and ending it


class HostRunner:
    """Runs programs on this machine with the user's environment (their proxies, credentials and certificates).

    Output is in English and UTF-8 whatever the user's locale is, so that logs and their parsers agree.
    """

    def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
        """See :class:`buildonce.protocols.Runner`. Ctrl-C ends the program and all that it started."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", **dict(command.environment)}
        with _open_log(log) as stream:
            start = stream.tell()
            stream.write(f"+ {shlex.join(command.argv)}\n".encode())
            stream.flush()
            returncode, stdout = _run(command, environment, stream)
            stream.seek(start)
            tail = "\n".join(stream.read().decode(errors="replace").splitlines()[1:][-_TAIL_LINES:])
        if check and returncode != 0:
            raise BuildError(
                f"{Path(command.argv[0]).name} ended with exit code {returncode}",
                log=tail,
                log_path=str(log or ""),
            )
        return Outcome(returncode=returncode, stdout=stdout, tail=tail, log=log)


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


def _run(command: Command, environment: dict[str, str], log: IO[bytes]) -> tuple[int, bytes]:
    try:
        process = subprocess.Popen(
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
        raise MissingToolError(
            f"the program {program} is not on this machine",
            hint="run `release doctor` for the line that installs it",
        ) from error
    with process:
        try:
            stdout, _ = process.communicate(timeout=command.timeout)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise BuildError(f"{Path(command.argv[0]).name} did not end within {command.timeout:.0f} s") from error
        except BaseException:
            _end(process)
            raise
    return process.returncode, stdout or b""


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
