"""Whether the project's console scripts name something that exists: asked of the Tree, in the build root.

Compiled modules of another architecture cannot be imported there: a Tree that has them is looked at instead.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from buildonce import wheels
from buildonce.errors import BuildError, Problem
from buildonce.install import site_packages
from buildonce.model import Bind, Command
from buildonce.system import share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildonce.model import Target, Wheel
    from buildonce.protocols import Runner
    from buildonce.wheels import Script

__all__ = ["check"]

_SCRIPTS: Final = PurePosixPath("/build/tree")
_TIMEOUT: Final = 120.0  # seconds for importing what all scripts name
_BINDING: Final = {"*", "__getattr__", "exec", "globals", "setattr", "vars"}  # what binds names that are not written
_TABLES: Final = ("[project.scripts]", "[project.gui-scripts]")


def check(
    wheel: Wheel,
    *,
    target: Target,
    prefix: PurePosixPath | str,
    tree_root: Path,
    runner: Runner,
    project_root: Path | None = None,
) -> bool:
    """Import what every script of *wheel* names, from the Tree below *tree_root*, in the build root.

    Answers whether that was possible: when the Tree holds code for a machine that is not the build root's, each
    module is only searched for, and its attribute among the names in its source. Raises :class:`BuildError` that
    names each script that cannot start, with its line in pyproject.toml when *project_root* has one. A module that
    fails for want of configuration or of a service is not an error here.
    """
    scripts = wheels.facts(wheel.path).entry_points
    if not scripts:
        return True
    prefix = PurePosixPath(prefix)
    site = tree_root.joinpath(*site_packages(prefix, target.python_minor).parts[1:])
    if target.build_on and any(site.rglob("*.so*")):
        found = {script.name: why for script in scripts if (why := _missing(script, site))}
        _refuse(scripts, found, target, project_root)
        return False
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
    _refuse(scripts, json.loads(outcome.stdout), target, project_root)
    return True


def _refuse(scripts: Sequence[Script], found: Mapping[str, str], target: Target, project_root: Path | None) -> None:
    if found:
        raise BuildError.of(
            tuple(
                _problem(script, found[script.name], target, project_root) for script in scripts if script.name in found
            )
        )


def _missing(script: Script, site: Path) -> str:
    """Why *script* cannot start, from a look at the files in *site*; "" where a look cannot tell."""
    top, *rest = script.module.split(".")
    if top in sys.stdlib_module_names:
        return ""
    place = site.joinpath(top, *rest)
    source = next((p for p in (place / "__init__.py", place.with_name(f"{place.name}.py")) if p.is_file()), None)
    if source is None:
        compiled = place.is_dir() or any(place.parent.glob(f"{place.name}.*"))
        return "" if compiled else f"no module named {script.module}"
    names = _names(source)
    attribute = script.attribute.split(".")[0]
    return f"the module {script.module} has no {attribute}" if names and attribute not in names else ""


def _names(source: Path) -> frozenset[str]:
    """The names that stand in a module; none when it may bind some that only running it would show."""
    try:
        module = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):  # of a newer Python, or none at all
        return frozenset()
    found = {"__name__", "__doc__"}
    for node in ast.walk(module):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name):
                found.add(name)
            case ast.alias(name=name, asname=asname):
                found.add(asname or name.split(".")[0])
            case _:
                pass
    return frozenset() if found & _BINDING else frozenset(found)


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
