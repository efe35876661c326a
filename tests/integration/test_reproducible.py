"""The same commit and lock give the same bytes, wherever, whenever and by whomever they are built."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from buildonce.system import files
from buildonce.system.store import Store
from tests.debs import users
from tests.integration import stores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.integration.conftest import Built, Example

LOCKS: Final = ("pylock.toml", "pylock.build.toml", "debs.lock.toml")
# What may differ: whose key it was, and what the tools said while they worked.
SIGNATURES: Final = ("SHA256SUMS.sig", "SHA256SUMS.sshsig", "SHA256SUMS.asc")
FOLDERS: Final = ("attestations", "log")

RELEASE: Final = """
import json, os, sys
os.environ |= json.loads(sys.argv[1])
from buildonce.cli import main
main(sys.argv[2:])
"""


def elsewhere(folder: Path) -> dict[str, str]:
    """The environment of somebody else, far away, with a home in *folder*."""
    (folder / "home").mkdir()
    return {
        "HOME": str(folder / "home"),
        "XDG_CONFIG_HOME": str(folder / "home" / "settings"),
        "BUILDONCE_STORE": str(folder / "store"),
        "TZ": "Pacific/Kiritimati",  # UTC+14
        "LANG": "tr_TR.UTF-8",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "1",
        "SOURCE_DATE_EPOCH": "1",
    }


def clone(orders: Example, first: Built, into: Path) -> Path:
    """The commit of *first* in another folder, as ``git clone`` gives it to somebody else."""
    branch = ("--quiet", "--config", "advice.detachedHead=false", "--branch", "v1.4.0")
    subprocess.run(["git", "clone", *branch, str(orders.root), str(into)], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=into, check=True, capture_output=True, text=True)
    assert head.stdout.strip() == first.data["commit"]
    return into


def seed(store: Path, root: Path) -> None:
    """Put what the locks of the project *root* name into the new *store*, and nothing that was made of it."""
    usual, new = stores.usual(), Store(store)
    for digest in {sha256 for lock in LOCKS for sha256 in re.findall(r"\b[0-9a-f]{64}\b", (root / lock).read_text())}:
        for path in usual.place(digest, "").glob("*"):
            place = new.place(digest, path.name)
            place.parent.mkdir(parents=True)
            try:
                os.link(path, place)
            except OSError:  # on another file system, or somebody else's
                shutil.copy(path, place)
    assert [path.name for path in store.iterdir()] == ["files"]


def listing(release: Path) -> dict[str, tuple[int, str]]:
    """Mode and sha256 of everything that has to be equal."""
    return {
        path.name: (path.stat().st_mode & 0o777, files.sha256_file(path))
        for path in release.iterdir()
        if path.name not in (*SIGNATURES, *FOLDERS)
    }


def test_built_elsewhere_by_somebody_else_every_byte_is_the_same(orders: Example, first: Built, tmp_path: Path) -> None:
    root = clone(orders, first, tmp_path / "a" / "much-longer-path" / "to-the-same" / "orders-of-somebody-else")
    environment = elsewhere(tmp_path)
    seed(tmp_path / "store", root)

    done = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$@"', "sh", sys.executable, "-m", "buildonce", "build", "--json"],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    release = root / "dist" / "orders-1.4.0"
    found, expected = listing(release), listing(first.folder)
    assert differing(expected, found) == []
    assert len(found) == 6 + len(("release.json", "sbom.cdx.json", "provenance.json", "SHA256SUMS"))
    # It was another key, in another home: the signatures do differ.
    assert all((release / name).read_bytes() != (first.folder / name).read_bytes() for name in SIGNATURES)
    assert {path.name for path in release.iterdir()} == {path.name for path in first.folder.iterdir()}


def differing(expected: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


@pytest.mark.parametrize("user", users.OTHERS)
def test_built_by_an_ordinary_user_the_deb_is_the_same(user: str, orders: Example, first: Built) -> None:
    """With the system's Python, whose zlib and patch level are others than those of the tests."""
    with users.common_folder() as folder:
        root = clone(orders, first, folder / "orders")
        environment = elsewhere(folder)
        seed(folder / "store", root)
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user)

        options = ("--format", "deb", "--json", "-C", str(root))
        data = json.loads(users.run(RELEASE, json.dumps(environment), "build", *options, user=user))

        (made,) = data["artifacts"]
        assert (folder / "orders" / "dist" / "orders-1.4.0" / made["file"]).owner() == user
        (usual,) = (one for one in first.data["artifacts"] if one["format"] == "deb")
        assert {key: made[key] for key in ("file", "sha256", "size")} == {
            key: usual[key] for key in ("file", "sha256", "size")
        }
