"""What a deb needs of Debian: what the lock has of it, and not what every host has."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from buildonce import dependencies
from buildonce.errors import LockError

if TYPE_CHECKING:
    from pathlib import Path


def package(folder: Path, name: str, depends: str = "", **more: str) -> Path:
    """A small deb, made by dpkg-deb."""
    fields = {"Package": name, "Version": "1:2.0-1", "Architecture": "all", "Maintainer": "nobody <a@b.c>"}
    fields |= {"Description": name, **({"Depends": depends} if depends else {}), **more}
    control = folder / name / "DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    subprocess.run(["dpkg-deb", "--build", str(folder / name)], check=True, capture_output=True)
    return folder / f"{name}.deb"


@pytest.fixture
def locked(tmp_path: Path) -> list[Path]:
    return [
        package(tmp_path, "python3.11", "libpython3.11 (= 1:2.0-1), dpkg"),
        package(tmp_path, "libpython3.11", "libc6 (>= 2.36)"),
        package(tmp_path, "libpq5", "libc6"),
        package(tmp_path, "libc6", "libgcc-s1", Priority="required"),
        package(tmp_path, "libgcc-s1", Priority="required"),
        package(tmp_path, "dpkg", "tar", Essential="yes"),
        package(tmp_path, "tar"),
        package(tmp_path, "gcc", "libc6"),
    ]


@pytest.mark.parametrize(
    ("depends", "names"),
    [
        ("python3.11 (>= 3.11.2)", ["libc6", "libgcc-s1", "libpython3.11", "python3.11"]),
        ("init-system-helpers, libpq4 | libpq5 (>= 15)", ["libc6", "libgcc-s1", "libpq5"]),
        ("dpkg", []),
        ("adduser", []),
    ],
)
def test_what_every_host_has_stays_out(locked: list[Path], depends: str, names: list[str]) -> None:
    assert [path.stem for path in dependencies.needed(depends, locked)] == names


def test_what_a_locked_package_needs_is_locked(locked: list[Path]) -> None:
    without = [path for path in locked if path.stem != "libpython3.11"]
    with pytest.raises(LockError, match=r"python3\.11 needs the OS package libpython3\.11"):
        dependencies.needed("python3.11", without)
