"""Everything in a store may rot: it is noticed, made again and never used.

The kinds are those that a real store has, so that one that is added is among them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from buildonce.system import files
from tests.integration import levels, rebuilding, varied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Built, Example
    from tests.integration.varied import Place, Stores

ROW: Final = {**varied.ROWS[0], **{name: all_of_it[0] for name, all_of_it in levels.FACTORS.items()}, "umask": "077"}
# What no build reads: what an interrupted download left, the state of apt, logs of failed builds, the tests' own.
NO_ENTRIES: Final = {"parts", "apt", "logs", "test-tools", "test-store"}


@pytest.fixture(scope="module")
def place(orders: Example, stores: Stores) -> Iterator[Place]:
    """A checkout of orders and a store that it was built with, starting from an empty one."""
    with varied.prepared({**ROW, "store": "cold"}, orders.root, stores) as found:
        yield found


@pytest.fixture(scope="module")
def clean(place: Place) -> dict[str, tuple[int, str]]:
    """What came out of the empty store."""
    return rebuilding.listing(Path(place.build()["dir"]))


def test_an_empty_store_gives_the_bytes_of_a_warm_one(clean: dict[str, tuple[int, str]], first: Built) -> None:
    assert rebuilding.differing(rebuilding.listing(first.folder), clean) == []


def change_a_byte(path: Path) -> None:
    """And set the time back: size, mode and modification time are as before."""
    before = path.stat()
    with path.open("r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes([first[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def remove(path: Path) -> None:
    path.unlink()


def change_the_mode(path: Path) -> None:
    path.chmod(path.stat().st_mode ^ 0o111)


DAMAGES: Final[tuple[Callable[[Path], None], ...]] = (change_a_byte, cut, remove, change_the_mode)


def entries(store: Path) -> dict[str, list[Path]]:
    """The finished folders of every kind; every locked file is one of the kind ``files``."""
    found = {
        kind.name: sorted(entry for entry in kind.iterdir() if entry.is_dir())
        for kind in store.iterdir()
        if kind.is_dir() and kind.name not in NO_ENTRIES and kind.name != "files"
    }
    return {**found, "files": sorted((store / "files").glob("*/*"))}


def content(entry: Path) -> dict[str, tuple[int, str]]:
    """Mode and sha256 of every file."""
    return {
        str(path.relative_to(entry)): (path.stat().st_mode & 0o777, files.sha256_file(path))
        for path in entry.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def victim(entry: Path) -> Path:
    """The largest file: one that counts."""
    return max((path for path in entry.rglob("*") if path.is_file() and not path.is_symlink()), key=size)


def size(path: Path) -> tuple[int, str]:
    return path.stat().st_size, path.name


def test_whatever_rots_is_made_again(place: Place, clean: dict[str, tuple[int, str]]) -> None:
    """Every entry at once, so that none can stand in for another; of the locked files, three kinds of them."""
    found = entries(place.store)
    assert {"files", "roots", "buildenv", "compiled", "planted", "oci-layer"} <= found.keys()
    assert all(found.values())
    some = {path.suffix: entry for entry in found["files"] for path in entry.iterdir()}
    found["files"] = [entry for suffix, entry in some.items() if suffix in (".whl", ".deb", ".gz")]
    good = {entry: content(entry) for kind in found.values() for entry in kind}
    for kind, rotten in found.items():
        for number, entry in enumerate(rotten):
            # Bytes alone decide about files; the worst is for what is checked without reading it.
            change_a_byte(victim(entry)) if kind in ("files", "roots") else DAMAGES[number % 4](victim(entry))
            assert content(entry) != good[entry]

    built = place.run("-m", "buildonce", "build", "--json")

    assert built.code == 0, built.stdout + built.stderr
    assert rebuilding.differing(clean, rebuilding.listing(Path(built.data["dir"]))) == []
    assert "the build root of debian-12 was changed since it was made: making it anew" in built.stderr
    for kind, rotten in found.items():
        left = [entry for entry in rotten if entry.is_dir() and content(entry) != good[entry]]
        assert left == [], f"{kind}: not noticed"
