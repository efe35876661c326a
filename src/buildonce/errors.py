"""Every failure a user can meet, with the exit code and the next step it carries.

Library code raises these and never prints or exits; ``buildonce.cli`` is the one place that turns them into text.
The exit codes are part of the command's contract (``docs/reference/exit-codes.md``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

__all__ = [
    "BuildError",
    "ConfigurationError",
    "GateError",
    "InputsDifferError",
    "LockError",
    "MissingToolError",
    "Problem",
    "ReleaseError",
    "RootFullError",
    "SourceError",
    "TimeLimitError",
    "UnevenError",
    "VerificationError",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong: what happened, where (file and key path), and the next step."""

    message: str
    where: str = ""
    hint: str = ""


class ReleaseError(Exception):
    """Something the user has to know about. Holds one problem or several, all shown at once.

    ``log`` is the end of a tool's output, shown below the message; ``log_path`` names the file that holds all of it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        hint: str = "",
        log: str = "",
        log_path: str = "",
        more: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(message)
        self.problems = (Problem(message=message, where=where, hint=hint), *more)
        self.log = log
        self.log_path = log_path

    @classmethod
    def of(cls, problems: tuple[Problem, ...]) -> Self:
        """One error that carries all of *problems*; the first is the headline."""
        first, *rest = problems
        return cls(first.message, where=first.where, hint=first.hint, more=tuple(rest))


class ConfigurationError(ReleaseError):
    """``pyproject.toml``, ``[tool.release]`` or a target says something that cannot be."""

    exit_code = 3


class LockError(ConfigurationError):
    """A lock is missing, stale, without sha256, or does not cover the target."""


class SourceError(ReleaseError):
    """The checkout cannot give a unique version: dirty, shallow, no repository, no tag."""


class BuildError(ReleaseError):
    """A tool that was asked to build something failed."""


class RootFullError(BuildError):
    """A program filled the folders of its build root that are in memory; there is room on the disk."""


class TimeLimitError(BuildError):
    """A program did not end in the time that it was given."""

    @classmethod
    def of_program(cls, program: str, seconds: float) -> Self:
        """The error for the program (a path) that was ended after *seconds*."""
        minutes, rest = divmod(round(seconds), 60)
        limit = f"{seconds:.0f} s" if rest or not minutes else f"{minutes} min"
        return cls(
            f"{program.rsplit('/', 1)[-1]} did not end within {limit}",
            hint="when it only needs longer, give it more minutes with --time-limit or BUILDONCE_TIME_LIMIT",
        )


class VerificationError(ReleaseError):
    """Bytes are not what they should be: a hash, a signature, a file of an artifact."""

    exit_code = 4


class InputsDifferError(ReleaseError):
    """What a release was made from is not what there is to build it again: each problem is one input."""

    exit_code = 6


class UnevenError(ReleaseError):
    """A deployment left hosts in more than one state, or in one that nobody can tell."""

    exit_code = 7


class GateError(ReleaseError):
    """A rule says no: a roll back below its floor, a downgrade without a reason."""

    exit_code = 8


class MissingToolError(ReleaseError):
    """A program is not on this machine; the hint is the line that installs it."""

    exit_code = 5
