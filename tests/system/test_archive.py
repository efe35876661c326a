"""Archives: the same bytes from the same members, whatever the machine says about the files."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

from buildonce.system.archive import EPOCH, Member, write_tar

if TYPE_CHECKING:
    from pathlib import Path

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
