"""Files that are no archives: bytecode, object code, JSON, and what is none of them."""

from __future__ import annotations

import os
import py_compile
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from elftools.elf.elffile import ELFFile

from tests.difference.making import differing, zipped

if TYPE_CHECKING:
    from buildonce.difference import Difference

CHECKED = py_compile.PycInvalidationMode.CHECKED_HASH
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def compiled(folder: Path, text: str, *, name: str = "app.py", time: int = 1_700_000_000, **how: Any) -> bytes:
    source = folder / name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)
    os.utime(source, (time, time))
    made = folder / "made.pyc"
    how.setdefault("invalidation_mode", UNCHECKED)
    py_compile.compile(str(source), cfile=str(made), doraise=True, **how)
    return made.read_bytes()


def of_pyc(folder: Path, one: bytes, two: bytes) -> Difference:
    made = differing(folder, zipped({"app.pyc": one}), zipped({"app.pyc": two}))
    assert (made.verdict, made.member) == ("bytecode-only", "app.pyc")
    return made


def test_bytecode_that_has_the_time_of_its_source(tmp_path: Path) -> None:
    mode = py_compile.PycInvalidationMode.TIMESTAMP
    one, two = (compiled(tmp_path, "x = 1\n", time=t, invalidation_mode=mode) for t in (1_700_000_000, 1_700_000_060))
    made = of_pyc(tmp_path, one, two)
    assert made.causes == ("timestamp",)
    assert made.lines == ("header: time of the source 2023-11-14 22:13:20 → 2023-11-14 22:14:20", "code: the same")


def test_bytecode_of_another_folder(tmp_path: Path) -> None:
    one, two = (compiled(tmp_path / name, "def f(): pass\n") for name in ("ada", "a" * 60))
    assert of_pyc(tmp_path, one, two).causes == ("path",)


def test_bytecode_of_another_python(tmp_path: Path) -> None:
    one = compiled(tmp_path, "x = 1\n")
    made = of_pyc(tmp_path, one, struct.pack("<H", 3571) + one[2:])
    assert made.lines[0].startswith("header: the interpreter's magic number ")
    assert "another Python compiled it" in made.hint


def test_bytecode_that_is_checked_in_another_way(tmp_path: Path) -> None:
    one, two = (compiled(tmp_path, "x = 1\n", invalidation_mode=mode) for mode in (UNCHECKED, CHECKED))
    made = of_pyc(tmp_path, one, two)
    assert made.lines[0] == "header: the way to tell that it is stale, unchecked hash → checked hash"


def test_bytecode_whose_source_is_another(tmp_path: Path) -> None:
    one, two = (compiled(tmp_path, text) for text in ("x = 'open'\n", "x = 'shut'\n"))
    made = of_pyc(tmp_path, one, two)
    assert made.lines[0] == "header: the hash or the size of the source differs"
    assert made.causes == ("unknown",)


def test_bytecode_with_other_marks_of_shared_objects(tmp_path: Path) -> None:
    """What CPython writes depends on what the process compiled before."""
    one = compiled(tmp_path, "x = 'open'\n")
    at = one.index(b"open") - 2  # type and length
    two = one[:at] + bytes([one[at] ^ 0x80]) + one[at + 1 :]
    made = of_pyc(tmp_path, one, two)
    assert made.causes == ("order",)
    assert "compiled after other files" in made.hint


def test_a_set_in_bytecode(tmp_path: Path) -> None:
    names = [b"\xda\x04json", b"\xda\x04yaml", b"\xda\x04html"]
    one, two = (bytes(16) + b"\xbe".join(order) for order in (names, names[::-1]))
    assert of_pyc(tmp_path, one, two).causes == ("hash seed",)


@pytest.fixture(scope="module")
def program() -> bytes:
    """A real ELF file with a build id."""
    for path in (Path("/bin/true"), Path("/bin/sh"), Path(sys.executable).resolve()):
        with path.open("rb") as stream:
            if ELFFile(stream).get_section_by_name(".note.gnu.build-id"):
                return path.read_bytes()
    raise AssertionError("no program here has a build id")


def with_section(program: bytes, name: str, tail: bytes, folder: Path) -> bytes:
    """*program* whose section *name* ends with *tail*."""
    (folder / "program").write_bytes(program)
    with (folder / "program").open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(name)
        end = section["sh_offset"] + section["sh_size"]
    return program[: end - len(tail)] + tail + program[end:]


def test_object_code_that_differs_in_its_build_id(program: bytes, tmp_path: Path) -> None:
    made = differing(tmp_path, program, with_section(program, ".note.gnu.build-id", b"\1\2\3", tmp_path), name="x.so")
    assert (made.verdict, made.causes) == ("content", ("path",))
    assert made.lines[0] == "sections that differ: .note.gnu.build-id"


def test_object_code_with_the_folder_or_the_time_of_its_build(program: bytes, tmp_path: Path) -> None:
    for texts, cause in (
        ((b"\0/home/ada/shop/a.c\0", b"\0/home/eve/shop/a.c\0"), "path"),
        ((b"\0at Nov 21 2026\0", b"\0at Nov 22 2026\0"), "timestamp"),
    ):
        one, two = (with_section(program, ".rodata", text, tmp_path) for text in texts)
        made = differing(tmp_path, one, two, name="x.so")
        assert (made.verdict, made.causes) == ("content", (cause,))
        assert made.lines[0] == "sections that differ: .rodata"


@pytest.mark.parametrize("order", "<>")
def test_a_time_among_bytes(order: str, tmp_path: Path) -> None:
    one, two = (b"\1\0\2" + struct.pack(f"{order}I", time) + b"\0\xff" for time in (1_700_000_000, 1_700_000_001))
    made = differing(tmp_path, one, two, name="x.bin")
    assert made.causes == ("timestamp",)
    assert "byte 3: 2023-11-14 22:13:20 → 2023-11-14 22:13:21" in made.hint


def test_bytes_are_shown_from_the_row_that_differs(tmp_path: Path) -> None:
    one, two = (bytes(range(256)) + tail for tail in (b"open", b"shut, really"))
    made = differing(tmp_path, one, two, name="x.bin")
    assert made.lines == (
        "@@ byte 256 of 260 → 268 @@",
        "-00000100  6f 70 65 6e                                      open",
        "+00000100  73 68 75 74 2c 20 72 65 61 6c 6c 79              shut, really",
    )
    made = differing(tmp_path, bytes(16), bytes(32), name="x.bin")
    assert made.lines[1] == "-(it ends at byte 16)"


def test_json_is_shown_value_by_value(tmp_path: Path) -> None:
    one, two = (b'{"name":"shop","built":"2024-01-0%d","files":[1,2]}' % day for day in (1, 2))
    made = differing(tmp_path, one, two, name="facts.json")
    assert made.causes == ("timestamp",)
    assert made.lines == ("@@ line 3 @@", '- "built": "2024-01-01",', '+ "built": "2024-01-02",')


def test_json_of_the_same_values(tmp_path: Path) -> None:
    made = differing(tmp_path, b'{"a":1}', b'{"a": 1}', name="facts.json")
    assert made.lines[0] == "the same JSON values, written in another way"
    assert differing(tmp_path, b'{"a":1,"b":2}', b'{"b":2,"a":1}', name="facts.json").causes != ("timestamp",)


def test_a_long_line_is_shown_around_the_difference(tmp_path: Path) -> None:
    one, two = (b"x " * 5000 + word + b" y" * 5000 for word in (b"open", b"shut"))
    made = differing(tmp_path, one, two, name="a.txt")
    assert [len(line) < 200 for line in made.lines] == [True] * 3
    assert "open" in made.lines[1]
    assert "shut" in made.lines[2]


def test_a_long_difference_is_cut(tmp_path: Path) -> None:
    one, two = ("\n".join(f"{word} {i}" for i in range(5000)).encode() for word in ("a", "b"))
    made = differing(tmp_path, one, two, name="a.txt")
    assert len(made.lines) <= 40
    assert any(line.startswith("-…") for line in made.lines)
    assert any(line.startswith("+b") for line in made.lines)
