"""The store: what is in it is what its name says, or it is made again."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import pytest

from buildonce.errors import ReleaseError
from buildonce.model import Digest
from buildonce.system import files
from buildonce.system.store import Store, remove

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = Digest("ab" * 32)


def left(store: Store) -> list[str]:
    """Everything that should not be there: what was made aside."""
    return [str(path) for path in store.root.rglob(".*") if path.suffix != ".lock"]


def test_a_file_comes_back(store: Store, tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(b"data")
    (tmp_path / "download").chmod(0o600)
    digest = files.sha256_bytes(b"data")
    assert store.file(digest, "a.whl") is None
    place = store.add(tmp_path / "download", "a.whl")
    assert place == store.place(digest, "a.whl") == store.file(digest, "a.whl")
    assert place.stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / "download").exists()
    assert left(store) == []


def test_a_value_is_asked_for_once(store: Store) -> None:
    asked: list[str] = []

    def ask() -> object:
        asked.append("asked")
        return {"lines": ["ä", 1, None]}

    assert store.value("answers", ["form", 1], ask) == {"lines": ["ä", 1, None]}
    assert store.value("answers", ["form", 1], ask) == {"lines": ["ä", 1, None]}
    assert asked == ["asked"]
    store.value("answers", ["form", 2], ask)
    assert asked == ["asked", "asked"]
    for kept in (store.root / "answers").glob("*/value.json"):
        kept.write_text('"evil"')
    assert store.value("answers", ["form", 1], ask) == {"lines": ["ä", 1, None]}


def test_a_changed_file_is_not_given_out(store: Store, tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(b"data")
    place = store.add(tmp_path / "download", "a.whl")
    place.write_bytes(b"evil")
    assert store.file(files.sha256_bytes(b"data"), "a.whl") is None
    assert not place.exists()


def change_a_byte(path: Path) -> None:
    (path / "file").write_text("evil")


def change_a_mode(path: Path) -> None:
    (path / "file").chmod(0o755)


def add_a_file(path: Path) -> None:
    (path / "more").write_text("")


def remove_a_file(path: Path) -> None:
    (path / "file").unlink()


def turn_a_link(path: Path) -> None:
    (path / "link").unlink()
    (path / "link").symlink_to("elsewhere")


def change_a_byte_and_the_time_back(path: Path) -> None:
    """Size, mode and modification time are as before."""
    before = (path / "file").stat()
    (path / "file").write_text("evil")
    os.utime(path / "file", ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = [change_a_byte, change_a_byte_and_the_time_back, change_a_mode, add_a_file, remove_a_file, turn_a_link]


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_made_again(store: Store, change: Callable[[Path], None], *, quick: bool) -> None:
    made = []

    def make(into: Path) -> None:
        made.append(into)
        (into / "file").write_text("good")
        (into / "link").symlink_to("file")

    path = store.folder("roots", KEY, make, quick=quick)
    assert store.folder("roots", KEY, make, quick=quick) == path
    assert len(made) == 1
    change(path)
    assert store.folder("roots", KEY, make, quick=quick) == path
    assert len(made) == 2
    assert (path / "file").read_text() == "good"
    assert sorted(inside.name for inside in path.iterdir()) == ["file", "link"]
    assert left(store) == []


def test_a_folder_that_was_only_touched_is_read_once_and_kept(store: Store, tmp_path: Path) -> None:
    """A link to a file, a copy of the store with its times: no byte is another one."""

    def make(into: Path) -> None:
        (into / "file").write_text("good")
        (into / "unreadable").write_text("good")

    def no(into: Path) -> None:
        pytest.fail("made again")

    path = store.folder("roots", KEY, make, quick=True)
    listed = path.with_name(f"{KEY}.json")
    before = listed.read_bytes()
    (tmp_path / "other").hardlink_to(path / "file")
    assert store.folder("roots", KEY, no, quick=True) == path
    assert listed.read_bytes() != before
    after = listed.stat()
    assert store.folder("roots", KEY, no, quick=True) == path
    assert listed.stat().st_ino == after.st_ino, "written only when something moved"


@pytest.mark.parametrize("listing", ["", "{}", "[]", "[1]", "[[1]]", '[["file"]]', '[["file", 420, 4, 1]]'])
@pytest.mark.parametrize("quick", [True, False])
def test_a_listing_that_is_none(store: Store, listing: str, *, quick: bool) -> None:
    def make(into: Path) -> None:
        (into / "file").write_text("good")

    path = store.folder("roots", KEY, make, quick=quick)
    path.with_name(f"{KEY}.json").write_text(listing)
    (path / "file").write_text("evil")
    store.folder("roots", KEY, make, quick=quick)
    assert (path / "file").read_text() == "good"


def test_a_folder_that_could_not_be_made(store: Store) -> None:
    def fail(into: Path) -> None:
        (into / "half").write_text("")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.folder("roots", KEY, fail)
    assert [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_who_comes_second_finds_the_folder_made(store: Store) -> None:
    made = []

    def make(into: Path) -> None:
        made.append(into)
        sleep(0.2)
        (into / "file").write_text("good")

    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: store.folder("roots", KEY, make), range(2)))
    assert paths[0] == paths[1]
    assert len(made) == 1
    assert (paths[0] / "file").read_text() == "good"
    assert left(store) == []


def test_a_place_that_cannot_be_written() -> None:
    with pytest.raises(ReleaseError, match="the store cannot be written") as caught:
        Store(Path("/proc/nowhere")).make_sure_it_can_be_written()
    assert "BUILDONCE_STORE" in caught.value.problems[0].hint


def test_a_store_of_fetched_files_has_nothing_that_was_made_of_them(store: Store, tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(b"data")
    digest = files.sha256_bytes(b"data")
    place = store.add(tmp_path / "download", "a.whl")
    store.folder("compiled", KEY, lambda new: (new / "made").touch())

    fresh = store.fetched_only(store.root / "fresh")

    found = fresh.file(digest, "a.whl")
    assert found is not None
    assert found.samefile(place)
    made: list[Path] = []
    fresh.folder("compiled", KEY, made.append)
    assert made, "what was made before must not be seen"
    (tmp_path / "another").write_bytes(b"more")
    fresh.add(tmp_path / "another", "b.whl")
    assert store.file(files.sha256_bytes(b"more"), "b.whl") is not None

    place.write_bytes(b"rotten")
    assert fresh.file(digest, "a.whl") is None


def test_removing_a_store_leaves_the_files_of_the_other(store: Store, tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(b"data")
    place = store.add(tmp_path / "download", "a.whl")
    fresh = store.fetched_only(store.root / "fresh")
    remove(fresh.root)
    assert not fresh.root.exists()
    assert place.read_bytes() == b"data"
