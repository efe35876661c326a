"""Unpacking: the same tree for every caller, dpkg's rules for two owners, nothing outside."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from buildonce.buildroot.unpack import _Root, unpack
from buildonce.debs import deb
from buildonce.errors import BuildError, VerificationError
from buildonce.system.archive import EPOCH
from buildonce.system.console import SilentProgress
from tests.debs import making

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Progress(SilentProgress):
    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def advance(self, detail: str, done: int, total: int) -> None:
        self.seen.append((done, total))


@pytest.fixture(params=[0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _made(tmp_path: Path, *packages: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o755)
    unpack(packages, root, SilentProgress())
    return root


def _modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.lstat().st_mode & 0o7777 for path in sorted(root.rglob("*"))}


def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    package = making.make(
        tmp_path / "a.deb",
        [
            making.folder("./usr/", 0o700),
            making.folder("./usr/local/", 0o2775),
            making.file("./usr/bin/su", b"su", 0o6755),
            making.file("./etc/shadow", b"s", 0o000),
            making.file("./etc/secret", b"s", 0o440),
            making.file("./etc/open", b"s", 0o666),
            making.link("./usr/bin/link", "su"),
        ],
    )
    root = _made(tmp_path, package)
    os.umask(0o022)
    folders = ("etc", "usr", "usr/bin", "usr/lib", "usr/lib64", "usr/local", "usr/sbin")
    links = ("bin", "lib", "lib64", "sbin", "usr/bin/link")
    files = {"usr/bin/su": 0o755, "etc/shadow": 0o600, "etc/secret": 0o640, "etc/open": 0o644}
    assert _modes(root) == dict.fromkeys(folders, 0o755) | dict.fromkeys(links, 0o777) | files
    assert {(root / name).stat().st_mtime for name in files} == {EPOCH}


def test_usr_is_merged_and_hardlinks_stay_one_file(tmp_path: Path) -> None:
    package = making.make(
        tmp_path / "a.deb",
        [
            making.file("./lib/x86/libc.so.6", b"c"),
            making.link("./lib64/ld.so", "../lib/x86/ld.so"),
            making.file("./bin/perl", b"perl", 0o755),
            making.hardlink("./usr/bin/perl5", "./bin/perl"),
        ],
    )
    base = making.make(tmp_path / "base.deb", [making.link("./lib", "usr/lib"), making.link("./bin", "usr/bin")])
    root = _made(tmp_path, package, base)
    assert {name: str((root / name).readlink()) for name in ("bin", "lib", "lib64", "sbin")} == {
        name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")
    }
    assert (root / "lib/x86/libc.so.6").read_bytes() == b"c"
    assert (root / "usr/lib64/ld.so").is_symlink()
    assert (root / "usr/bin/perl").samefile(root / "usr/bin/perl5")


def test_texts_for_people_are_left_out_but_stay_listed(tmp_path: Path) -> None:
    names = (
        "usr/share/man/man1/a.1.gz",
        "usr/share/doc/a/copyright",
        "usr/share/mandoc",
        "usr/share/info.txt",
    )
    package = making.make(tmp_path / "a.deb", [making.file(f"./{name}", b"x") for name in names])
    root = tmp_path / "root"
    root.mkdir()
    ((_, paths),) = unpack([package], root, SilentProgress())
    assert tuple(paths) == names
    assert [name for name in names if (root / name).exists()] == ["usr/share/mandoc", "usr/share/info.txt"]


def _owners(tmp_path: Path, older: dict[str, str], newer: dict[str, str], *, swap: bool) -> Path:
    large = os.urandom(200_000 if swap else 10)  # larger packages begin first
    small = os.urandom(10 if swap else 200_000)
    one = making.make(tmp_path / "one.deb", [making.file("./etc/f", b"one"), making.file("./x", large)], fields=older)
    two = making.make(tmp_path / "two.deb", [making.file("./etc/f", b"two"), making.file("./y", small)], fields=newer)
    return _made(tmp_path, one, two)


@pytest.mark.parametrize("swap", [False, True])
def test_replaces_decides_whichever_comes_first(tmp_path: Path, swap: bool) -> None:
    root = _owners(tmp_path, {}, {"Replaces": "zero, one (<< 2)"}, swap=swap)
    assert (root / "etc/f").read_bytes() == b"two"


def test_replaces_decides_when_the_replaced_file_is_written_last(tmp_path: Path) -> None:
    one = deb.read(making.make(tmp_path / "one.deb"))
    two = making.make(tmp_path / "two.deb", [making.file("./f", b"two")], fields={"Replaces": "one"})
    root = _Root(tmp_path)
    assert root._claim("f", one)
    root.lay(two)  # another thread, while the first has not created its file yet
    root._write(deb.Member(path="f"), io.BytesIO(b"one"), one)
    assert (tmp_path / "f").read_bytes() == b"two"


@pytest.mark.parametrize("swap", [False, True])
def test_two_owners_are_an_error(tmp_path: Path, swap: bool) -> None:
    with pytest.raises(BuildError, match="the OS packages one and two both own /etc/f"):
        _owners(tmp_path, {}, {}, swap=swap)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (making.link("./srv/x", "/etc"), making.file("./srv/x/y", b"")),
        (making.file("./srv/x", b""), making.file("./srv/x/y", b"")),
        (making.file("./srv/x", b""), making.folder("./srv/x/")),
    ],
)
def test_nothing_is_written_through_another_package_s_link(
    tmp_path: Path, first: making.Member, second: making.Member
) -> None:
    one, two = (making.make(tmp_path / f"{n}.deb", [m]) for n, m in (("one", first), ("two", second)))
    with pytest.raises(BuildError, match="disagree on /srv/x"):
        _made(tmp_path, one, two)


def test_progress_counts_all_bytes(tmp_path: Path) -> None:
    packages = [making.make(tmp_path / f"{n}.deb", [making.file(f"./{n}", os.urandom(n * 100))]) for n in range(1, 6)]
    progress = _Progress()
    (tmp_path / "root").mkdir()
    unpack(packages, tmp_path / "root", progress)
    total = sum(path.stat().st_size for path in packages)
    assert [done for done, _ in progress.seen] == sorted(done for done, _ in progress.seen)
    assert progress.seen[-1] == (total, total)


def test_a_broken_package_is_named(tmp_path: Path) -> None:
    good = making.make(tmp_path / "good.deb", [making.file("./a", os.urandom(5000))])
    data = bytearray(making.make(tmp_path / "bad.deb", [making.file("./b", os.urandom(50000))]).read_bytes())
    data[-20000] ^= 0xFF
    (tmp_path / "bad.deb").write_bytes(data)
    with pytest.raises(VerificationError, match=r"bad\.deb is not a sound Debian package"):
        _made(tmp_path, good, tmp_path / "bad.deb")
