"""Files: all or nothing, and modes that do not depend on the umask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_digests(tmp_path: Path) -> None:
    data = b"x" * 3_000_000
    (tmp_path / "a").write_bytes(data)
    assert files.sha256_file(tmp_path / "a") == files.sha256_bytes(data)
    assert files.sha256_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.usefixtures("narrow_umask")
def test_writing(tmp_path: Path) -> None:
    files.write_atomically(tmp_path / "a/b", b"one")
    files.write_atomically(tmp_path / "a/b", b"two", mode=0o600)
    assert (tmp_path / "a/b").read_bytes() == b"two"
    assert mode(tmp_path / "a/b") == 0o600
    files.write_atomically(tmp_path / "a/b", b"three")
    assert mode(tmp_path / "a/b") == 0o644
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder/inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        files.write_atomically(tmp_path / "folder", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.usefixtures("narrow_umask")
def test_copies(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/run").write_text("x")
    (tmp_path / "tree/run").chmod(0o755)
    files.copy_file(tmp_path / "tree/run", tmp_path / "new/run")
    assert mode(tmp_path / "new/run") == 0o755
    files.copy_file(tmp_path / "tree/run", tmp_path / "new/data", mode=0o640)
    assert mode(tmp_path / "new/data") == 0o640


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    files.replace_folder(folder(tmp_path / "one", "1"), tmp_path / "final")
    files.replace_folder(folder(tmp_path / "two", "2"), tmp_path / "final")
    assert (tmp_path / "final/file").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    with pytest.raises(FileNotFoundError):
        files.replace_folder(tmp_path / "gone", tmp_path / "final")
    assert (tmp_path / "final/file").read_text() == "2"


def test_scratch_is_gone_afterwards(tmp_path: Path) -> None:
    def work() -> None:
        with files.scratch(tmp_path / "new", "x") as aside:
            assert mode(aside) == 0o755
            folder(aside / "made", "1").rename(tmp_path / "moved")
            folder(aside / "left", "2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert list((tmp_path / "new").iterdir()) == []
    assert (tmp_path / "moved/file").exists()
