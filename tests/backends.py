"""The tiny projects of ``tests/projects``, one for each build backend, and what each needs to be built."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce import buildenv, wheels
from buildonce import target as targets
from buildonce.model import Wheel
from buildonce.system import files
from tests.builders import small_stage

if TYPE_CHECKING:
    from buildonce.protocols import Runner
    from buildonce.system.store import Store

__all__ = ["EPOCH", "PROJECTS", "REQUIREMENTS", "TARGET", "checkout", "environment", "sdist_of", "wheel"]

EPOCH = 1_700_000_000
PROJECTS: Final = Path(__file__).parent / "projects"
TARGET: Final = targets.load("debian-12")

_HATCHLING = (
    "hatchling==1.33.0",
    "packaging==26.3",
    "pathspec==1.1.1",
    "pluggy==1.7.0",
    "trove-classifiers==2026.9.21.13",
)
_SETUPTOOLS = ("setuptools==84.2.1",)
_SCM = ("setuptools-scm==10.3.4", "vcs-versioning==2.6.0", "typing-extensions==4.16.0")
REQUIREMENTS: Final = {
    "greet-setuptools": _SETUPTOOLS,
    "greet-setuptools-scm": (*_SETUPTOOLS, *_SCM, "packaging==26.3"),
    "greet-hatchling": _HATCHLING,
    "greet-hatch-vcs": (*_HATCHLING, "hatch-vcs==0.5.0", *_SCM, *_SETUPTOOLS),
    "greet-flit": ("flit-core==4.2.0",),
    "greet-poetry": ("poetry-core==2.5.0",),
    "greet-pdm": ("pdm-backend==2.5.0",),
    "greet-uv": ("uv-build==0.13.6",),
}


def wheel(path: Path) -> Wheel:
    """The wheel at *path* as a value."""
    facts = wheels.facts(path)
    return Wheel(
        name=facts.name,
        version=facts.version,
        path=path,
        sha256=files.sha256_file(path),
        size=path.stat().st_size,
    )


def environment(requirements: tuple[str, ...], store: Store, runner: Runner | None = None) -> Path:
    """The build environment that holds *requirements*."""
    found = [wheel(path) for path in small_stage.download(*requirements)] if requirements else []
    return buildenv.make(found, target=TARGET, store=store, runner=runner)


def checkout(name: str, into: Path, *, tag: str = "v1.4.0", commits: int = 2) -> Path:
    """A clean clone of the project *name* at a fixed time: the tag is on the first of *commits*."""
    clone = shutil.copytree(PROJECTS / name, into / name)
    git(clone, "init", "--quiet", "--initial-branch=main")
    for number in range(commits):
        git(clone, "add", "--all")
        git(clone, "commit", "--quiet", "--allow-empty", "-m", f"commit {number}")
        if number == 0 and tag:
            git(clone, "tag", tag)
    return clone


def git(clone: Path, *arguments: str) -> None:
    date = f"{EPOCH} +0000"
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    environment = {
        **os.environ,
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_DATE": date,
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    subprocess.run(["git", *identity, *arguments], cwd=clone, env=environment, check=True)


def sdist_of(folder: Path, into: Path) -> Path:
    """Pack *folder* (``name-version``) as an sdist, as anybody would."""
    into.mkdir(parents=True, exist_ok=True)
    path = into / f"{folder.name}.tar.gz"
    subprocess.run(["tar", "-C", str(folder.parent), "-czf", str(path), folder.name], check=True)
    return path
