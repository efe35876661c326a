"""git as we ask it: the repository that we name, whoever calls us."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from buildonce.system.git import Git

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.conftest import Repository

    from buildonce.protocols import Runner


def test_it_works_inside_a_hook_of_another_repository(
    repository: Repository, host: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    git = Git(repository.root, host)
    assert git.line("rev-parse", "--show-toplevel") == str(repository.root)
    assert git.names("ls-files", "-z", "--", ":/*.py") == ["hello.py"]


def test_names_of_any_bytes(repository: Repository, host: Runner) -> None:
    repository.commit(**{"tab\tand\nline": "", 'quote"': "", "ü": "", "\udcff": ""})
    assert set(Git(repository.root, host).names("ls-files", "-z")) >= {"tab\tand\nline", 'quote"', "ü", "\udcff"}
