"""uv, the resolver: called as a program, in a scratch folder, for all targets at once.

Everything it decides comes back as PEP 751 data; the user's files are never written to.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tomli_w
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from uv import find_uv_bin

from buildonce.errors import LockError, MissingToolError, ReleaseError
from buildonce.lock import indexes, settings
from buildonce.lock.toml import parse
from buildonce.model import Command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildonce.model import Outcome, Target
    from buildonce.project import Project
    from buildonce.protocols import Runner

__all__ = [
    "Request",
    "compile",
    "compile_project",
    "environment_marker",
    "export",
]

_NO_SOURCE: Final = (".git", ".nox", ".tox", ".venv", "__pycache__", "dist", "node_modules", "venv")
_SIGNS_OF_NO_NETWORK: Final = ("error sending request", "dns error", "Could not connect", "timed out")

# Backends that ask git for the version would fail in a copy without history; nobody looks at this version. Set
# only where needed: dependencies that uv has to build for their metadata would take it for theirs.
_ANY_VERSION: Final = (
    ("PDM_BUILD_SCM_VERSION", "0"),
    ("POETRY_DYNAMIC_VERSIONING_BYPASS", "0"),
    ("SETUPTOOLS_SCM_PRETEND_VERSION", "0"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to resolve: requirements for the targets, with *settings*, ``[tool.uv]`` of the user."""

    name: str  # what errors call it
    requirements: tuple[str, ...]
    targets: tuple[Target, ...]
    settings: Mapping[str, Any]
    wheels_only: bool = False

    @property
    def oldest_python(self) -> str:
        """The lowest full version among the targets' Pythons."""
        return min((target.python for target in self.targets), key=Version)


def environment_marker(target: Target) -> str:
    """The marker that is true on *target*, whatever the patch version of its Python."""
    return (
        f"implementation_name == 'cpython' and platform_machine == '{target.machine}'"
        f" and python_version == '{target.python_minor}' and sys_platform == 'linux'"
    )


def compile(request: Request, runner: Runner) -> dict[str, Any]:  # noqa: A001 - what uv calls it
    """Resolve *request* universally over its targets; answers the parsed pylock.

    Raises :class:`LockError` with uv's explanation when no set of versions fits, :class:`ReleaseError`
    without network.
    """
    with tempfile.TemporaryDirectory(prefix="release-lock-") as folder:
        scratch = Path(folder)
        project = {
            # Not the project's name: uv would take a dependency of that name for the project itself.
            "name": "release-lock-scratch",
            "version": "0",
            "requires-python": f">={request.oldest_python}",
            "dependencies": list(request.requirements),
        }
        _write(scratch / "pyproject.toml", {"project": project, "tool": {"uv": _table(request)}})
        return _compile_in(scratch, request, runner)


def compile_project(project: Project, request: Request, runner: Runner) -> dict[str, Any]:
    """The same for a project whose dependencies only its backend knows: uv asks it, in a copy."""
    with tempfile.TemporaryDirectory(prefix="release-lock-") as folder:
        scratch = _copy(project, Path(folder))
        (scratch / "uv.toml").unlink(missing_ok=True)
        document = parse((scratch / "pyproject.toml").read_bytes(), "pyproject.toml")
        document.setdefault("tool", {})["uv"] = _table(request)
        _write(scratch / "pyproject.toml", document)
        return _compile_in(scratch, request, runner, environment=_ANY_VERSION)


def export(project: Project, runner: Runner) -> dict[str, Any]:
    """The content of uv.lock as a parsed pylock; uv checks that it fits pyproject.toml.

    Raises :class:`LockError` when it does not.
    """
    argv = (
        *("export", "--locked", "--format", "pylock.toml", "--no-header"),
        *("--no-emit-project", "--no-default-groups", "--no-python-downloads"),
        *_interpreter(project.requires_python),
    )
    with tempfile.TemporaryDirectory(prefix="release-lock-") as folder:
        dynamic = "dependencies" in project.dynamic
        scratch = _copy(project, Path(folder)) if dynamic else Path(folder)
        if not dynamic:
            for name in ("pyproject.toml", "uv.lock", "uv.toml"):
                if (project.root / name).is_file():
                    shutil.copyfile(project.root / name, scratch / name)
        environment = _ANY_VERSION if dynamic else ()
        outcome = _run(argv, scratch, settings.read(project.root), runner, environment=environment)
    if "needs to be updated" in outcome.tail:
        raise LockError(
            "uv.lock does not fit pyproject.toml any more",
            where="uv.lock",
            hint="run `uv lock`, then `release lock`, and commit both",
        )
    _require_success(outcome, "uv cannot read uv.lock", "uv.lock")
    return parse(outcome.stdout, "uv.lock")


def _interpreter(requires_python: str) -> tuple[str, ...]:
    """This interpreter when it will do, so that others do not matter; else uv looks for one."""
    own = "{}.{}.{}".format(*sys.version_info[:3])
    return ("--python", sys.executable) if SpecifierSet(requires_python).contains(own) else ()


def _copy(project: Project, folder: Path) -> Path:
    copy = folder / "project"
    shutil.copytree(project.root, copy, ignore=shutil.ignore_patterns(*_NO_SOURCE), symlinks=True)
    return copy


def _compile_in(
    folder: Path, request: Request, runner: Runner, *, environment: tuple[tuple[str, str], ...] = ()
) -> dict[str, Any]:
    argv = (
        *("pip", "compile", "pyproject.toml", "--universal", "--generate-hashes"),
        *("--python-version", request.oldest_python, "--python", sys.executable, "--no-python-downloads"),
        *(
            "--format",
            "pylock.toml",
            "--output-file",
            "pylock.toml",
            "--no-header",
            "--no-annotate",
            "--quiet",
        ),
        *(("--only-binary", ":all:") if request.wheels_only else ()),
    )
    (folder / "pylock.toml").unlink(missing_ok=True)  # uv would prefer the versions in it
    outcome = _run(argv, folder, request.settings, runner, environment=environment)
    _require_success(outcome, f"no set of versions fits {request.name}", "pyproject.toml")
    return parse((folder / "pylock.toml").read_bytes(), "pylock.toml")


def _run(
    argv: Sequence[str],
    folder: Path,
    own: Mapping[str, Any],
    runner: Runner,
    *,
    environment: tuple[tuple[str, str], ...] = (),
) -> Outcome:
    command = Command(
        argv=(_program(), *argv, "--no-progress", "--color", "never"),
        cwd=str(folder),
        environment=(*indexes.environment(own), *environment),
        capture=True,
    )
    return runner.run(command, check=False)


def _require_success(outcome: Outcome, message: str, where: str) -> None:
    if outcome.returncode == 0:
        return
    if any(sign in outcome.tail for sign in _SIGNS_OF_NO_NETWORK):
        raise ReleaseError(
            "the package index cannot be reached",
            hint="check network and proxy, then run `release lock` again",
            log=outcome.tail,
        )
    raise LockError(message, where=where, hint="change the requirement that uv names", log=outcome.tail)


def _table(request: Request) -> dict[str, Any]:
    """One version for all targets where possible: equal is worth more than newest."""
    environments = sorted({environment_marker(target) for target in request.targets})
    return {
        "fork-strategy": "fewest",
        **request.settings,
        "environments": environments,
        "required-environments": environments,
    }


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(tomli_w.dumps(document), encoding="utf-8")


def _program() -> str:
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return str(beside)
    try:
        return find_uv_bin()
    except FileNotFoundError as error:
        raise MissingToolError(
            "the program uv is not on this machine",
            hint=f"{sys.executable} -m pip install --force-reinstall uv",
        ) from error
