"""Where recipes are written: never over what somebody else wrote."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from buildonce import recipes
from buildonce.errors import ReleaseError
from buildonce.recipes import folder
from tests.recipes.subjects import EVERYTHING, PLAIN, subject

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.system.archive import Member

ONE = recipes.members({"README.md": "read\n", "sub/run.sh": "#!/bin/sh\n"})


def present(place: Path) -> dict[str, str]:
    return {path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()}


def test_files_and_their_digests(tmp_path: Path) -> None:
    place = tmp_path / "out"
    assert folder.write(ONE, place) == ("README.md", "sub/run.sh")
    assert set(present(place)) == {"README.md", "sub/run.sh", "RECIPE"}
    assert (place / "sub/run.sh").stat().st_mode & 0o777 == 0o755
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "RECIPE"], cwd=place, check=True)


def test_again_replaces_and_removes_what_is_ours(tmp_path: Path) -> None:
    folder.write(ONE, tmp_path)
    folder.write(recipes.members({"README.md": "more\n"}), tmp_path)
    assert present(tmp_path)["README.md"] == "more\n"
    assert set(present(tmp_path)) == {"README.md", "RECIPE"}


@pytest.mark.parametrize("path", ["notes.txt", "README.md", "sub/run.sh"])
def test_what_others_wrote_or_changed_stays(tmp_path: Path, path: str) -> None:
    folder.write(ONE, tmp_path)
    (tmp_path / path).write_text("mine")
    before = present(tmp_path)
    with pytest.raises(ReleaseError, match=f"{path} would be lost"):
        folder.write(recipes.members({"other": "x"}), tmp_path)
    assert present(tmp_path) == before


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    folder.write(ONE, tmp_path / "out")
    (tmp_path / "theirs").write_text("read\n")
    (tmp_path / "out/README.md").unlink()
    (tmp_path / "out/README.md").symlink_to(tmp_path / "theirs")
    with pytest.raises(ReleaseError, match=r"README\.md"):
        folder.write(ONE, tmp_path / "out")


@pytest.mark.parametrize("settings", [PLAIN, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("name", [name for name in recipes.NAMES if name != "ansible"])
class TestEveryRecipe:
    def test_it_says_how_to_run_it_and_is_the_same_each_time(
        self, tmp_path: Path, name: str, settings: dict[str, object]
    ) -> None:
        one = subject(tmp_path, settings)
        members = recipes.render(name, one)
        texts = {member.path: _text(member) for member in members}
        assert texts == {member.path: _text(member) for member in recipes.render(name, one)}
        assert texts["README.md"].startswith("# orders 1.4.0+b ")
        assert "```sh\n" in texts["README.md"]
        for path, text in texts.items():
            if path != "README.md" or "@" in text:
                assert not [word for word in ("@name@", "@version@", "@@") if word in text], path

    def test_every_file_is_in_its_readme(self, tmp_path: Path, name: str, settings: dict[str, object]) -> None:
        texts = {member.path: _text(member) for member in recipes.render(name, subject(tmp_path, settings))}
        told = texts["README.md"]
        rows = told[told.index("| file | is |") :]
        named = [word.replace("*", "") for row in rows.splitlines() for word in re.findall(r"`([^` ]+)`", row)]
        # a folder, or `orders*.volume`, stands for what is in it
        assert [
            p
            for p in texts
            if p not in {*named, "README.md"}
            and p.split("/")[0] + "/" not in named
            and "orders" + p[p.rfind(".") :] not in named
            and not p.startswith("orders-migrate@")
        ] == []


def _text(member: Member) -> str:
    with member.open() as stream:
        return stream.read().decode()
