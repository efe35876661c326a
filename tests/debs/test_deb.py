"""What the reader of packages lets through, and what it refuses."""

from __future__ import annotations

import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from buildonce.debs import deb
from buildonce.debs.deb import Member
from buildonce.errors import VerificationError
from tests.debs import making

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("suffix", making.COMPRESSORS)
def test_every_compression_gives_fields_controls_and_members(tmp_path: Path, suffix: str) -> None:
    data = bytes(range(256)) * 5000  # more than one read of every buffer in between
    members = [
        making.folder("./"),
        making.folder("./usr/"),
        making.folder("./usr/bin/"),
        making.file("./usr/bin/tool", data, 0o4755),
        making.hardlink("./usr/bin/same", "./usr/bin/tool"),
        making.link("./usr/bin/other", "../bin/tool"),
    ]
    path = making.make(
        tmp_path / "tool_1.0.deb",
        members,
        fields={"Depends": "libc6 (>= 2.36),\n libz1", "Multi-Arch": "same"},
        controls={"md5sums": b"0  usr/bin/tool\n"},
        suffix=suffix,
    )
    read = deb.read(path)
    assert (read.name, read.version, read.architecture) == ("tool", "1.0-1", "amd64")
    assert read.fields["Depends"] == "libc6 (>= 2.36),\n libz1"
    assert read.controls["md5sums"] == b"0  usr/bin/tool\n"
    assert [(member, stream.read()) for member, stream in read.members()] == [
        (Member(path="usr", kind="folder", mode=0o755), b""),
        (Member(path="usr/bin", kind="folder", mode=0o755), b""),
        (Member(path="usr/bin/tool", mode=0o4755, size=len(data)), data),
        (Member(path="usr/bin/same", kind="hardlink", link="usr/bin/tool"), b""),
        (Member(path="usr/bin/other", kind="link", mode=0o777, link="../bin/tool"), b""),
    ]


@pytest.mark.parametrize("compressor", ["xz", "gzip", "zstd", "none"])
def test_reads_what_dpkg_deb_writes(tmp_path: Path, compressor: str) -> None:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: probe\nVersion: 1:2.3~rc1-1\nArchitecture: all\n"
        "Maintainer: A <a@example.org>\nDescription: x\n long\n"
    )
    deep = "opt/" + "d" * 60 + "/" + "e" * 60  # more than a tar header holds
    (tree / deep).mkdir(parents=True)
    (tree / deep / "ünïcode").write_bytes(b"1" * 70000)
    (tree / deep / "link").symlink_to("ünïcode")
    command = [
        "dpkg-deb",
        "--root-owner-group",
        f"-Z{compressor}",
        "-b",
        str(tree),
        str(tmp_path / "probe.deb"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    read = deb.read(tmp_path / "probe.deb")
    assert read.version == "1:2.3~rc1-1"
    assert read.fields["Description"] == "x\n long"
    found = {member.path: (member.kind, len(stream.read()), member.link) for member, stream in read.members()}
    assert found[f"{deep}/ünïcode"] == ("file", 70000, "")
    assert found[f"{deep}/link"] == ("link", 0, "ünïcode")
    listing = subprocess.run(["dpkg-deb", "-c", tmp_path / "probe.deb"], check=True, capture_output=True, text=True)
    assert len(listing.stdout.splitlines()) == len(found) + 1  # "./" itself


HOSTILE = {
    "an absolute path": [making.file("/etc/passwd")],
    "a path that climbs": [making.file("./usr/../../etc/passwd")],
    "a path that climbs inside": [making.file("./usr/../etc/passwd")],
    "a path with an empty part": [making.file("./usr//x")],
    "a hardlink that climbs": [making.hardlink("./usr/x", "../../etc/passwd")],
    "a hardlink that is absolute": [making.hardlink("./usr/x", "/etc/passwd")],
    "a file through a link": [making.link("./usr", "/tmp"), making.file("./usr/x")],
    "a folder through a link": [making.link("./a/b", "/tmp"), making.folder("./a/b/c/")],
    "a device": [making.member("./dev/sda", tarfile.BLKTYPE)],
    "a pipe": [making.member("./run/pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_hostile_members_are_refused(tmp_path: Path, members: list[making.Member]) -> None:
    read = deb.read(making.make(tmp_path / "bad.deb", members))
    with pytest.raises(VerificationError, match=r"bad\.deb is not a sound Debian package"):
        list(read.members())


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = making.make(tmp_path / "big.deb", [making.file("./a", b"12345"), making.file("./b", b"12345")])
    monkeypatch.setattr(deb, "_MOST_BYTES", 9)
    with pytest.raises(VerificationError, match="more than a package can"):
        list(deb.read(path).members())
    monkeypatch.setattr(deb, "_MOST_BYTES", 10)
    monkeypatch.setattr(deb, "_MOST_MEMBERS", 1)
    with pytest.raises(VerificationError, match="more than a package can"):
        list(deb.read(path).members())
    monkeypatch.setattr(deb, "_MOST_CONTROL_BYTES", 9)
    with pytest.raises(VerificationError, match="control file"):
        deb.read(path)


@pytest.mark.parametrize("suffix", making.COMPRESSORS)
def test_cut_and_broken_files_are_refused(tmp_path: Path, suffix: str) -> None:
    whole = making.make(
        tmp_path / "whole.deb", [making.file("./a", bytes(range(256)) * 400)], suffix=suffix
    ).read_bytes()
    path = tmp_path / "cut.deb"
    for keep in (0, 7, 8, 40, 100, len(whole) // 2, len(whole) - 700):
        path.write_bytes(whole[:keep])
        with pytest.raises(VerificationError, match=r"cut\.deb"):
            [stream.read() for _, stream in deb.read(path).members()]


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    path = making.make(tmp_path / "x.deb", fields={"Version": ""})
    with pytest.raises(VerificationError, match="Package, Version and Architecture"):
        deb.read(path)
    path.write_bytes(path.read_bytes().replace(b"control.tar.xz ", b"control.tar.lz4"))
    with pytest.raises(VerificationError, match="not known"):
        deb.read(path)
    path.write_bytes(path.read_bytes().replace(b"control.tar.lz4", b"something      "))
    with pytest.raises(VerificationError, match=r"no control\.tar"):
        deb.read(path)


def test_merge_moves_into_usr() -> None:
    moved = {
        "lib/x86_64-linux-gnu/libc.so.6": "usr/lib/x86_64-linux-gnu/libc.so.6",
        "lib64/ld-linux-x86-64.so.2": "usr/lib64/ld-linux-x86-64.so.2",
        "bin/sh": "usr/bin/sh",
        "sbin/ldconfig": "usr/sbin/ldconfig",
        "library/x": "library/x",
        "usr/lib/x": "usr/lib/x",
        "etc/lib/x": "etc/lib/x",
    }
    for before, after in moved.items():
        assert deb.merge(Member(path=before)) == Member(path=after)
    assert deb.merge(Member(path="lib", kind="folder")) == Member(path="usr/lib", kind="folder")
    assert deb.merge(Member(path="lib", kind="link", link="usr/lib")) is None
    kept = Member(path="bin/sh", kind="link", link="dash")
    assert deb.merge(kept) == Member(path="usr/bin/sh", kind="link", link="dash")
    hard = Member(path="bin/b", kind="hardlink", link="bin/a")
    assert deb.merge(hard) == Member(path="usr/bin/b", kind="hardlink", link="usr/bin/a")
