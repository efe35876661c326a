"""A rebuild's folder is gone afterwards; what a killed run left is removed by the next one, what is in use is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce import reproduction

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_gone_whatever_happens_even_what_must_not_be_written(tmp_path: Path) -> None:
    def fill() -> None:
        with reproduction._workplace(tmp_path) as work:
            (work / "root" / "shut").mkdir(parents=True)
            (work / "root" / "shut" / "file").touch()
            (work / "root" / "shut").chmod(0o555)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    (tmp_path / ".reproduce.killed" / "checkout").mkdir(parents=True)
    (tmp_path / "files").mkdir()
    with reproduction._workplace(tmp_path) as first, reproduction._workplace(tmp_path) as second:
        assert {path.name for path in tmp_path.iterdir()} == {"files", first.name, second.name}
    assert [path.name for path in tmp_path.iterdir()] == ["files"]
