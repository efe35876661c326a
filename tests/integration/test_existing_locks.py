"""A lock that another tool made is the truth: its versions and hashes are what the release holds, or it is refused."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uv

from buildonce.lock import indexes
from tests.integration.conftest import Example

if TYPE_CHECKING:
    from collections.abc import Mapping

PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "shop"
version = "1.0"
requires-python = ">=3.11"
dependencies = {dependencies}

[project.scripts]
shop = "shop:main"

[tool.setuptools]
py-modules = ["shop"]
"""
# Both have had newer releases for years, so that choosing anew would show; markupsafe has a wheel for every platform.
OLD = {"idna": "3.6", "markupsafe": "2.1.4"}
PINNED = [f"{name}=={version}" for name, version in OLD.items()]
CONFIGURATION, VERIFICATION = 3, 4


def run_uv(*arguments: str, root: Path, stdin: str = "") -> str:
    """The real uv, asking the indexes that this machine is configured for."""
    done = subprocess.run(
        [uv.find_uv_bin(), *arguments],
        cwd=root,
        env={**os.environ, **dict(indexes.environment({}))},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(project: Example, *dependencies: str) -> None:
    (project.root / "pyproject.toml").write_text(PYPROJECT.format(dependencies=list(dependencies)))


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Example:
    """A repository without any lock; its dependencies allow every version."""
    made = Example(tmp_path / "shop", {"XDG_CONFIG_HOME": str(home)})
    made.root.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    write(made, *OLD)
    (made.root / "shop.py").write_text("import idna, markupsafe\ndef main():\n    print(idna.encode('ä'))\n")
    return made


@pytest.fixture
def uv_locked(project: Example) -> Example:
    """The same with a uv.lock that has got old: made when these versions were asked for, and kept by uv since."""
    write(project, *PINNED)
    run_uv("lock", "--quiet", root=project.root)
    write(project, *OLD)
    run_uv("lock", "--quiet", root=project.root)
    return project


@pytest.fixture
def required(project: Example) -> Example:
    """The same with a requirements.txt as uv and pip-compile write it."""
    options = ("pip", "compile", "--quiet", "--no-header", "--generate-hashes", "--python-version", "3.11", "-")
    text = run_uv(*options, root=project.root, stdin="\n".join(PINNED))
    (project.root / "requirements.txt").write_text(text)
    return project


def hashes(text: str) -> set[str]:
    return set(re.findall(r"sha256:([0-9a-f]{64})", text))


def locked(project: Example) -> tuple[Mapping[str, str], set[str]]:
    """Versions and hashes of our pylock.toml."""
    document = tomllib.loads((project.root / "pylock.toml").read_text())
    files = [
        file
        for package in document["packages"]
        for file in (*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ()))
    ]
    versions = {package["name"]: package["version"] for package in document["packages"]}
    return versions, {file["hashes"]["sha256"] for file in files}


def carried(project: Example) -> tuple[Mapping[str, str], set[str]]:
    """Versions and hashes of what a release holds, without the project itself."""
    project.commit("locked")
    project.git("tag", "v1.0")
    data = project.release("build", "--format", "wheel")
    assert project.release("verify", data["dir"])["version"] == "1.0"
    (house,) = Path(data["dir"]).glob("*.wheelhouse.tar")
    with tarfile.open(house) as archive:
        stream = archive.extractfile("requirements.txt")
        assert stream is not None
        pins = [line.split() for line in stream.read().decode().splitlines() if not line.startswith("shop==")]
    return dict(pin[0].split("==") for pin in pins), hashes(" ".join(pin[1] for pin in pins))


def test_a_uv_lock_is_kept(uv_locked: Example) -> None:
    before = (uv_locked.root / "uv.lock").read_text()

    uv_locked.release("lock")

    assert (uv_locked.root / "uv.lock").read_text() == before
    versions, found = locked(uv_locked)
    assert versions == OLD
    assert found <= hashes(before)
    assert found
    versions, found = carried(uv_locked)
    assert versions == OLD
    assert found <= hashes(before)


def test_hashed_requirements_are_kept(required: Example) -> None:
    before = (required.root / "requirements.txt").read_text()

    required.release("lock")

    assert (required.root / "requirements.txt").read_text() == before
    versions, found = locked(required)
    assert versions == OLD
    assert found <= hashes(before)
    versions, found = carried(required)
    assert versions == OLD
    assert found <= hashes(before)


def test_without_them_newer_versions_would_have_been_chosen(project: Example) -> None:
    """So that keeping them is no accident."""
    project.release("lock")
    versions, _ = locked(project)
    assert versions.keys() == OLD.keys()
    assert all(versions[name] != OLD[name] for name in OLD)


def bogus(text: str) -> str:
    """*text* with hashes that no file has, in the place of all those of idna."""
    start = text.index("idna")
    end = text.index("markupsafe", start)
    return text[:start] + re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", text[start:end]) + text[end:]


def test_a_bogus_hash_in_the_requirements_is_refused(required: Example) -> None:
    """The resolver alone would exit with 0 and put the index's own hashes in their place."""
    path = required.root / "requirements.txt"
    path.write_text(bogus(path.read_text()))

    ended = required.run("lock")

    assert ended.returncode == CONFIGURATION, ended.stderr
    assert "error: idna 3.6: no file on the index has a sha256 that requirements.txt names" in ended.stderr
    assert not (required.root / "pylock.toml").exists()


def test_a_bogus_hash_in_a_uv_lock_is_refused(uv_locked: Example) -> None:
    path = uv_locked.root / "uv.lock"
    text = path.read_text()
    path.write_text(bogus(text))
    assert path.read_text() != text
    ended = uv_locked.run("lock")
    if ended.returncode == 0:  # nothing was downloaded yet
        uv_locked.commit("locked")
        uv_locked.git("tag", "v1.0")
        ended = uv_locked.run("build", "--format", "wheel")

    assert ended.returncode in (CONFIGURATION, VERIFICATION), ended.stderr
    assert "idna-3.6-py3-none-any.whl" in ended.stderr
    assert not list((uv_locked.root / "dist").glob("shop-*"))


def test_a_stale_uv_lock_is_refused_with_the_line_that_mends_it(uv_locked: Example) -> None:
    write(uv_locked, *OLD, "six")

    ended = uv_locked.run("lock")

    assert ended.returncode == CONFIGURATION, ended.stderr
    assert "error: uv.lock does not fit pyproject.toml any more" in ended.stderr
    hint = re.search(r"^hint: (.*)$", ended.stderr, flags=re.MULTILINE)
    assert hint is not None
    assert "uv lock" in hint[1]
    assert not (uv_locked.root / "pylock.toml").exists()
    # The line is the right one.
    run_uv("lock", "--quiet", root=uv_locked.root)
    uv_locked.release("lock")
    versions, _ = locked(uv_locked)
    assert {**versions, "six": ""} == {**OLD, "six": ""}
    assert "six" in versions


def test_when_the_uv_lock_changes_later_the_build_asks_for_a_new_lock(uv_locked: Example) -> None:
    uv_locked.release("lock")
    run_uv("lock", "--quiet", "--upgrade-package", "idna", root=uv_locked.root)
    uv_locked.commit("upgraded")

    ended = uv_locked.run("build", "--format", "wheel")

    assert ended.returncode == CONFIGURATION, ended.stderr
    assert "error: the lock is stale" in ended.stderr
    assert "hint: run `release lock`" in ended.stderr
