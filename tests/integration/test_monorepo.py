"""A project somewhere in a larger repository, released under a name that is not its distribution's."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.integration.conftest import EXAMPLES, Built, Example

if TYPE_CHECKING:
    from pathlib import Path

PYPROJECT = """\
[build-system]
requires = ["setuptools>=80", "setuptools-scm>=8"]
build-backend = "setuptools.build_meta"

[project]
name = "hello"
dynamic = ["version"]
requires-python = ">=3.11"
dependencies = ["click>=8.1", "tabulate>=0.9"]

[project.scripts]
hello = "hello.cli:main"

[tool.setuptools_scm]
root = "../.."

[tool.release]
name = "greeter"
"""


def test_the_version_of_the_repository_and_the_name_of_the_release(tmp_path: Path, home: Path) -> None:
    top = Example(tmp_path / "mono")
    project = Example(top.root / "libs/hello", {"XDG_CONFIG_HOME": str(home)})
    shutil.copytree(EXAMPLES / "hello", project.root, ignore=shutil.ignore_patterns("pylock*.toml", "debs.lock.toml"))
    (project.root / "pyproject.toml").write_text(PYPROJECT)
    top.git("init", "--quiet", "--initial-branch=main")
    project.release("lock")
    top.commit("first")
    top.git("tag", "v3.1.0")

    data = project.release("build", "--format", "wheel", "--format", "deb")

    files = {row["format"]: row["file"] for row in data["artifacts"]}
    assert files == {
        "wheel": "hello-3.1.0-py3-none-any.whl",
        "sdist": "hello-3.1.0.tar.gz",
        "wheelhouse": "greeter-3.1.0-debian-12.wheelhouse.tar",
        "deb": "greeter_3.1.0-1+deb12_amd64.deb",
    }
    made = Built(project.root / "dist" / "greeter-3.1.0", data)
    verified = project.release("verify", str(made.folder))
    assert verified["version"] == "3.1.0"
