"""debs.lock.toml: what is written is read, and nothing is read that is not complete."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import target as targets
from buildonce.debs import lock
from buildonce.errors import LockError
from buildonce.model import DebPin, Digest, RemoteFile

if TYPE_CHECKING:
    from pathlib import Path

BOOKWORM, TRIXIE = targets.load("debian-12"), targets.load("debian-13")


def _pin(
    name: str = "libc6", version: str = "2.36-9", architecture: str = "amd64", size: int = 7, url: str = ""
) -> DebPin:
    filename = f"{name}_{version.partition(':')[2] or version}_{architecture}.deb"
    return DebPin(
        name=name,
        version=version,
        architecture=architecture,
        file=RemoteFile(
            filename=filename,
            sha256=Digest("ab" * 32),
            size=size,
            url=url or f"http://mirror.example.org/pool/{filename.replace('+', '%2b')}",
        ),
    )


_PINS = st.lists(
    st.builds(
        _pin,
        name=st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,12}", fullmatch=True),
        version=st.from_regex(r"([1-9]:)?[0-9][A-Za-z0-9.+~]{0,8}(-[0-9][a-z0-9+.~]{0,6})?", fullmatch=True),
        architecture=st.sampled_from(["amd64", "all"]),
        size=st.integers(1, 1 << 40),
    ),
    min_size=1,
    unique_by=lambda pin: pin.name,
)


@settings(deadline=None)
@given(_PINS, _PINS)
def test_what_is_written_is_read_whatever_its_order(
    tmp_path_factory: pytest.TempPathFactory, first: list[DebPin], second: list[DebPin]
) -> None:
    path = tmp_path_factory.getbasetemp() / "debs.lock.toml"
    digests = {"debian-12": "1", "debian-13": "2"}
    lock.write(path, {"debian-13": second, "debian-12": first}, digests)
    written = path.read_bytes()
    assert lock.read(path, BOOKWORM) == tuple(sorted(first, key=lambda pin: pin.name))
    assert lock.read(path, TRIXIE) == tuple(sorted(second, key=lambda pin: pin.name))
    assert lock.inputs(path) == digests
    lock.write(path, {"debian-12": first[::-1], "debian-13": second[::-1]}, digests)
    assert path.read_bytes() == written


def test_a_missing_file_target_or_format_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "debs.lock.toml"
    with pytest.raises(LockError, match="is missing"):
        lock.read(path, BOOKWORM)
    lock.write(path, {"debian-12": [_pin()]}, {"debian-12": ""})
    with pytest.raises(LockError, match="no OS packages are locked for debian-13"):
        lock.read(path, TRIXIE)
    path.write_text(path.read_text().replace("version = 1", "version = 2", 1))
    with pytest.raises(LockError, match="has format 2"):
        lock.read(path, BOOKWORM)
    path.write_text("version = = 1")
    with pytest.raises(LockError, match="cannot be read"):
        lock.read(path, BOOKWORM)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sha256", '"ABC"'),
        ("sha256", '""'),
        ("sha256", '"d41d8cd98f00b204e9800998ecf8427e"'),
        ("name", '"../../etc/passwd"'),
        ("version", '"1/../../x"'),
        ("architecture", '"../x"'),
        ("url", '"ftp://mirror.example.org/x"'),
        ("url", '"http://user:secret@mirror.example.org/x"'),
        ("size", "0"),
        ("size", '"7"'),
    ],
)
def test_an_entry_that_is_not_sound_is_named(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "debs.lock.toml"
    lock.write(path, {"debian-12": [_pin(), _pin("zlib1g")]}, {"debian-12": ""})
    row = tomllib.loads(path.read_text())["debian-12"]["package"][1]
    head, tail = path.read_text().rsplit("[[debian-12.package]]", 1)
    assert f"{name} = " in tail
    lines = [f"{name} = {value}" if line.startswith(f"{name} =") else line for line in tail.splitlines()]
    path.write_text(head + "[[debian-12.package]]" + "\n".join(lines) + "\n")
    with pytest.raises(LockError, match=f"has no sound {name}") as caught:
        lock.read(path, BOOKWORM)
    (problem,) = caught.value.problems
    assert (problem.where, problem.hint) == (
        f"debs.lock.toml: debian-12.package[1].{name}",
        "run `release lock` and commit the result",
    )
    path.write_text(
        head + "[[debian-12.package]]\n" + "\n".join(line for line in lines if not line.startswith(f"{name} ="))
    )
    with pytest.raises(LockError, match=f"has no sound {name}"):
        lock.read(path, BOOKWORM)
    assert row["name"] == "zlib1g"


def test_all_entries_that_are_not_sound_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "debs.lock.toml"
    lock.write(path, {"debian-12": [_pin("aa"), _pin("bb"), _pin("cc")]}, {"debian-12": ""})
    path.write_text(path.read_text().replace("ab" * 32, "", 2))
    with pytest.raises(LockError) as caught:
        lock.read(path, BOOKWORM)
    assert [problem.where for problem in caught.value.problems] == [
        f"debs.lock.toml: debian-12.package[{number}].sha256" for number in (0, 1)
    ]


def test_the_question_depends_on_the_set_and_the_target() -> None:
    asked = lock.question(BOOKWORM, ["b", "a", "a"])
    assert asked == lock.question(BOOKWORM, ["a", "b"])
    assert asked != lock.question(BOOKWORM, ["a"])
    assert asked != lock.question(TRIXIE, ["a", "b"])
