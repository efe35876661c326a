"""Two files that should be the same: what kind of difference it is, where it is, and what shows it."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from buildonce.difference import blob
from tests.difference.making import FILES, ar, difference, differing, image, tar, wheel, zipped

APP = "shop/app.py"
TIME, LATER = 1_700_000_000, 1_700_003_600


def changed(path: str, old: bytes, new: bytes) -> dict[str, bytes]:
    assert old in FILES[path]
    return {**FILES, path: FILES[path].replace(old, new)}


def zst(data: bytes, level: int = 3) -> bytes:
    return zstandard.ZstdCompressor(level=level).compress(data)


@pytest.mark.parametrize("data", [zipped(), tar(), gzip.compress(tar()), b"", b"text", b"\0\1"])
def test_the_same_bytes_are_no_difference(data: bytes, tmp_path: Path) -> None:
    assert difference(tmp_path, data, data) is None


def test_the_first_file_that_differs_is_shown_and_the_others_are_named(tmp_path: Path) -> None:
    files = {**changed(APP, b"open", b"shut"), "shop/data.txt": b"closed\n", "shop/new.py": b""}

    found = differing(tmp_path, wheel(), wheel(files))

    assert (found.verdict, found.member) == ("content", APP)
    assert found.lines == ("@@ line 2 @@", "-    print('open')", "+    print('shut')")
    assert found.causes == ("unknown",)
    assert "diffoscope" in found.hint
    assert set(found.further) == {"shop/data.txt", "shop/new.py", "shop-1.0.dist-info/RECORD"}
    assert found.more == 0


def test_of_many_the_first_twenty_are_named(tmp_path: Path) -> None:
    one, two = ({f"shop/{i:03}.py": f"x = {name}\n".encode() for i in range(100)} for name in "ab")
    found = differing(tmp_path, wheel(one), wheel(two))
    assert (found.member, len(found.further), found.more) == ("shop/000.py", 20, 79)


@pytest.mark.parametrize(
    ("expected", "found", "cause", "line"),
    [
        (zipped(), zipped(time=(2024, 2, 3, 4, 5, 6)), "timestamp", "time: 1980-01-01 00:00:00 → 2024-02-03 04:05:06"),
        (zipped(), zipped(mode=0o600), "umask", "mode: 0644 → 0600"),
        (zipped(), zipped(dict(reversed(FILES.items()))), "order", "order: the same 3 members"),
        (zipped(), zipped(level=1), "compressor", "compressor: the deflated bytes differ"),
        (zipped(), zipped(method=zipfile.ZIP_STORED), "compressor", "compressor: deflated → stored"),
        (zipped(), zipped(system=0), "compressor", "archiver: system 3"),
        (zipped(), zipped(extra=struct.pack("<2HI", 0x9999, 4, 1)), "compressor", "archiver: system 3"),
        (tar(mtime=TIME), tar(mtime=LATER), "timestamp", "time: 2023-11-14 22:13:20 → 2023-11-14 23:13:20"),
        (tar(mtime=TIME), tar(mtime=TIME + 0.25), "timestamp", "time: 2023-11-14 22:13:20 → 2023-11-14 22:13:20 ("),
        (tar(mode=0o664), tar(mode=0o644), "umask", "mode: 0664 → 0644"),
        (tar(uid=0), tar(uid=1000), "user", "owner: 0:0 : → 1000:0 :"),
        (tar(uname="root"), tar(uname="ada"), "user", "owner: 0:0 root: → 0:0 ada:"),
        (tar(), tar(dict(reversed(FILES.items()))), "order", "order: the same 3 members"),
        (gzip.compress(tar(), mtime=TIME), gzip.compress(tar(), mtime=LATER), "timestamp", "time: 2023-11-14 22:13"),
        (gzip.compress(tar(), 1, mtime=0), gzip.compress(tar(), 9, mtime=0), "compressor", "compressor: gzip, level"),
        (gzip.compress(tar(), mtime=0), lzma.compress(tar()), "compressor", "compressor: gzip, "),
        (zst(tar()), zst(tar(), 19), "compressor", "compressor: "),
        (lzma.compress(tar()), lzma.compress(tar(), preset=1), "compressor", "compressor: the compressed bytes"),
        (ar({"x": b"1"}, time=TIME), ar({"x": b"1"}, time=LATER), "timestamp", "time: 2023-11-14 22:13:20"),
        (
            ar({"data.tar.xz": lzma.compress(tar())}),
            ar({"data.tar.zst": zst(tar())}),
            "compressor",
            "compressor: xz → zstd",
        ),
    ],
)
def test_only_the_container_differs(expected: bytes, found: bytes, cause: str, line: str, tmp_path: Path) -> None:
    made = differing(tmp_path, expected, found)
    assert (made.verdict, made.causes) == ("container-only", (cause,))
    assert made.lines[0].startswith(line)


def test_all_that_a_container_says_differently_is_told(tmp_path: Path) -> None:
    backwards = dict(reversed(FILES.items()))
    made = differing(tmp_path, zipped(), zipped(backwards, mode=0o600, time=(2024, 1, 1, 1, 1, 2)))
    assert made.causes == ("timestamp", "umask", "order")
    assert [line.split(":")[0] for line in made.lines] == [
        "time", "and time of 2 more members", "mode", "and mode of 2 more members", "order",
    ]  # fmt: skip


@pytest.mark.parametrize("archive", [zipped, tar])
@pytest.mark.parametrize(("mode", "found"), [(0o644, 0o755), (0o755, 0o4755)])
def test_a_mode_that_makes_another_program_is_content(archive: Any, mode: int, found: int, tmp_path: Path) -> None:
    made = differing(tmp_path, archive(mode=mode), archive(mode=found))
    assert (made.verdict, made.member) == ("content", "shop/__init__.py")
    assert made.lines[0].startswith(f"mode {mode:04o} → {found:04o}")


def test_another_link_is_content(tmp_path: Path) -> None:
    one, two = (tar(links={"current": f"/home/{who}/shop"}) for who in ("ada", "eve"))
    made = differing(tmp_path, one, two)
    assert (made.verdict, made.member, made.causes) == ("content", "current", ("path",))
    assert made.lines == ("-link to /home/ada/shop", "+link to /home/eve/shop")


def test_bytes_between_members_are_of_the_container(tmp_path: Path) -> None:
    made = differing(tmp_path, tar(), tar() + bytes(512))
    assert (made.verdict, made.causes) == ("container-only", ("unknown",))
    assert "other bytes are not" in made.lines[0]


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        ("shop-1.0.dist-info/WHEEL", "metadata-only"),
        ("shop-1.0.dist-info/METADATA", "metadata-only"),
        ("shop-1.0.dist-info/RECORD", "metadata-only"),
        ("shop-1.0.dist-info/direct_url.json", "metadata-only"),
        ("shop-1.0.dist-info/entry_points.txt", "content"),
        ("shop-1.0/PKG-INFO", "metadata-only"),
        ("PEX-INFO", "metadata-only"),
        ("usr/share/doc/shop/changelog.gz", "metadata-only"),
        ("shop/__pycache__/app.cpython-311.pyc", "bytecode-only"),
        ("shop/RECORD", "content"),
        ("shop/control", "content"),
    ],
)
def test_what_is_said_about_files_and_bytecode_weigh_less(path: str, verdict: str, tmp_path: Path) -> None:
    one, two = (zipped({**FILES, path: text.encode()}) for text in ("one", "two"))
    assert differing(tmp_path, one, two).verdict == verdict
    assert differing(tmp_path, one, zipped(FILES)).verdict == verdict


def test_a_record_that_only_follows_is_no_difference_of_its_own(tmp_path: Path) -> None:
    pyc = "shop/app.pyc"
    one, two = (wheel({**FILES, pyc: bytes(16) + name}) for name in (b"one", b"two, longer"))
    made = differing(tmp_path, one, two)
    assert (made.verdict, made.member, made.further) == ("bytecode-only", pyc, ())


def test_a_record_that_lies_is_one(tmp_path: Path) -> None:
    record = "shop-1.0.dist-info/RECORD"
    made = differing(
        tmp_path,
        zipped({**FILES, record: b"shop/app.py,sha256=abc,1\n"}),
        zipped({**FILES, record: b"shop/app.py,,\n"}),
    )
    assert (made.verdict, made.member) == ("metadata-only", record)


def deb(files: dict[str, bytes], control: dict[str, bytes] | None = None, level: int = 3) -> bytes:
    sums = "".join(f"{zlib.crc32(data):032x}  {path}\n" for path, data in files.items()).encode()
    texts = {"./control": b"Package: shop\n", "./md5sums": sums, **(control or {})}
    return ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.zst": zst(tar(texts)),
            "data.tar.zst": zst(tar({f"./opt/venvs/{path}": data for path, data in files.items()}), level),
        }
    )


def test_a_file_of_a_deb_has_the_path_through_all_archives(tmp_path: Path) -> None:
    made = differing(tmp_path, deb(FILES), deb(changed(APP, b"open", b"shut")), name="shop.deb")
    assert (made.verdict, made.member) == ("content", "data.tar.zst!/opt/venvs/shop/app.py")
    assert made.further == ("control.tar.zst!/md5sums",)


@pytest.mark.parametrize(
    ("path", "verdict"), [("./control", "metadata-only"), ("./md5sums", "metadata-only"), ("./postinst", "content")]
)
def test_the_control_part_of_a_deb(path: str, verdict: str, tmp_path: Path) -> None:
    made = differing(tmp_path, deb(FILES, {path: b"one\n"}), deb(FILES, {path: b"two\n"}), name="shop.deb")
    assert (made.verdict, made.member) == (verdict, f"control.tar.zst!/{path[2:]}")


def test_a_deb_that_is_only_compressed_in_another_way(tmp_path: Path) -> None:
    made = differing(tmp_path, deb(FILES), deb(FILES, level=19), name="shop.deb")
    assert (made.verdict, made.member, made.causes) == ("container-only", "data.tar.zst", ("compressor",))


def test_a_file_of_an_image_is_found_by_its_layer_whatever_the_digests(tmp_path: Path) -> None:
    base = gzip.compress(tar({"usr/lib/x": b"x"}), mtime=0)
    one, two = (image([base, gzip.compress(tar(files), mtime=0)]) for files in (FILES, changed(APP, b"open", b"shut")))
    made = differing(tmp_path, one, two, name="shop.oci.tar")
    assert (made.verdict, made.member) == ("content", f"layer 2!/{APP}")
    assert made.further == ()  # manifest and index only follow


def test_an_image_whose_layers_are_compressed_in_another_way(tmp_path: Path) -> None:
    one, two = (image([gzip.compress(tar(), level, mtime=0)]) for level in (1, 9))
    made = differing(tmp_path, one, two, name="shop.oci.tar")
    assert (made.verdict, made.member, made.causes, made.further) == ("container-only", "layer 1", ("compressor",), ())


@pytest.mark.parametrize(
    ("one", "two", "verdict", "cause"),
    [
        ({"created": "2024-01-02T03:04:05Z"}, {"created": "2024-01-02T03:05:05Z"}, "metadata-only", "timestamp"),
        ({"config": {"Labels": {"a": "b"}}}, {"config": {"Labels": {"a": "c"}}}, "metadata-only", "unknown"),
        ({"config": {"User": "1000"}}, {"config": {"User": "0"}}, "content", "user"),
        ({"config": {"Cmd": ["serve"]}}, {"config": {"Cmd": ["shell"]}}, "content", "unknown"),
        ({"architecture": "amd64"}, {"architecture": "arm64"}, "content", "unknown"),
    ],
)
def test_the_configuration_of_an_image(one: Any, two: Any, verdict: str, cause: str, tmp_path: Path) -> None:
    made = differing(tmp_path, image([tar()], one), image([tar()], two), name="shop.oci.tar")
    assert (made.verdict, made.member, made.causes) == (verdict, "configuration", (cause,))


def test_the_line_before_the_zip_of_a_pex_is_content(tmp_path: Path) -> None:
    one, two = (zipped(prefix=f"#!/usr/bin/{name}\n".encode()) for name in ("python3.11", "python3.12"))
    made = differing(tmp_path, one, two, name="shop.pex")
    assert (made.verdict, made.member) == ("content", "(before the zip)")
    assert made.lines[1:] == ("-#!/usr/bin/python3.11", "+#!/usr/bin/python3.12")


def test_names_that_differ_tell_the_cause_too(tmp_path: Path) -> None:
    one, two = (zipped({f"shop/log-{time}.txt": b""}) for time in ("2024-05-06", "2024-05-07"))
    made = differing(tmp_path, one, two)
    assert (made.verdict, made.member, made.causes) == ("content", "shop/log-2024-05-06.txt", ("timestamp",))
    assert made.lines == ("only in what was expected",)


@pytest.mark.parametrize(
    "whole",
    [zipped(), tar(), gzip.compress(tar()), zst(tar()), lzma.compress(tar()), ar({"data.tar.xz": tar()}), deb(FILES)],
    ids=["zip", "tar", "gzip", "zstd", "xz", "ar", "deb"],
)
@pytest.mark.parametrize("part", [0.99, 0.6])
def test_what_is_cut_short_is_content_and_says_so(whole: bytes, part: float, tmp_path: Path) -> None:
    if whole == tar():
        part *= 0.4  # more than the half of it is padding
    made = differing(tmp_path, whole, whole[: int(len(whole) * part)])
    assert (made.verdict, made.causes) == ("content", ("damage",))
    assert made.lines[0].startswith("what was found cannot be read: ")
    assert "fetch it again" in made.hint


def test_another_kind_of_file_is_content(tmp_path: Path) -> None:
    made = differing(tmp_path, zipped(), tar())
    assert (made.verdict, made.member) == ("content", "")
    assert made.lines[0].startswith("@@ byte 0 of ")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob, "_RATIO_FLOOR", 1 << 20)
    bomb = gzip.compress(bytes(8 << 20), mtime=0)
    made = differing(tmp_path, bomb, bomb + gzip.compress(b"more", mtime=0), name="x.gz")
    assert (made.verdict, made.causes) == ("content", ("damage",))
    assert "unpack to more than" in made.lines[0]
    made = differing(tmp_path, zipped({"a": bytes(8 << 20)}), zipped({"a": bytes(8 << 20) + b"1"}))
    assert "unpack to more than" in made.lines[0]


def test_a_full_disk_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
        with pytest.raises(OSError, match="No space left"):
            differing(tmp_path, gzip.compress(tar(), mtime=0), gzip.compress(tar(mode=0o600), mtime=0))


def test_archives_in_archives_are_opened_to_a_depth(tmp_path: Path) -> None:
    one, two = b"print(1)\n", b"print(2)\n"
    for depth in range(20):
        one, two = (zipped({"x" if depth else "a.py": data}) for data in (one, two))
    made = differing(tmp_path, one, two)
    assert (made.verdict, made.member) == ("content", "!/".join("x" * 8))


def test_what_a_terminal_would_obey_is_not_printed(tmp_path: Path) -> None:
    evil = "shop/\x1b[2J\u202e.py"
    made = differing(tmp_path, tar({evil: b"\x1b[31mred\n"}), tar({evil: b"\x1b[32mgreen\n"}))
    assert made.member == "shop/\\x1b[2J\\u202e.py"
    assert made.lines[1:] == ("-\\x1b[31mred", "+\\x1b[32mgreen")


def test_names_that_are_there_twice_are_compared_one_by_one(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        one, two = (zipped_twice(last) for last in (b"x = 2\n", b"x = 3\n"))
    assert differing(tmp_path, one, two).lines[1:] == ("-x = 2", "+x = 3")


def zipped_twice(last: bytes) -> bytes:
    out = io.BytesIO(zipped({"a.py": b"x = 1\n"}))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(zipfile.ZipInfo("a.py"), last)
    return out.getvalue()


def test_values_of_the_machines_that_are_known_are_named(tmp_path: Path) -> None:
    one, two = zipped({"a.txt": b"it is flora\n"}), zipped({"a.txt": b"it is fauna\n"})
    assert differing(tmp_path, one, two).causes == ("unknown",)
    assert differing(tmp_path, one, two, known={"fauna": "hostname"}).causes == ("hostname",)


def test_the_cause_of_another_file_is_told_with_its_name(tmp_path: Path) -> None:
    one, two = (
        zipped({"a.py": f"x = {name}\n".encode(), "b.txt": f"built {time}\n".encode()})
        for name, time in (("y", "2024-01-02 03:04:05"), ("z", "2024-01-02 03:04:06"))
    )
    made = differing(tmp_path, one, two)
    assert (made.member, made.causes) == ("a.py", ("timestamp",))
    assert made.hint.startswith("timestamp: b.txt: 2024-01-02 03:04:05 → 2024-01-02 03:04:06; ")


def test_a_digest_of_what_differs_is_not_what_is_shown(tmp_path: Path) -> None:
    one, two = (
        zipped({"__main__.py": f"code = '{digit * 40}'\n".encode(), "b.txt": f"at {digit}0:11:12\n".encode()})
        for digit in "12"
    )
    made = differing(tmp_path, one, two)
    assert (made.member, made.causes, made.further) == ("b.txt", ("timestamp",), ("__main__.py",))
