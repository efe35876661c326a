"""Every upstream is gone, the store is empty: the release of the day before comes out of the vault, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce.system import files
from tests import registries
from tests.integration.conftest import Built, Example, example
from tests.integration.rebuilding import clone, differing, listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.registries import Running

# No network at all; with a registry on this side of the cut, when $1 names its configuration.
CUT_OFF = """
ip link set lo up
if [ -n "$1" ]; then docker-registry serve "$1" >/dev/null 2>&1 & server=$!; sleep 2; fi
shift; "$@"; code=$?
[ -z "$server" ] || kill "$server"
exit "$code"
"""


@dataclass(frozen=True)
class Kept:
    """The release of the day before, and its vaults."""

    project: Example
    built: Built
    folder: Path
    bundle: Path
    registry: Running
    config: Path

    def place(self, kind: str) -> str:
        return {"folder": str(self.folder), "bundle": str(self.bundle), "registry": self.registry.repository()}[kind]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Kept:
    """Built in CI, which fills the folder and the registry by itself; the bundle is made by hand. Then all is down."""
    place = tmp_path_factory.mktemp("kept")
    project = example("hello", place, XDG_CONFIG_HOME=str(home))
    (place / "vault").mkdir()
    with registries.running(place / "registry") as registry:
        vaults = f"{place / 'vault'} {registry.repository()}"
        data = project.release("build", CI="1", BUILDONCE_VAULT=vaults)
        bundled = project.release("bundle", data["dir"], "--inputs", "--out", str(place / "inputs.tar"))
        assert bundled["files"] == len(list((place / "vault").glob("files/*/*/*")))
        again = project.release("bundle", "--inputs", BUILDONCE_VAULT=vaults)
        assert [(row["files"], row["added"]) for row in again["vaults"]] == [(bundled["files"], 0)] * 2
        return Kept(
            project, Built(files_of(data), data), place / "vault", place / "inputs.tar", registry, place / "registry"
        )


def files_of(data: Mapping[str, str]) -> Path:
    return Path(data["dir"])


def rebuild(root: Path, store: Path, vault: str, registry: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BUILDONCE_STORE": str(store), "BUILDONCE_VAULT": vault}
    environment["XDG_CONFIG_HOME"] = str(store.parent / "config")
    release = [sys.executable, "-m", "buildonce", "build", "--offline", "--json"]
    return subprocess.run(
        ["unshare", "-n", "sh", "-c", CUT_OFF, "sh", registry, *release],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def rebuilt(kept_project: Example, built: Built, tmp_path: Path, vault: str, registry: str = "") -> None:
    root = clone(kept_project.root, tmp_path / "elsewhere")
    done = rebuild(root, tmp_path / "store", vault, registry)
    assert done.returncode == 0, done.stderr
    folder = files_of(json.loads(done.stdout))
    assert (folder / "SHA256SUMS").read_bytes() == (built.folder / "SHA256SUMS").read_bytes()
    assert differing(listing(built.folder), listing(folder)) == []
    shutil.rmtree(tmp_path / "store", ignore_errors=True)  # a gigabyte


@pytest.mark.parametrize("kind", ["folder", "bundle", "registry"])
def test_hello_comes_out_of_the_vault(kept: Kept, tmp_path: Path, kind: str) -> None:
    config = str(kept.config / "config.yml") if kind == "registry" else ""
    rebuilt(kept.project, kept.built, tmp_path, kept.place(kind), config)


def test_orders_comes_out_of_the_vault(orders: Example, first: Built, tmp_path: Path) -> None:
    """With an sdist that is compiled again."""
    (tmp_path / "vault").mkdir()
    branch = clone(orders.root, tmp_path / "tagged")
    made = Example(branch, orders.environment).release("bundle", "--inputs", "--to", str(tmp_path / "vault"))
    assert made["vaults"][0]["added"] == made["files"]
    rebuilt(orders, first, tmp_path, str(tmp_path / "vault"))


def test_what_is_missing_and_what_is_corrupt_is_named(kept: Kept, tmp_path: Path) -> None:
    """Every file, with what needs it; nothing is built, nothing is left."""
    shutil.copytree(kept.folder, tmp_path / "vault")
    paths = {path.name: path for path in (tmp_path / "vault").glob("files/*/*/*")}
    gone = next(path for name, path in sorted(paths.items()) if name.startswith("pex-"))
    spoiled = next(path for name, path in sorted(paths.items()) if name.startswith("libc6_"))
    gone.unlink()
    spoiled.write_bytes(b"evil")
    root = clone(kept.project.root, tmp_path / "elsewhere")
    done = rebuild(root, tmp_path / "store", str(tmp_path / "vault"))
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    head, *rows = error["problems"]
    assert head["message"] == "2 files are neither in the store nor in a vault"
    assert f"{spoiled.name} has not the size in the lock" in head["where"]
    assert "--offline" in head["hint"]
    assert [(row["message"], row["where"]) for row in rows] == [
        (f"{spoiled.name} sha256:{spoiled.parent.name}", "debian-12: OS packages"),
        (f"{gone.name} sha256:{gone.parent.name}", "debian-12: tools"),
    ]
    assert [path.name for path in (root / "dist").iterdir() if path.name.startswith("hello")] == []
    assert not any(path.name == spoiled.name for path in (tmp_path / "store").rglob("*"))


def test_a_corrupt_entry_is_mended_by_the_next_bundle(kept: Kept, tmp_path: Path) -> None:
    shutil.copytree(kept.folder, tmp_path / "vault")
    spoiled = next((tmp_path / "vault").glob("files/*/*/libc6_*"))
    data = spoiled.read_bytes()
    spoiled.write_bytes(data[:-1] + b"\0")
    made = kept.project.release("bundle", "--inputs", "--to", str(tmp_path / "vault"))
    assert made["vaults"][0]["added"] == 1
    assert files.sha256_file(spoiled) == spoiled.parent.name


def test_a_vault_that_fails_does_not_undo_the_release(kept: Kept, tmp_path: Path) -> None:
    """CI is told, with the next step; who may not write is no failure."""
    root = clone(kept.project.root, tmp_path / "elsewhere")
    project = Example(root, kept.project.environment)
    done = project.run("build", "--format", "wheel", CI="1", BUILDONCE_VAULT=str(tmp_path / "unmounted"))
    assert done.returncode == 1
    assert "error: the release is made, but its inputs are not kept in" in done.stderr
    assert "mkdir -p" in done.stderr
    assert len(list((root / "dist").glob("hello-*"))) == 1
    with registries.running(tmp_path / "shut", basic=True) as shut:
        done = project.run("build", "--format", "wheel", CI="1", BUILDONCE_VAULT=shut.repository())
    assert done.returncode == 0, done.stderr
    assert "inputs are not kept in" in done.stderr
    assert not (tmp_path / "unmounted").exists()


def test_a_release_of_another_lock_is_not_bundled(kept: Kept, tmp_path: Path) -> None:
    root = clone(kept.project.root, tmp_path / "elsewhere")
    project = Example(root, kept.project.environment)
    manifest = kept.built.folder / "release.json"
    release = tmp_path / "release"
    release.mkdir()
    text = manifest.read_text()
    digest = files.sha256_file(root / "debs.lock.toml")
    (release / "release.json").write_text(text.replace(digest, "0" * 64))
    done = project.run("bundle", str(release), "--inputs", "--out", "x.tar")
    assert done.returncode == 3
    assert "hint: git checkout " in done.stderr
    assert not (root / "x.tar").exists()


def test_nowhere_to_keep(kept: Kept) -> None:
    done = kept.project.run("bundle", "--inputs", BUILDONCE_VAULT="")
    assert done.returncode == 3
    assert "nothing says where to keep the inputs" in done.stderr
    assert kept.project.run("bundle").returncode == 2
    assert kept.project.run("bundle", "--inputs", "--to", "https://example.org/v").returncode == 3
