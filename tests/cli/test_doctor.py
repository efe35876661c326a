"""``release doctor``: what is missing, and the exit code that a script can rely on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended
    from tests.conftest import Repository


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all the programs that there are; remove one, and the machine has it not."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("env", "git", "bwrap", "true", "sh"):
        found = shutil.which(name)
        assert found is not None
        (bin_ / name).symlink_to(found)
    (bin_ / "apt-get").symlink_to(bin_ / "true")  # looked for, not run
    monkeypatch.setenv("PATH", str(bin_))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    return bin_


def states(ended: Ended) -> dict[str, str]:
    return {row["name"]: row["state"] for row in ended.data}


@pytest.mark.usefixtures("machine")
def test_ready(release: Callable[..., Ended], repository: Repository) -> None:
    ended = release("doctor", "-C", str(repository.root), "--json")
    assert ended.code == 0
    assert states(ended) == {
        "git": "ok", "apt-get": "ok", "apt-ftparchive": "optional", "docker": "optional", "cosign": "optional",
        "sandbox": "ok", "docker engine": "optional", "store": "ok", "project": "ok",
    }  # fmt: skip
    text = release("doctor", "-C", str(repository.root))
    assert text.code == 0
    assert "cosign: sudo apt-get install cosign" in text.stdout


def test_missing(release: Callable[..., Ended], repository: Repository, machine: Path) -> None:
    (machine / "git").unlink()
    ended = release("doctor", "-C", str(repository.root))
    assert ended.code == 5
    assert "error: this machine is not ready: git missing\nhint: sudo apt-get install git\n" in ended.stderr
    as_json = release("doctor", "-C", str(repository.root), "--json")
    assert as_json.code == 5
    assert states(as_json)["git"] == "missing"


def test_neither_a_sandbox_nor_an_engine(release: Callable[..., Ended], repository: Repository, machine: Path) -> None:
    (machine / "bwrap").unlink()
    ended = release("doctor", "-C", str(repository.root))
    assert ended.code == 5
    assert "error: this machine is not ready: sandbox missing\n" in ended.stderr
    assert "hint: sudo apt install bubblewrap; or a Docker engine: install one" in ended.stderr


@pytest.mark.usefixtures("machine")
def test_a_wrong_project_is_no_missing_program(release: Callable[..., Ended], repository: Repository) -> None:
    repository.write("pyproject.toml", '[project]\nname = "x"\nversion = "1"\n[tool.release]\ntargtes = []\n')
    ended = release("doctor", "-C", str(repository.root))
    assert ended.code == 3
    assert "error: project: unknown key 'targtes'\nhint: did you mean 'targets'?\n" in ended.stderr


@pytest.mark.usefixtures("machine")
def test_outside_of_any_project_the_machine_is_looked_at(release: Callable[..., Ended], tmp_path: Path) -> None:
    ended = release("doctor", "-C", str(tmp_path), "--json")
    assert ended.code == 0
    assert states(ended)["project"] == "optional"


@pytest.mark.usefixtures("machine")
def test_a_store_that_cannot_be_made(
    release: Callable[..., Ended], repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BUILDONCE_STORE", str(tmp_path / "file/store"))
    ended = release("doctor", "-C", str(repository.root))
    assert ended.code == 3
    assert "error: store: the store cannot be written: Not a directory" in ended.stderr
    assert "BUILDONCE_STORE" in ended.stderr


@pytest.mark.usefixtures("machine")
def test_vaults(
    release: Callable[..., Ended], repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vault").mkdir()
    monkeypatch.setenv("BUILDONCE_VAULT", f"{tmp_path / 'vault'} {tmp_path / 'unmounted'}")
    ended = release("doctor", "-C", str(repository.root), "--json")
    assert ended.code == 3
    there, gone = (row for row in ended.data if row["name"] == "vault")
    assert there["state"] == "optional"
    assert there["remedy"] == "release bundle --inputs"
    assert gone["state"] == "wrong"
    assert "unmounted: there is no such folder" in gone["detail"]
    assert "mkdir -p" in gone["remedy"]
    monkeypatch.setenv("BUILDONCE_VAULT", "s3://bucket")
    (row,) = (row for row in release("doctor", "-C", str(repository.root), "--json").data if row["name"] == "vault")
    assert row["state"] == "wrong"
    assert "is not a vault" in row["detail"]
