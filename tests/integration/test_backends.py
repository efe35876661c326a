"""A project of every build backend, from ``release lock`` to a verified release, as their users have them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from packaging.metadata import parse_email
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from buildonce import buildroot
from buildonce import target as targets
from buildonce.debs import lock as debs
from buildonce.model import Bind, Command
from buildonce.system.run import HostRunner
from tests.backends import PROJECTS
from tests.integration import stores

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildonce.model import Digest
    from tests.integration.conftest import Example

TARGET = targets.load("debian-12")
NAMES = tuple(sorted(folder.name for folder in PROJECTS.iterdir()))
# The version is made from tags by these; the others write it down.
FROM_TAGS = ("greet-hatch-vcs", "greet-setuptools-scm")


def root_key(project: Example) -> Digest:
    return buildroot.key(TARGET, debs.read(project.root / "debs.lock.toml", TARGET))


def artifact(data: Any, kind: str) -> Path:
    return Path(data["dir"], next(one["file"] for one in data["artifacts"] if one["format"] == kind))


def verify(project: Example, data: Any) -> None:
    verified = project.release("verify", data["dir"])
    assert verified["version"] == data["version"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_locked_built_and_verified_and_every_commit_has_a_version(
    name: str, locked: Callable[[str], Example]
) -> None:
    project = locked(name)

    released = project.release("build", "--format", "wheel", "--format", "pex")

    assert (released["name"], released["version"]) == (name, "1.4.0")
    assert [one["format"] for one in released["artifacts"]] == ["pex", "wheelhouse", "wheel", "sdist"]
    assert metadata(artifact(released, "wheel")) == (name, "1.4.0")
    with zipfile.ZipFile(artifact(released, "wheel")) as wheel:
        data = Path("src", name.replace("-", "_"), "data.txt")
        assert wheel.read(f"{data.parent.name}/{data.name}") == (project.root / data).read_bytes()
    assert greeted(artifact(released, "pex"), project) == "Hello, Ada!\n"
    verify(project, released)

    project.commit("second", **{"README.md": "# Another\n"})
    developed = project.release("build", "--format", "wheel")
    commit = project.git("rev-parse", "HEAD")
    assert developed["commit"] == commit
    assert commit.startswith(str(Version(developed["version"]).local).removeprefix("g"))
    assert Version(developed["version"]).is_devrelease
    assert metadata(artifact(developed, "wheel")) == (name, developed["version"])
    verify(project, developed)
    # Versions are written into clones, never into what the user works on; dist/ ignores itself.
    assert project.git("status", "--porcelain") == ""


def metadata(wheel: Path) -> tuple[str, str]:
    """Name and version, which the file's name and its metadata agree on."""
    name, version, *_ = parse_wheel_filename(wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        told, _ = parse_email(archive.read(path))
    assert (told["name"], told["version"]) == (name, str(version))
    return name, str(version)


def greeted(pex: Path, project: Example) -> str:
    """What the pex says where there is the target's Python and nothing else of ours."""
    root = stores.usual().root / "roots" / root_key(project)
    done = buildroot.RootRunner(root, HostRunner()).run(
        Command(
            argv=("/build/app.pex", "Ada"),
            environment=(("PEX_ROOT", "/tmp/pex"),),
            binds=(Bind(source=pex, target=PurePosixPath("/build/app.pex")),),
            capture=True,
        )
    )
    return done.stdout.decode()


def test_all_of_them_are_built_in_one_build_root(locked: Callable[[str], Example]) -> None:
    assert len({root_key(locked(name)) for name in NAMES}) == 1


@pytest.mark.parametrize("name", ["greet-uv"])
def test_a_deb_and_an_image_need_nothing_more(name: str, locked: Callable[[str], Example]) -> None:
    project = locked(name)
    data = project.release("build")
    kinds = [one["format"] for one in data["artifacts"]]
    assert sorted(kinds) == ["deb", "oci", "pex", "sdist", "wheel", "wheelhouse"]
    assert json.loads((Path(data["dir"]) / "release.json").read_bytes())["predicate"]["name"] == name
    verify(project, data)
