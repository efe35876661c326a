"""A target that only a project knows: locked, built, and verified where nobody has the project."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import Built, example, release

if TYPE_CHECKING:
    from tests.integration.conftest import Example

TARGETS = """
[tool.release.targets.debian-12]

[tool.release.targets.corporate-12]
like = "debian-12"
revision = "+corp12"
toolchain = ["bc"]
"""
FORMATS = ("--format", "wheel", "--format", "deb")


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Example:
    return example("hello", tmp_path_factory.mktemp("own"), more=TARGETS, XDG_CONFIG_HOME=str(home))


@pytest.fixture(scope="module")
def built(hello: Example) -> Built:
    data = hello.release("build", "--target", "corporate-12", *FORMATS)
    return Built(Path(data["dir"]), data)


def test_the_lock_and_the_plan_know_it(hello: Example) -> None:
    locked = tomllib.loads((hello.root / "debs.lock.toml").read_text())
    names = {target: {row["name"] for row in locked[target]["package"]} for target in ("debian-12", "corporate-12")}
    assert "bc" in names["corporate-12"] - names["debian-12"]
    plan = hello.release("plan")
    assert [row["target"] for row in plan["targets"]] == ["debian-12", "corporate-12"]


def test_its_files_have_names_of_their_own(built: Built) -> None:
    names = {row["format"]: row["file"] for row in built.data["artifacts"]}
    assert names["wheelhouse"] == f"hello-{built.version}-corporate-12.wheelhouse.tar"
    assert names["deb"].endswith("-1+corp12_amd64.deb")
    assert len(names) == len(built.data["artifacts"]) == 4


def test_whoever_has_the_release_knows_the_target(built: Built, public_key_of: Path, tmp_path: Path) -> None:
    shutil.copytree(built.folder, tmp_path / "hello")
    done = release("verify", "hello", "--key", str(public_key_of), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (facts,) = json.loads((tmp_path / "hello/release.json").read_bytes())["predicate"]["targets"]
    assert (facts["name"], facts["codename"], facts["revision"]) == ("corporate-12", "bookworm", "+corp12")
    assert "bc" in facts["toolchain"]


@pytest.fixture
def public_key_of(home: Path, built: Built) -> Path:
    return home / "buildonce/keys/workstation.pub"


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("corporate12", "did you mean 'corporate-12'?"),
        (
            "debian-13",
            "it has debian-12, corporate-12; add debian-13 to `targets` under [tool.release], then run `release lock`",
        ),
        ("windows", "it has debian-12, corporate-12"),
    ],
)
def test_a_target_that_the_project_does_not_have(hello: Example, asked: str, hint: str) -> None:
    done = hello.run("build", "--target", asked, "--json")
    problem = {"message": f"the project has no target '{asked}'", "where": "--target", "hint": hint}
    assert json.loads(done.stdout) == {"error": {"exit_code": 3, "problems": [problem]}}
    assert done.returncode == 3


def test_a_lock_of_other_targets(hello: Example, tmp_path: Path) -> None:
    root = tmp_path / "hello"
    shutil.copytree(hello.root, root, ignore=shutil.ignore_patterns("dist"))
    settings = root / "pyproject.toml"
    settings.write_text(settings.read_text().replace("targets.corporate-12", "targets.corporate-13"))
    done = release("build", cwd=root)
    assert done.returncode == 3
    assert "the lock is stale: targets changed (now corporate-13 " in done.stderr
    assert "before corporate-12 " in done.stderr
    assert "hint: run `release lock` and commit the result" in done.stderr
