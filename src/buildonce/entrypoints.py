"""Whether the project's console scripts name something that exists: asked of the Tree, in the build root."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from buildonce import wheels
from buildonce.errors import BuildError, Problem
from buildonce.model import Bind, Command
from buildonce.system import share

if TYPE_CHECKING:
    from buildonce.model import Target, Wheel
    from buildonce.protocols import Runner
    from buildonce.wheels import Script

__all__ = ["check"]

_SCRIPTS: Final = PurePosixPath("/build/tree")
_TIMEOUT: Final = 120.0  # seconds for importing what all scripts name
_TABLES: Final = ("[project.scripts]", "[project.gui-scripts]")


def check(
    wheel: Wheel,
    *,
    target: Target,
    prefix: PurePosixPath | str,
    tree_root: Path,
    runner: Runner,
    project_root: Path | None = None,
) -> None:
    """Import what every script of *wheel* names, from the Tree below *tree_root*, in the build root.

    Raises :class:`BuildError` that names each script that cannot start, with its line in pyproject.toml
    when *project_root* has one. A module that fails for want of configuration or of a service is not an
    error here.
    """
    scripts = wheels.facts(wheel.path).entry_points
    if not scripts:
        return
    prefix = PurePosixPath(prefix)
    outcome = runner.run(
        Command(
            argv=(
                f"{prefix}/bin/python",
                str(_SCRIPTS / "entrypoints.py"),
                *(_spelled(script) for script in scripts),
            ),
            environment=(("PYTHONDONTWRITEBYTECODE", "1"),),
            binds=(
                Bind(source=tree_root.joinpath(*prefix.parts[1:]), target=prefix),
                Bind(source=share.path("builders", "tree"), target=_SCRIPTS),
            ),
            capture=True,
            timeout=_TIMEOUT,
        )
    )
    found: dict[str, str] = json.loads(outcome.stdout)
    if found:
        raise BuildError.of(
            tuple(
                _problem(script, found[script.name], target, project_root) for script in scripts if script.name in found
            )
        )


def _spelled(script: Script) -> str:
    return f"{script.name}={script.module}:{script.attribute}"


def _problem(script: Script, why: str, target: Target, project_root: Path | None) -> Problem:
    return Problem(
        message=f"the console script {_spelled(script)} cannot start on {target.name}: {why}",
        where=_line(script, project_root),
        hint="correct the line, or add what it imports to the dependencies and run `release lock`",
    )


def _line(script: Script, project_root: Path | None) -> str:
    """Where pyproject.toml declares *script*: TOML parsers tell no lines, so by its table and key."""
    place = f"pyproject.toml: [project.scripts] {script.name}"
    if project_root is None or not (project_root / "pyproject.toml").is_file():
        return place
    table = ""
    for number, line in enumerate((project_root / "pyproject.toml").read_text("utf-8").splitlines(), start=1):
        if line.lstrip().startswith("["):
            table = line.strip()
        elif table in _TABLES and re.match(rf"""\s*["']?{re.escape(script.name)}["']?\s*=""", line):
            return f"pyproject.toml:{number}: [project.scripts] {script.name}"
    return place
