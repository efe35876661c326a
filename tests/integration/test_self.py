"""buildonce builds itself: by the checkout, then by the pex that came out of that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import buildroot
from buildonce import target as targets
from buildonce.debs import lock as debs
from buildonce.model import Bind, Command
from buildonce.system.run import HostRunner
from tests.integration import stores
from tests.integration.conftest import Built, Example

if TYPE_CHECKING:
    from buildonce.model import Outcome

CHECKOUT = Path(__file__).resolve().parents[2]
TARGET = targets.load("debian-12")


def copied(into: Path) -> Path:
    """What a commit of this checkout would hold, changes that are not committed too."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():  # or it was removed and that is not committed
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, into / name)
    return into


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Example:
    """This checkout as a repository of its own, locked and tagged."""
    made = Example(copied(tmp_path_factory.mktemp("self") / "buildonce"), {"XDG_CONFIG_HOME": str(home)})
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("first")
    made.git("tag", "v0.1.0")
    made.release("lock")
    return made


@pytest.fixture(scope="module")
def built(project: Example) -> Built:
    data = project.release("build")
    return Built(Path(data["dir"]), data)


def run(pex: Path, project: Example, script: str) -> Outcome:
    """The shell *script* where there is the target's Python, the pex as ``release``, and *project*, nothing else."""
    pins = debs.read(project.root / "debs.lock.toml", TARGET)
    root = stores.usual().root / "roots" / buildroot.key(TARGET, pins)
    command = Command(
        argv=("sh", "-eu", "-c", script),
        cwd="/build/project",
        environment=(("PEX_ROOT", "/tmp/pex"), ("PATH", "/build/bin:/usr/bin:/bin")),
        binds=(
            Bind(source=pex, target=PurePosixPath("/build/bin/release")),
            Bind(source=project.root, target=PurePosixPath("/build/project")),
        ),
        capture=True,
    )
    return buildroot.RootRunner(root, HostRunner()).run(command, check=False)


def test_all_formats_are_made_and_verified(project: Example, built: Built) -> None:
    kinds = [one["format"] for one in built.data["artifacts"]]
    assert sorted(kinds) == ["deb", "oci", "pex", "sdist", "wheel", "wheelhouse"]
    assert (built.data["name"], built.version) == ("buildonce", "0.1.0")
    assert built.data["commit"] == project.git("rev-parse", "HEAD")
    verified: Any = project.release("verify", str(built.folder))
    assert (verified["name"], verified["version"]) == ("buildonce", "0.1.0")


def test_the_pex_is_the_whole_tool(project: Example, built: Built, home: Path) -> None:
    """It has the three rooms with it, targets, templates and scripts: it can verify the release that it is of."""
    shutil.copy(home / "buildonce" / "keys" / "workstation.pub", project.root / "dist" / "trusted.pub")
    script = f"""
        release --version
        release --help | head -n 1
        release verify "dist/{built.folder.name}" --key dist/trusted.pub --json
        """

    ended = run(built.file("pex"), project, script)

    assert ended.returncode == 0, ended.tail
    version, usage, verified = ended.stdout.decode().split("\n", 2)
    assert version == "release (buildonce) 0.1.0"
    assert usage.startswith("Usage: release ")
    assert json.loads(verified)["version"] == "0.1.0"


def test_built_by_its_own_pex_it_is_the_same(project: Example, built: Built, tmp_path: Path) -> None:
    """The wheel that the checkout built is the wheel that what it built builds."""
    interpreter = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    assert interpreter, "the pex is for the Python of its target, and there is none"
    options = ("build", "--format", "wheel", "--format", "deb", "--out", str(tmp_path / "dist"), "--json")
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [interpreter, "-I", str(built.file("pex")), *options],
        cwd=project.root,
        env={**mine, **project.environment, "PEX_ROOT": str(tmp_path / "pex")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = {one["file"]: one["sha256"] for one in json.loads(done.stdout)["artifacts"]}
    first = {one["file"]: one["sha256"] for one in built.data["artifacts"]}
    assert again.keys() == {one["file"] for one in built.data["artifacts"] if one["format"] not in ("pex", "oci")}
    assert again == {name: first[name] for name in again}
