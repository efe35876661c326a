"""git, so that the answer does not depend on who asks: no hooks, prompts, replaced objects or monitors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from buildonce.model import Command

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.model import Outcome
    from buildonce.protocols import Runner

__all__ = ["Git"]

# What hooks and aliases get from git would lead to their repository (`git rev-parse --local-env-vars`); the
# pathspec variables change what a name means.
_LEAKS: Final = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS", "GIT_DIR", "GIT_GLOB_PATHSPECS", "GIT_GRAFT_FILE", "GIT_ICASE_PATHSPECS",
    "GIT_INDEX_FILE", "GIT_LITERAL_PATHSPECS", "GIT_NAMESPACE", "GIT_NOGLOB_PATHSPECS",
    "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
)  # fmt: skip
_SETTINGS: Final = (
    "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.ignoreStat=false", "core.quotePath=false",
    "core.untrackedCache=false", "log.showSignature=false", "protocol.file.allow=always",
    "submodule.recurse=false",
)  # fmt: skip
# For a clone: what is checked out follows from the commit alone.
_CLEAN: Final = ("core.attributesFile=/dev/null", "core.autocrlf=false", "core.eol=lf", "core.symlinks=true")
_NO_USER: Final = (
    ("GIT_ATTR_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1"),
)  # fmt: skip


class Git:
    """git in *folder*; *clean* is for clones of ours, where no configuration but the clone's own counts.

    Names are decoded as file names are, so that any bytes survive. What git refuses is a
    :class:`buildonce.errors.BuildError`.
    """

    def __init__(self, folder: Path, runner: Runner, *, clean: bool = False) -> None:
        settings = (*_SETTINGS, *_CLEAN) if clean else _SETTINGS
        leaks = [name for name in _LEAKS if name in os.environ]
        self._start = (
            *(("env", *(part for name in leaks for part in ("-u", name))) if leaks else ()),
            "git", "--no-replace-objects", "--no-optional-locks",
            *(part for setting in settings for part in ("-c", setting)),
        )  # fmt: skip
        self._environment = (("GIT_TERMINAL_PROMPT", "0"), *(_NO_USER if clean else ()))
        self._runner = runner
        self.folder = folder

    def run(self, *arguments: str, check: bool = True) -> Outcome:
        """One git command; stdout is data."""
        argv = (*self._start, *arguments)
        command = Command(argv=argv, cwd=str(self.folder), environment=self._environment, capture=True)
        return self._runner.run(command, check=check)

    def succeeds(self, *arguments: str) -> bool:
        """Whether the command ends well."""
        return self.run(*arguments, check=False).returncode == 0

    def line(self, *arguments: str) -> str:
        """An answer of one line."""
        return os.fsdecode(self.run(*arguments).stdout).removesuffix("\n")

    def lines(self, *arguments: str) -> list[str]:
        """An answer of lines, such as ref names."""
        return os.fsdecode(self.run(*arguments).stdout).splitlines()

    def names(self, *arguments: str) -> list[str]:
        """The answer of a command with -z: file names, any of them."""
        return [name for name in os.fsdecode(self.run(*arguments).stdout).split("\0") if name]
