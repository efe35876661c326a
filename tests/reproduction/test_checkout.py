"""The recorded commit, from wherever it is to be had, with the tags as they were when it was released."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from buildonce import source as sources
from buildonce.errors import SourceError
from buildonce.reproduction import checkout
from buildonce.system.run import HostRunner
from tests import conftest

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.model import Source
    from buildonce.system import System
    from tests.conftest import Repository


@pytest.fixture
def tagged(repository: Repository) -> Repository:
    repository.git("tag", "v1.0")
    return repository


def recorded(repository: Repository, url: str = "") -> Source:
    found = sources.inspect(repository.root, HostRunner(), allow_dirty=False)
    return dataclasses.replace(found, url=url)


def make(
    source: Source, tmp_path: Path, system: System, root: Path | None = None, chosen: str = ""
) -> tuple[Path, str]:
    (tmp_path / "nowhere").mkdir(exist_ok=True)
    into = tmp_path / "work" / "checkout"
    into.parent.mkdir(exist_ok=True)
    return checkout.make(source, into, root=root or tmp_path / "nowhere", chosen=chosen, system=system)


def again(project: Path) -> Source:
    return sources.inspect(project, HostRunner(), allow_dirty=False)


def test_the_current_folders_repository_is_asked_first(
    tagged: Repository, tmp_path: Path, system: System, notes: list[str]
) -> None:
    source = recorded(tagged, url="https://git.example.org/never-asked")
    tagged.commit("later", **{"hello.py": "print('later')\n"})
    tagged.write("hello.py", "not committed")

    project, place = make(source, tmp_path, system, root=tagged.root)

    assert place == str(tagged.root)
    assert (project / "hello.py").read_text() == "print('hello')\n"
    assert again(project) == dataclasses.replace(source, url="")
    assert notes == []


def test_another_repository_can_be_named(tagged: Repository, tmp_path: Path, system: System) -> None:
    bare = tmp_path / "bare.git"
    tagged.git("clone", "--quiet", "--bare", str(tagged.root), str(bare))

    for number, chosen in enumerate((str(tagged.root), str(bare), bare.as_uri())):
        work = tmp_path / str(number)
        work.mkdir()
        project, place = make(recorded(tagged), work, system, chosen=chosen)
        assert place == chosen
        assert again(project).tag == "v1.0"


def test_a_project_below_the_top_of_its_repository(tmp_path: Path, system: System) -> None:
    monorepo = conftest.new_repository(tmp_path / "monorepo")
    monorepo.commit(**{"services/hello/pyproject.toml": conftest.PYPROJECT, "other.txt": "other"})
    source = sources.inspect(monorepo.root / "services/hello", HostRunner(), allow_dirty=False)

    project, _ = make(source, tmp_path, system, root=monorepo.root / "services/hello")

    assert source.folder == "services/hello"
    assert project == tmp_path / "work/checkout/services/hello"
    assert again(project) == source


def test_a_commit_that_is_gone(tagged: Repository, tmp_path: Path, system: System) -> None:
    source = dataclasses.replace(recorded(tagged), commit="1" * 40)
    with pytest.raises(SourceError, match=r"the commit 111111111111 of the release is gone") as caught:
        make(source, tmp_path, system, root=tagged.root)
    assert caught.value.exit_code == 1
    assert caught.value.problems[0].where == str(tagged.root)
    assert "--source PATH|URL" in caught.value.problems[0].hint

    with pytest.raises(SourceError, match="is gone"):
        make(recorded(tagged), tmp_path, system, root=tagged.root, chosen=str(tmp_path / "no-repository"))


def test_a_shallow_clone_is_not_taken(tagged: Repository, tmp_path: Path, system: System) -> None:
    tagged.commit("second")
    shallow = tmp_path / "shallow"
    tagged.git("clone", "--quiet", "--depth=1", tagged.root.as_uri(), str(shallow))

    with pytest.raises(SourceError, match="is gone"):
        make(recorded(tagged), tmp_path, system, root=shallow)


def test_a_commit_that_only_the_server_still_has(tagged: Repository, tmp_path: Path, system: System) -> None:
    source = recorded(tagged)
    tagged.git("tag", "--delete", "v1.0")
    tagged.git("checkout", "--quiet", "--orphan", "rewritten")
    tagged.commit("history was rewritten")
    tagged.git("branch", "-D", "main")
    tagged.git("config", "uploadpack.allowAnySHA1InWant", "true")

    project, _ = make(source, tmp_path, system, chosen=tagged.root.as_uri())

    assert again(project).commit == source.commit


def test_a_tag_that_came_later_is_left_out(
    repository: Repository, tmp_path: Path, system: System, notes: list[str]
) -> None:
    source = recorded(repository)
    repository.git("tag", "v9.9")

    project, _ = make(source, tmp_path, system, root=repository.root)

    assert again(project).tag == ""
    assert notes == ["the tag v9.9 is not part of the release: left out of the clone"]
    assert repository.git("tag") == "v9.9"  # in the user's own repository nothing changes


def test_a_higher_tag_that_came_later_is_left_out(
    tagged: Repository, tmp_path: Path, system: System, notes: list[str]
) -> None:
    source = recorded(tagged)
    tagged.git("tag", "v1.0.1")
    tagged.git("tag", "v0.9")

    project, _ = make(source, tmp_path, system, root=tagged.root)

    assert again(project).tag == "v1.0"
    assert notes == ["the tag v1.0.1 is not part of the release: left out of the clone"]


@pytest.mark.parametrize("moved", [True, False])
def test_a_tag_that_moved_or_is_gone_is_set_as_recorded_and_told(
    moved: bool, tagged: Repository, tmp_path: Path, system: System, notes: list[str]
) -> None:
    source = recorded(tagged)
    tagged.commit("second")
    tagged.git(*(("tag", "--force", "v1.0") if moved else ("tag", "--delete", "v1.0")))

    project, _ = make(source, tmp_path, system, root=tagged.root)

    assert again(project).tag == "v1.0"
    (note,) = notes
    assert note.startswith("the tag v1.0 is not on the commit any more")


def test_submodules_come_along(tagged: Repository, tmp_path: Path, system: System) -> None:
    library = conftest.new_repository(tmp_path / "library")
    library.commit(**{"library.py": "x = 1\n"})
    tagged.git("submodule", "--quiet", "add", str(library.root), "library")
    tagged.commit("with a submodule")

    project, _ = make(recorded(tagged), tmp_path, system, root=tagged.root)

    assert (project / "library/library.py").read_text() == "x = 1\n"
