"""The process that is killed at each change: it is killed at every one of them, and at nothing else."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.crashing import Crashes, killed_at

if TYPE_CHECKING:
    from pathlib import Path


def work(folder: Path) -> None:
    (folder / "made").mkdir()
    (folder / "made/file").write_text("all of it")
    (folder / "made/file").rename(folder / "file")
    (folder / "made").rmdir()
    (folder / "file").read_text()


def outside(folder: Path, other: Path) -> None:
    (other / f"note-{folder.name}").write_text("")


def test_every_change_is_met(tmp_path: Path) -> None:
    number = itertools.count()

    def fresh() -> Path:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        return folder

    crashes = Crashes()
    found = [sorted(one.name for one in folder.rglob("*")) for folder in crashes.each(work, below=fresh)]
    assert found == [[], ["made"], ["file", "made"], ["file", "made"]]
    assert crashes.count == 4
    assert (tmp_path / "4/file").read_text() == "all of it"


def test_changes_elsewhere_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    assert not killed_at(1, outside, tmp_path / "inside", tmp_path, below=tmp_path / "inside")


def test_work_that_fails_by_itself_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended with 1"):
        killed_at(9, work, tmp_path / "not there", below=tmp_path)
