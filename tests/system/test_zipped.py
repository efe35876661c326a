from __future__ import annotations

import hashlib
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce.errors import BuildError
from buildonce.system import zipped
from buildonce.system.archive import Member

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\"), min_size=1, max_size=20)


@settings(deadline=None, max_examples=50)
@given(content=st.dictionaries(NAMES, st.binary(max_size=5000), max_size=8), mode=st.sampled_from([0o644, 0o755]))
def test_other_readers_find_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes], mode: int
) -> None:
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    zipped.write_deflated_zip(path, [Member(path=name, source=data, mode=mode) for name, data in content.items()])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == content
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())
        assert all(info.external_attr >> 16 == 0o100000 | mode for info in archive.infolist())
        assert all(info.extra == b"" and info.comment == b"" for info in archive.infolist())


def test_order_is_kept_and_what_does_not_shrink_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    zipped.write_deflated_zip(
        path, [Member(path="b", source=b"a" * 999), Member(path="a", source=b"\0"), Member(path="c")]
    )
    with zipfile.ZipFile(path) as archive:
        assert [(i.filename, i.compress_type) for i in archive.infolist()] == [("b", 8), ("a", 0), ("c", 0)]
    assert path.stat().st_mode & 0o777 == 0o644


def test_unzip_agrees(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    zipped.write_deflated_zip(path, [Member(path="dir/größe.txt", source=b"text " * 100, mode=0o755)])
    subprocess.run(["python3", "-m", "zipfile", "-t", str(path)], check=True, capture_output=True)


def test_bytes_are_known(tmp_path: Path) -> None:
    """Another digest is another artifact for everybody: compile._RECIPE has to change with it."""
    path = tmp_path / "a.zip"
    zipped.write_deflated_zip(path, [Member(path="a.py", source=b"".join(b"x = %d\n" % n for n in range(5000)))])
    assert (
        hashlib.sha256(path.read_bytes()).hexdigest()
        == "b081d8ba2a1d83e83f84a05d6e0f9fb22883ac14dcbbdf46629b894fb279c757"
    )


def test_too_large_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "_LIMIT", 1000)
    with pytest.raises(BuildError, match="too large"):
        zipped.write_deflated_zip(tmp_path / "a.zip", [Member(path="a", source=bytes(1001))])
    assert list(tmp_path.iterdir()) == []
