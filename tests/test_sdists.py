from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import sdists
from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from pathlib import Path


def _tar(path: Path, *members: tuple[str, dict[str, Any]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, facts in members:
            info = tarfile.TarInfo(name)
            data = facts.pop("data", b"")
            info.size = len(data)
            for key, value in facts.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def _zip(path: Path, *members: tuple[str, int, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, mode, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


LINK, HARD, FOLDER, DEVICE, PIPE = (
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.DIRTYPE,
    tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
)


@pytest.mark.parametrize(
    ("name", "facts", "message"),
    [
        ("/etc/cron.d/x", {}, "leads outside"),
        ("a-1/../../x", {}, "leads outside"),
        ("..", {"type": FOLDER}, "leads outside"),
        ("a-1/x\\y", {}, "leads outside"),
        ("a-1/link", {"type": LINK, "linkname": "/etc/passwd"}, "a link that leads outside"),
        ("a-1/link", {"type": LINK, "linkname": "../../etc"}, "a link that leads outside"),
        ("a-1/link", {"type": LINK, "linkname": ".."}, "a link that leads outside"),
        ("a-1/hard", {"type": HARD, "linkname": "/etc/passwd"}, "hard link"),
        ("a-1/hard", {"type": HARD, "linkname": "a-1/nothing"}, "hard link"),
        ("a-1/null", {"type": DEVICE}, "a device"),
        ("a-1/pipe", {"type": PIPE}, "a device"),
        ("a-1/setup.py", {"data": b"second"}, "one path twice"),
        ("a-1/setup.py/x", {}, "one path twice"),
        ("b-1/setup.py", {}, "one folder at its top, not 2"),
    ],
)
def test_hostile_tar_is_refused(name: str, facts: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = _tar(tmp_path / "a-1.tar.gz", ("a-1/setup.py", {"data": b"first"}), (name, dict(facts)))
    with pytest.raises(VerificationError, match=message) as caught:
        sdists.unpack(path, tmp_path / "into" / "deep")
    assert caught.value.problems[0].where == "a-1.tar.gz"
    assert {p.name for p in tmp_path.iterdir()} <= {"a-1.tar.gz", "into"}
    assert [p.name for p in (tmp_path / "into").iterdir()] == ["deep"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """A link, and then a file "in" it: the file gets a folder of its own, the link finds its place taken."""
    (tmp_path / "into").mkdir()
    path = _tar(
        tmp_path / "a-1.tar.gz",
        ("a-1/real/keep", {"data": b"1"}),
        ("a-1/link", {"type": LINK, "linkname": "real"}),
        ("a-1/link/keep", {"data": b"2"}),
    )
    with pytest.raises(VerificationError):
        sdists.unpack(path, tmp_path / "into" / "x")
    assert (tmp_path / "into/x/a-1/real/keep").read_bytes() == b"1"


@pytest.mark.parametrize(
    "links",
    [
        [("here", "."), ("out", "here/..")],
        [("out", "here/.."), ("here", ".")],
        [("here", "."), ("again", "."), ("out", "here/again/../..")],
        [("here", "."), ("here/out", "..")],
        [("out", "here/.."), ("here", "."), ("out/x", "y")],
        [("one", "two"), ("two", "one"), ("one/x", "y")],
    ],
)
def test_links_that_lead_outside_together(links: list[tuple[str, str]], tmp_path: Path) -> None:
    members = [(f"a-1/{name}", {"type": LINK, "linkname": link}) for name, link in links]
    path = _tar(tmp_path / "a-1.tar.gz", ("a-1/setup.py", {"data": b"first"}), *members)
    with pytest.raises(VerificationError, match="a link that leads outside"):
        sdists.unpack(path, tmp_path / "into")
    assert {p.name for p in tmp_path.iterdir()} == {"a-1.tar.gz", "into"}


@pytest.mark.parametrize("name", ["/abs", "../x", "a-1\\x"])
def test_hostile_zip_is_refused(name: str, tmp_path: Path) -> None:
    path = _zip(tmp_path / "a-1.zip", (name, 0o644, b""))
    with pytest.raises(VerificationError, match="leads outside"):
        sdists.unpack(path, tmp_path / "into")


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a-1.zip", ("a-1/link", stat.S_IFLNK | 0o777, b"/etc"))
    with pytest.raises(VerificationError, match="a link or a device"):
        sdists.unpack(path, tmp_path / "into")


@pytest.mark.parametrize("name", ["a-1.tar.gz", "a-1.zip"])
def test_what_is_no_archive(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(VerificationError, match="cannot be read"):
        sdists.unpack(tmp_path / name, tmp_path / "into")


def test_truncated_archive(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a-1.tar.gz", ("a-1/data", {"data": os.urandom(100_000)}))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(VerificationError, match="cannot be read"):
        sdists.unpack(path, tmp_path / "into")


def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdists, "_MOST_BYTES", 1000)
    path = _tar(tmp_path / "a-1.tar.gz", ("a-1/bomb", {"data": bytes(1001)}))
    with pytest.raises(VerificationError, match="is larger than"):
        sdists.unpack(path, tmp_path / "into")


def test_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdists, "_MOST_ITEMS", 2)
    path = _tar(tmp_path / "a-1.tar.gz", *((f"a-1/{n}", {}) for n in range(3)))
    with pytest.raises(VerificationError, match="is larger than 2 members"):
        sdists.unpack(path, tmp_path / "into")


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_good_tar_is_unpacked_with_plain_modes(umask: int, tmp_path: Path) -> None:
    path = _tar(
        tmp_path / "a-1.tar.gz",
        ("./a-1/", {"type": FOLDER, "mode": 0o700}),
        ("./a-1/setup.py", {"data": b"first", "mode": 0o600}),
        ("a-1/configure", {"data": b"run", "mode": 0o4775}),
        ("a-1/doc/link", {"type": LINK, "linkname": "../setup.py"}),
        ("a-1/hard", {"type": HARD, "linkname": "a-1/configure", "mode": 0o775}),
    )
    before = os.umask(umask)
    try:
        top = sdists.unpack(path, tmp_path / "into")
    finally:
        os.umask(before)
    modes = {
        p.relative_to(top).as_posix(): oct(p.lstat().st_mode & 0o7777) for p in top.rglob("*") if not p.is_symlink()
    }
    assert modes == {"setup.py": "0o644", "configure": "0o755", "doc": "0o755", "hard": "0o755"}
    assert (top / "doc/link").read_bytes() == b"first"
    assert (top / "hard").read_bytes() == b"run"
    assert top.stat().st_mode & 0o777 == 0o755


def test_good_zip(tmp_path: Path) -> None:
    path = _zip(
        tmp_path / "a-1.zip",
        ("a-1/", 0o40755, b""),
        ("a-1/setup.py", 0, b"one"),
        ("a-1/run", 0o100755, b"two"),
    )
    top = sdists.unpack(path, tmp_path / "into")
    assert top.name == "a-1"
    assert (top / "setup.py").read_bytes() == b"one"
    assert (top / "run").stat().st_mode & 0o777 == 0o755
