"""A vault in a folder: many writers, other users, full disks, and what a killed writer leaves."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.errors import ReleaseError, VerificationError
from buildonce.system import files
from buildonce.system.console import SilentProgress
from buildonce.vault import DeniedError
from buildonce.vault.folder import FolderVault
from tests.vault.making import TEXTS, Amounts, contents, wanted

if TYPE_CHECKING:
    from buildonce.vault import Contents

WHEEL, DEB = "a-1-py3-none-any.whl", "b+c_1~2_all.deb"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "vault"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def found(tmp_path: Path) -> Contents:
    return contents(tmp_path / "inputs")


def place(root: Path, name: str) -> Path:
    sha256 = files.sha256_bytes(TEXTS[name])
    return root / "files" / sha256[:2] / sha256 / name


def keep(root: Path, found: Contents, *, thorough: bool = False) -> tuple[int, int]:
    kept = FolderVault(root).keep(found, SilentProgress(), thorough=thorough)
    assert kept.files == len(found.inputs)
    return kept.added, kept.added_bytes


def listing(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_is_there_is_not_written_again(root: Path, found: Contents) -> None:
    assert keep(root, found) == (3, found.size)
    before = {path: path.stat().st_ino for path in root.rglob("*") if "files" in path.parts and path.is_file()}
    said = Amounts()
    kept = FolderVault(root).keep(found, said, thorough=True)
    assert (kept.added, kept.added_bytes) == (0, 0)
    assert said.said[-1] == (found.size, found.size)
    assert {path: path.stat().st_ino for path in before} == before
    assert (root / f"inputs/{found.digest}.json").read_bytes() == found.listing
    assert len(listing(root)) == 4


def test_everybody_can_read_it_whatever_the_umask_is(root: Path, found: Contents) -> None:
    before = os.umask(0o077)
    try:
        keep(root, found)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_dir()} == {0o755}


def test_folders_get_the_mode_of_the_vault(root: Path, found: Contents) -> None:
    """So that a group can write."""
    root.chmod(0o2775)
    keep(root, found)
    assert {path.stat().st_mode & 0o7777 for path in root.rglob("*") if path.is_dir()} == {0o2775}


@pytest.mark.parametrize(
    ("data", "thorough", "added"),
    [(b"short", False, 1), (b"A WHEEL", True, 1), (b"A WHEEL", False, 0)],
    ids=["wrong size", "wrong bytes", "wrong bytes, not looked at"],
)
def test_a_corrupt_file_is_mended(root: Path, found: Contents, data: bytes, added: int, *, thorough: bool) -> None:
    keep(root, found)
    place(root, WHEEL).write_bytes(data)
    assert keep(root, found, thorough=thorough)[0] == added
    assert (place(root, WHEEL).read_bytes() == TEXTS[WHEEL]) == bool(added)


def test_a_file_with_another_name_is_found(root: Path, found: Contents, tmp_path: Path) -> None:
    import threading
    from dataclasses import replace

    keep(root, found)
    (tmp_path / "part").touch()
    file = replace(wanted(WHEEL), filename="other.whl")
    assert FolderVault(root).bring(file, tmp_path / "part", came=lambda _: None, stop=threading.Event())
    assert (tmp_path / "part").read_bytes() == TEXTS[WHEEL]


def _write(root: Path, inputs: Path, texts: dict[str, bytes], start: Any) -> None:
    start.wait()
    FolderVault(root).keep(contents(inputs, texts), SilentProgress(), thorough=False)


def test_many_writers_at_once(root: Path, tmp_path: Path) -> None:
    """Processes of their own, as on several machines: nobody locks, nobody disturbs another, all of it is whole."""
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    texts = {f"{number}.whl": bytes([number]) * 300_000 for number in range(20)}
    writers = [
        context.Process(target=_write, args=(root, tmp_path / f"inputs{number}", texts, start)) for number in range(4)
    ]
    for writer in writers:
        writer.start()
    start.set()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    kept = list(root.glob("files/*/*/*"))
    assert len(kept) == 20
    assert all(files.sha256_file(path) == path.parent.name for path in kept)
    assert list((root / ".incoming").iterdir()) == []


def test_another_writer_was_first(root: Path, found: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the link: what is there stays."""
    real = os.link

    def late(source: Path, target: Path) -> None:
        if not target.exists():
            target.write_bytes(Path(source).read_bytes())
            first.append(target.stat().st_ino)
        real(source, target)

    first: list[int] = []
    monkeypatch.setattr(os, "link", late)
    keep(root, found)
    assert sorted(path.stat().st_ino for path in root.glob("files/*/*/*")) == sorted(first)


def test_a_file_system_without_links(root: Path, found: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no)
    assert keep(root, found)[0] == 3
    assert place(root, WHEEL).read_bytes() == TEXTS[WHEEL]


def test_what_a_killed_writer_left_is_removed_after_a_day(root: Path, found: Contents) -> None:
    old, new = root / ".incoming/old", root / ".incoming/new"
    for left in (old, new):
        left.mkdir(parents=True)
        (left / "half").write_bytes(b"half")
    os.utime(old, (0, 0))
    keep(root, found)
    assert not old.exists()
    assert new.exists()


def test_interrupted_nothing_half_written_is_left(root: Path, found: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        keep(root, found)
    assert listing(root) == []


def test_a_disk_that_is_full(root: Path, found: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReleaseError, match="the disk of the vault is full") as caught:
        keep(root, found)
    assert caught.value.problems[0].where == str(root)
    assert listing(root) == []


@pytest.mark.integration
def test_a_real_disk_that_is_full(tmp_path: Path, found: Contents) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(ReleaseError, match="the disk of the vault is full"):
            keep(small, found)
        assert all(files.sha256_file(path) == path.parent.name for path in small.glob("files/*/*/*"))
        assert list((small / ".incoming").iterdir()) == []
        assert not (small / "inputs").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_who_may_not_write(root: Path, found: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", no)
    with pytest.raises(DeniedError, match="cannot be written by this user"):
        keep(root, found)


def test_a_file_of_the_store_that_cannot_be_read(root: Path, found: Contents) -> None:
    found.inputs[0].path.unlink()
    with pytest.raises(VerificationError, match="cannot be read"):
        keep(root, found)
    assert not (root / "inputs").exists()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, found: Contents) -> None:
    with pytest.raises(ReleaseError, match="there is no such folder") as caught:
        keep(tmp_path / "gone", found)
    assert "mkdir -p" in caught.value.problems[0].hint
    assert not (tmp_path / "gone").exists()
