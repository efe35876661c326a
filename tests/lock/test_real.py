"""Against the index that this machine is configured for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce import target as targets

if TYPE_CHECKING:
    from tests.lock.conftest import User

pytestmark = pytest.mark.integration


def test_a_web_service_for_two_targets(user: User) -> None:
    user.project(
        "fastapi",
        "cryptography",
        "psycopg2",
        targets=("debian-12", "debian-13"),
        build=("hatchling", "hatch-vcs"),
    )
    lock = user.lock()
    for name in lock.targets:
        chosen = {one.name: one for one in lock.select(targets.load(name))}
        assert {"fastapi", "pydantic-core", "cryptography", "cffi", "psycopg2"} <= chosen.keys()
        assert [one.name for one in chosen.values() if one.compiles] == ["psycopg2"]
        assert "setuptools" in {one.name for one in lock.build(targets.load(name), "psycopg2")}
        assert {one.name for one in lock.build(targets.load(name), "tools")} == {"pex"}
        assert all(one.file.size for one in (*chosen.values(), *lock.build(targets.load(name))))
    assert len(user.report(lock)) == 2


def test_pip_takes_the_lock(user: User, tmp_path: Path) -> None:
    """Any tool that reads PEP 751 can install the very same set."""
    user.project("click", "idna")
    user.lock()
    command = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "install",
        "--target",
        str(tmp_path / "into"),
    ]
    selection = [
        "--python-version",
        "3.11.2",
        "--python-platform",
        "x86_64-manylinux_2_36",
        "--preview-features",
        "pylock",
    ]
    subprocess.run([*command, *selection, "--requirements", "pylock.toml"], cwd=user.root, check=True)
    assert (tmp_path / "into" / "click" / "__init__.py").is_file()
