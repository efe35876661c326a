"""What programs in a build root see, whichever way it is run."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from buildonce.errors import BuildError, MissingToolError

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.model import Command, Outcome

__all__ = ["HOSTNAME", "LIMIT", "MEMORY", "MOST_MEMORY", "MOUNT_POINTS", "check_binds", "judge", "program", "variables"]

MOUNT_POINTS: Final = ("build", "dev", "home", "opt", "proc", "tmp")
MEMORY: Final = ("/tmp", "/opt", "/build")  # noqa: S108 - inside; empty folders in memory
MOST_MEMORY: Final = 4 << 30  # bytes that each of them may hold, where a quarter of the machine's memory is not less
HOSTNAME: Final = "build"
LIMIT: Final = 30 * 60.0  # seconds; the slowest compiles (numpy, grpc) take ten minutes on two cores

_VARIABLES: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_NOT_FOUND: Final = 127


def variables(command: Command) -> dict[str, str]:
    """The whole environment of *command*: nothing of this machine's is in it."""
    return {**_VARIABLES, **dict(command.environment)}


def program(command: Command) -> str:
    """What errors call it."""
    return PurePosixPath(command.argv[0]).name


def check_binds(command: Command) -> None:
    """Raise :class:`BuildError` when something that is to be shown inside is not there."""
    for bind in command.binds:
        if not bind.source.exists():
            raise BuildError(f"{program(command)} cannot be run: there is no {bind.source} to show it at {bind.target}")


def judge(command: Command, outcome: Outcome, root: Path, *, log: Path | None, check: bool) -> Outcome:
    """Answer *outcome*, or raise what it means: a program that is not in the root, or one that failed."""
    told = rf"^sh: \d+: (exec: )?{re.escape(command.argv[0])}: not found$"
    if outcome.returncode == _NOT_FOUND and re.search(told, outcome.tail, re.MULTILINE):
        raise MissingToolError(
            f"the program {program(command)} is not in the build root",
            where=str(root),
            hint="add the package that has it to the target's toolchain, then `release lock`",
        )
    if check and outcome.returncode:
        raise BuildError(
            f"{program(command)} ended with exit code {outcome.returncode}",
            where="in the build root",
            log=outcome.tail,
            log_path=str(log or ""),
        )
    return outcome
