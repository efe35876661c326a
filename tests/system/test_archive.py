"""Archives: the same bytes from the same members, whatever the machine says about the files."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from buildonce.system.archive import EPOCH, Member, Part, pack, unpack, write_tar

LONG = "a" * 90 + "/" + "ü" * 60 + "/file"


def members(root: Path) -> list[Member]:
    root.mkdir(exist_ok=True)
    (root / "data").write_bytes(b"data")
    return [
        Member(path="b", source=root / "data", mode=0o755, owner=65532),
        Member(path="a/", mode=0o700),
        Member(path="a/link", link="../b"),
        Member(path=LONG, source=b"long"),
    ]


def tar(found: list[Member]) -> bytes:
    out = io.BytesIO()
    write_tar(out, found)
    return out.getvalue()


def test_a_tar_says_what_it_was_told(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar(members(tmp_path)))) as archive:
        found = {info.name: info for info in archive}
        assert list(found) == ["a", "a/link", LONG, "b"]
        assert (found["b"].mode, found["b"].uid, found["b"].gid, found["b"].size) == (0o755, 65532, 65532, 4)
        assert (found["a"].isdir(), found["a"].mode) == (True, 0o700)
        assert found["a/link"].linkname == "../b"
        assert {(info.mtime, info.uname, info.gname) for info in found.values()} == {(EPOCH, "", "")}


def test_the_same_tar_from_other_files(tmp_path: Path) -> None:
    one = tar(members(tmp_path / "one"))
    other = members(tmp_path / "other")
    (tmp_path / "other/data").chmod(0o600)
    os.utime(tmp_path / "other/data", (1, 1))
    assert tar(other[::-1]) == one


def test_other_programs_read_the_tar(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(members(tmp_path / "x")))
    done = subprocess.run(["tar", "tf", tmp_path / "a.tar"], check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 4


def _tar(*members: tuple[str, bytes, str]) -> io.BytesIO:
    """A tar of (name, type, where a link leads), as a hostile machine may send it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o6777
            tar.addfile(info)
    made.seek(0)
    return made


TOP = ("0", tarfile.DIRTYPE, "")


@pytest.mark.parametrize(
    "members",
    [
        (TOP, ("0/../evil", tarfile.REGTYPE, "")),
        (TOP, ("0/absent/evil", tarfile.REGTYPE, "")),
        (TOP, ("0/link", tarfile.SYMTYPE, "{outside}"), ("0/link/evil", tarfile.REGTYPE, "")),
        (TOP, ("0/link", tarfile.SYMTYPE, "{outside}/evil"), ("0/link", tarfile.REGTYPE, "")),
        (TOP, ("0/link", tarfile.SYMTYPE, "{outside}/kept"), ("0/hard", tarfile.LNKTYPE, "0/link")),
        (TOP, ("0/hard", tarfile.LNKTYPE, "../outside/kept")),
        (TOP, ("0/file", tarfile.REGTYPE, ""), ("0/file/evil", tarfile.REGTYPE, "")),
    ],
)
def test_unpack_writes_nothing_elsewhere(tmp_path: Path, members: tuple[tuple[str, bytes, str], ...]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine")
    with pytest.raises((tarfile.TarError, OSError)):
        unpack(_tar(*((name, kind, link.format(outside=outside)) for name, kind, link in members)), tmp_path / "into")
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").stat().st_nlink == 1
    assert not (tmp_path / "evil").exists()


def test_unpack_makes_no_device_and_no_setuid(tmp_path: Path) -> None:
    members = (
        TOP,
        ("0/device", tarfile.CHRTYPE, ""),
        ("0/pipe", tarfile.FIFOTYPE, ""),
        ("0/file", tarfile.REGTYPE, ""),
    )
    unpack(_tar(*members), tmp_path / "into")
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["file"]
    assert stat.S_IMODE((tmp_path / "into/file").stat().st_mode) == 0o777


def test_pack_gives_equal_bytes_for_equal_trees_and_unpack_gives_them_back(tmp_path: Path) -> None:
    packed: list[bytes] = []
    for name in ("one", "two"):
        root = tmp_path / name
        (root / "b/deep").mkdir(parents=True)
        (root / "b/file").write_bytes(b"x" * 3000)
        (root / "a").hardlink_to(root / "b/file")
        (root / "link").symlink_to("/absent")
        os.utime(root / "b", (len(packed), len(packed)))
        out = io.BytesIO()
        pack(out, {"0": root}, mtime=EPOCH)
        packed.append(out.getvalue())
    assert packed[0] == packed[1]
    unpack(io.BytesIO(packed[0]), tmp_path / "back")
    back = tmp_path / "back"
    assert sorted(str(path.relative_to(back)) for path in back.rglob("*")) == ["a", "b", "b/deep", "b/file", "link"]
    assert (back / "a").samefile(back / "b/file")
    assert (back / "link").readlink() == Path("/absent")
    assert (back / "b").stat().st_mtime == EPOCH


def test_a_part_of_another_file_is_packed_as_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "all").write_bytes(b"before" + b"inside" * 40_000 + b"after")
    part = Part(path=tmp_path / "all", start=6, size=240_000)
    packed = tar([Member(path="part", source=part)])
    assert packed == tar([Member(path="part", source=b"inside" * 40_000)])
