"""Runs Python code as an ordinary user with a hostile umask, when the tests run as root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

import buildonce

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["OTHERS", "common_folder", "interpreter", "library", "run"]

# Whom the tests can be, beside who runs them.
OTHERS = ("nobody",) if os.geteuid() == 0 else ()


def run(code: str, *arguments: str, user: str = "", umask: int = 0o077, groups: Sequence[str] = ()) -> str:
    """What *code* prints, run by *user* in *groups* (or by who runs the tests) with this checkout and its libraries."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [interpreter(user), "-c", code, *arguments],
        env={
            "PYTHONPATH": library(),
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        umask=umask,
        **(_as(user) | ({"extra_groups": list(groups)} if user else {})),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def common_folder() -> Iterator[Path]:
    """A new folder that every user can reach and write; pytest's folders are the caller's alone."""
    folder = Path(tempfile.mkdtemp(prefix="buildonce-test-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def library() -> str:
    """The PYTHONPATH that has this checkout and its libraries."""
    return os.pathsep.join((_above(buildonce), _above(zstandard)))


@cache
def interpreter(user: str | int = "") -> str:
    """The tests' own interpreter, or the system's when that lies in somebody's home."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        command = [candidate, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
        try:
            found = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd="/", **_as(user)
            ).stdout.strip()
        except PermissionError:
            continue
        if found == "{}.{}".format(*sys.version_info[:2]):
            return candidate
    msg = f"{user} can run no Python {sys.version_info[:2]}"
    raise AssertionError(msg)


def _as(user: str | int) -> dict[str, Any]:
    return {"user": user, "group": "nogroup", "extra_groups": []} if user else {}


def _above(module: Any) -> str:
    return str(Path(module.__file__).parents[1])
