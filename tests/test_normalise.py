from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import os
import random
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import normalise, wheels
from buildonce.errors import VerificationError
from buildonce.system import files

if TYPE_CHECKING:
    from pathlib import Path

EPOCH = 1_700_000_000
INFO = "tiny-1.0.dist-info"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
CONTENT = {
    "tiny/__init__.py": "x = 1\n" * 50,
    "tiny/größe.txt": "ä",
    "tiny/empty.py": "",
    "tiny-1.0.data/scripts/tiny-run": "#!python\nprint(1)\n",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    f"{INFO}/WHEEL": WHEEL,
}
NAME = "tiny-1.0-py3-none-any.whl"


def _record(content: dict[str, str]) -> str:
    def row(path: str) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content[path].encode()).digest()).rstrip(b"=").decode()
        return f"{path},sha256={digest},{len(content[path].encode())}\n"

    return "".join(map(row, content)) + f"{INFO}/RECORD,,\n"


def _write(
    path: Path,
    content: dict[str, str],
    *,
    seed: int = 0,
    mode: int = 0o644,
    level: int = 6,
    folders: bool = False,
) -> Path:
    """A wheel as some backend on some machine may write it."""
    chance = random.Random(seed)
    members = [*content.items(), (f"{INFO}/RECORD", _record(content))]
    chance.shuffle(members)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        if folders:
            archive.mkdir("tiny")
        for name, text in members:
            info = zipfile.ZipInfo(name, (chance.randint(1980, 2040), 5, 6, 7, 8, 10))
            info.external_attr = (stat.S_IFREG | (mode | 0o111 if "scripts" in name else mode)) << 16
            info.compress_type = chance.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
            archive.writestr(info, text)
    return path


def test_wheel_says_what_it_holds(tmp_path: Path) -> None:
    made = normalise.wheel(_write(tmp_path / NAME, CONTENT), tmp_path / "out")
    assert wheels.admit(made).name == "tiny"
    with zipfile.ZipFile(made) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == [
            "tiny-1.0.data/scripts/tiny-run",
            "tiny/__init__.py",
            "tiny/empty.py",
            "tiny/größe.txt",
            f"{INFO}/METADATA",
            f"{INFO}/WHEEL",
            f"{INFO}/RECORD",
        ]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        assert modes["tiny/__init__.py"] == stat.S_IFREG | 0o644
        assert modes["tiny-1.0.data/scripts/tiny-run"] == stat.S_IFREG | 0o755
        assert {name: archive.read(name).decode() for name in CONTENT} == CONTENT
        rows = [row[0] for row in csv.reader(io.StringIO(archive.read(f"{INFO}/RECORD").decode()))]
        assert rows == sorted([*CONTENT, f"{INFO}/RECORD"])
    assert made.stat().st_mode & 0o777 == 0o644


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 999),
    mode=st.sampled_from([0o600, 0o644, 0o666, 0o664]),
    level=st.sampled_from([1, 9]),
    folders=st.booleans(),
    umask=st.sampled_from([0o022, 0o077]),
)
def test_wheel_is_the_same_however_it_was_packed(
    tmp_path_factory: pytest.TempPathFactory, seed: int, mode: int, level: int, folders: bool, umask: int
) -> None:
    folder = tmp_path_factory.mktemp("wheel")
    plain = normalise.wheel(_write(folder / NAME, CONTENT), folder / "plain").read_bytes()
    before = os.umask(umask)
    try:
        packed = _write(folder / "other" / NAME, CONTENT, seed=seed, mode=mode, level=level, folders=folders)
        made = normalise.wheel(packed, folder / "made")
    finally:
        os.umask(before)
    assert made.read_bytes() == plain
    assert normalise.wheel(made, folder / "again").read_bytes() == plain


def test_wheel_of_other_content_is_another(tmp_path: Path) -> None:
    first = normalise.wheel(_write(tmp_path / NAME, CONTENT), tmp_path / "1")
    second = normalise.wheel(_write(tmp_path / NAME, {**CONTENT, "tiny/empty.py": "#"}), tmp_path / "2")
    assert first.read_bytes() != second.read_bytes()


def test_build_tag_is_in_the_name_and_in_the_metadata(tmp_path: Path) -> None:
    made = normalise.wheel(_write(tmp_path / NAME, CONTENT), tmp_path / "out", build_tag="1deb12")
    assert made.name == "tiny-1.0-1deb12-py3-none-any.whl"
    assert wheels.admit(made).version == "1.0"
    with zipfile.ZipFile(made) as archive:
        said = archive.read(f"{INFO}/WHEEL").decode()
    assert said == WHEEL.replace("Tag:", "Build: 1deb12\nTag:")
    again = normalise.wheel(made, tmp_path / "again", build_tag="1deb13")
    assert again.name == "tiny-1.0-1deb13-py3-none-any.whl"
    with zipfile.ZipFile(again) as archive:
        assert archive.read(f"{INFO}/WHEEL").decode() == said.replace("deb12", "deb13")


def test_signature_of_the_old_record_is_dropped(tmp_path: Path) -> None:
    made = normalise.wheel(_write(tmp_path / NAME, {**CONTENT, f"{INFO}/RECORD.jws": "{}"}), tmp_path / "out")
    with zipfile.ZipFile(made) as archive:
        assert f"{INFO}/RECORD.jws" not in archive.namelist()
        assert b"jws" not in archive.read(f"{INFO}/RECORD")


def _with_link(path: Path) -> Path:
    with zipfile.ZipFile(_write(path, CONTENT), "a") as archive:
        info = zipfile.ZipInfo("tiny/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def _with_twin(path: Path) -> Path:
    with zipfile.ZipFile(_write(path, CONTENT), "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("tiny/__init__.py", "x = 2\n")
    return path


def _without_info(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/__init__.py", "x = 2\n")
    return path


def _no_zip(path: Path) -> Path:
    path.write_bytes(b"PK\3\4 and no more")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_with_link, "cannot hold links: tiny/link"),
        (_with_twin, "there twice: tiny/__init__.py"),
        (_without_info, "one .dist-info folder, not 0"),
        (_no_zip, "not a wheel"),
    ],
)
def test_what_is_no_wheel_is_refused(make: object, message: str, tmp_path: Path) -> None:
    assert callable(make)
    with pytest.raises(VerificationError, match=message):
        normalise.wheel(make(tmp_path / NAME), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("name", ["tiny.whl", "tiny-1.0.tar.gz", "a-b-c-d-e-f-g.whl"])
def test_name_that_is_no_wheels(name: str, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="not the name of a wheel"):
        normalise.wheel(_write(tmp_path / name, CONTENT), tmp_path / "out")


SDIST = {
    "tiny-1.0/PKG-INFO": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    "tiny-1.0/src/tiny.py": "x = 1\n",
    "tiny-1.0/src/größe.txt": "ä",
    f"tiny-1.0/{'deep/' * 30}name.txt": "a name of more than 100 characters",
    "tiny-1.0/configure": "#!/bin/sh\n",
}


def _write_sdist(path: Path, *, seed: int, umask: int, form: int) -> Path:
    chance = random.Random(seed)
    members = list(SDIST.items())
    chance.shuffle(members)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", format=form, compresslevel=chance.choice([1, 9])) as archive:
        if chance.random() < 0.5:
            folder = tarfile.TarInfo("tiny-1.0/src")
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o777 & ~umask, chance.randint(0, EPOCH)
            archive.addfile(folder)
        for name, text in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(text.encode()), chance.randint(0, 2 * EPOCH)
            info.mode = (0o777 if name.endswith("configure") else 0o666) & ~umask
            info.uid, info.gid, info.uname, info.gname = chance.randint(0, 9999), 1000, "ada", "staff"
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 999),
    umask=st.sampled_from([0o022, 0o077, 0o002]),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_sdist_is_the_same_however_it_was_packed(
    tmp_path_factory: pytest.TempPathFactory, seed: int, umask: int, form: int
) -> None:
    folder = tmp_path_factory.mktemp("sdist")
    plain = _write_sdist(folder / "tiny-1.0.tar.gz", seed=0, umask=0o022, form=tarfile.PAX_FORMAT)
    expected = normalise.sdist(plain, folder / "plain", epoch=EPOCH)
    before = os.umask(umask)
    try:
        other = _write_sdist(folder / "other" / "tiny-1.0.tar.gz", seed=seed, umask=umask, form=form)
        made = normalise.sdist(other, folder / "made", epoch=EPOCH)
    finally:
        os.umask(before)
    assert made.read_bytes() == expected.read_bytes()
    assert normalise.sdist(made, folder / "again", epoch=EPOCH).read_bytes() == expected.read_bytes()
    assert made.stat().st_mode & 0o777 == 0o644


def test_sdist_is_plain(tmp_path: Path) -> None:
    packed = _write_sdist(tmp_path / "tiny-1.0.tar.gz", seed=1, umask=0o077, form=tarfile.PAX_FORMAT)
    made = normalise.sdist(packed, tmp_path / "out", epoch=EPOCH)
    head = made.read_bytes()[:10]
    assert head[3:8] == b"\0\0\0\0\0", "a gzip header without name and time"
    with tarfile.open(made) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == sorted(SDIST)
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", EPOCH)}
        assert {m.name.split("/")[-1]: m.mode for m in members}["configure"] == 0o755
    assert gzip.decompress(made.read_bytes())


def test_empty_folder_of_an_sdist_stays(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("tiny-1.0/empty")
    folder.type = tarfile.DIRTYPE
    with tarfile.open(tmp_path / "tiny-1.0.tar.gz", "w:gz") as archive:
        archive.addfile(folder)
    with tarfile.open(normalise.sdist(tmp_path / "tiny-1.0.tar.gz", tmp_path / "out", epoch=EPOCH)) as archive:
        assert [m.name for m in archive] == ["tiny-1.0/empty"]


def test_sdist_has_another_time_for_another_commit(tmp_path: Path) -> None:
    packed = _write_sdist(tmp_path / "tiny-1.0.tar.gz", seed=1, umask=0o022, form=tarfile.PAX_FORMAT)
    first = normalise.sdist(packed, tmp_path / "1", epoch=EPOCH)
    second = normalise.sdist(packed, tmp_path / "2", epoch=EPOCH + 60)
    assert files.sha256_file(first) != files.sha256_file(second)


def test_zip_is_no_sdist_of_ours(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tiny-1.0.zip", "w") as archive:
        archive.writestr("tiny-1.0/PKG-INFO", "")
    with pytest.raises(VerificationError, match=r"\.tar\.gz"):
        normalise.sdist(tmp_path / "tiny-1.0.zip", tmp_path / "out", epoch=EPOCH)
