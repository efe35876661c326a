"""Whatever is in the files: an answer, always the same, and never an exception."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tempfile
from pathlib import Path
from typing import Final

import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildonce.difference import Difference, compare
from tests.difference.making import FILES, ar, image, tar, wheel, zipped

LAYER: Final = gzip.compress(tar(), mtime=0)
WHOLE: Final = (
    wheel(),
    zipped(prefix=b"#!/usr/bin/python3\n"),
    tar(links={"a": "b"}),
    LAYER,
    lzma.compress(tar()),
    zstandard.ZstdCompressor().compress(tar()),
    ar({"debian-binary": b"2.0\n", "data.tar.xz": lzma.compress(tar())}),
    image([LAYER]),
    tar({"x.whl": wheel(), "a.json": b'{"a": [1, 2]}'}),
    zipped({"a.pyc": bytes(16) + b"\xe3\0\0\0/home/ada/x.py", "b.so": b"\x7fELF\2\1\1" + bytes(80)}),
)
BEGINNINGS: Final = (
    b"PK\3\4", b"PK\5\6", b"#!/x\nPK\3\4", b"!<arch>\n", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00",
    b"\x7fELF", b"\x7fELF\2\1", b"{", b"[[", b"\0" * 257 + b"ustar", b"",
)  # fmt: skip
NAMES: Final = ("x.whl", "x.pyc", "x.deb", "x.tar.gz", "x.json", "RECORD")


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An archive and what is left of it: bytes changed, put in, taken out, cut off."""
    whole = draw(st.sampled_from(WHOLE))
    found = bytearray(whole)
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        match draw(st.sampled_from(("flip", "insert", "delete", "cut", "repeat"))):
            case "flip":
                found[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "insert":
                found[at:at] = draw(st.binary(max_size=8))
            case "delete":
                del found[at : at + draw(st.integers(1, 64))]
            case "cut":
                del found[at:]
            case _:
                found[at:at] = found[at : at + draw(st.integers(1, 600))]
    return whole, bytes(found)


GARBAGE: Final = st.tuples(st.sampled_from(BEGINNINGS), st.binary(max_size=600)).map(b"".join)
ANY: Final = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def answer(expected: bytes, found: bytes, name: str) -> Difference | None:
    folder = Path(tempfile.mkdtemp(prefix="buildonce-test-"))
    try:
        paths = [folder / side / name for side in ("expected", "found")]
        for path, data in zip(paths, (expected, found), strict=True):
            path.parent.mkdir()
            path.write_bytes(data)
        return compare(*paths)
    finally:
        shutil.rmtree(folder)


def check(expected: bytes, found: bytes, name: str) -> None:
    made = answer(expected, found, name)
    assert (made is None) == (expected == found)
    assert made == answer(expected, found, name)
    if made is not None:
        assert 0 < len(made.lines) <= 40
        assert made.causes
        assert made.hint
        assert all(line.isprintable() for line in (*made.lines, made.member, *made.hint.split("\n")))


@ANY
@given(sides=spoilt(), name=st.sampled_from(NAMES))
def test_spoilt_archives(sides: tuple[bytes, bytes], name: str) -> None:
    check(*sides, name)
    check(*sides[::-1], name)


@ANY
@given(expected=GARBAGE, found=GARBAGE, name=st.sampled_from(NAMES))
def test_garbage(expected: bytes, found: bytes, name: str) -> None:
    check(expected, found, name)


@ANY
@given(inner=GARBAGE, other=GARBAGE, member=st.sampled_from((*FILES, "a.pyc", "a.dist-info/RECORD", "x.gz", "x.deb")))
def test_garbage_in_archives(inner: bytes, other: bytes, member: str) -> None:
    for pack in (zipped, tar):
        check(pack({member: inner}), pack({member: other}), "x.whl")
    check(image([inner]), image([other]), "x.tar")


@ANY
@given(
    expected=st.text(st.characters(codec="utf-8"), max_size=200),
    found=st.text(st.characters(codec="utf-8"), max_size=200),
)
def test_any_texts(expected: str, found: str) -> None:
    check(expected.encode(), found.encode(), "a.txt")


@ANY
@given(files=st.dictionaries(st.sampled_from("abcdefgh"), st.binary(max_size=20), min_size=2), data=st.data())
def test_the_order_of_members_is_of_the_container(files: dict[str, bytes], data: st.DataObject) -> None:
    order = data.draw(st.permutations(list(files)))
    for pack in (zipped, tar):
        one, two = pack(files), pack({name: files[name] for name in order})
        made = answer(one, two, "x.whl")
        assert (made is None) == (list(files) == order)
        if made:
            assert (made.verdict, made.cause) == ("container-only", "order")
