"""Layers: bytes that follow from the entries alone, packed once, and read back as what was put in."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce.errors import BuildError
from buildonce.model import Digest, Entry
from buildonce.oci import layers
from buildonce.oci.filesystem import FileSystem, read_layer
from buildonce.system import files
from buildonce.system.archive import EPOCH, Member, write_tar
from buildonce.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def planned(members: Sequence[Member], key: str = "1") -> layers.LayerPlan:
    return layers.LayerPlan(title="test", key=Digest(key), members=lambda _: members)


def members_of(blob: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(blob, "r:gz") as archive:
        return archive.getmembers()


def test_every_parent_is_a_folder_of_root_and_every_time_the_same(store: Store) -> None:
    plan = planned(
        [
            Member(path="opt/venvs/shop/bin/shop", mode=0o755, source=b"#!"),
            Member(path="opt/venvs/shop/bin/python", mode=0o777, link="/usr/bin/python3.11"),
            Member(path="tmp/", mode=0o1777),
            Member(path="var/lib/shop/", mode=0o750, owner=65532),
        ]
    )
    found = members_of(layers.pack(plan, store).blob)
    assert [(m.name, oct(m.mode), m.uid, m.gid) for m in found if m.isdir()] == [
        ("opt", "0o755", 0, 0),
        ("opt/venvs", "0o755", 0, 0),
        ("opt/venvs/shop", "0o755", 0, 0),
        ("opt/venvs/shop/bin", "0o755", 0, 0),
        ("tmp", "0o1777", 0, 0),
        ("var", "0o755", 0, 0),
        ("var/lib", "0o755", 0, 0),
        ("var/lib/shop", "0o750", 65532, 65532),
    ]
    assert {m.mtime for m in found} == {EPOCH}
    assert {(m.uname, m.gname) for m in found} == {("", "")}
    assert not any(m.pax_headers for m in found)
    assert [m.name for m in found] == sorted(m.name for m in found)


def test_the_digests_are_those_of_the_bytes(store: Store) -> None:
    layer = layers.pack(planned([Member(path="a", source=b"x" * 3_000_000)]), store)
    data = layer.blob.read_bytes()
    assert (layer.sha256, layer.size) == (files.sha256_bytes(data), len(data))
    assert layer.diff_id == files.sha256_bytes(gzip.decompress(data))


def test_a_layer_is_packed_once(store: Store) -> None:
    calls = []

    def members(_: Path) -> list[Member]:
        calls.append(1)
        return [Member(path="a", source=b"1")]

    plan = layers.LayerPlan(title="test", key=Digest("k"), members=members)
    first, second = layers.pack(plan, store), layers.pack(plan, store)
    assert first == second
    assert len(calls) == 1


def test_a_spoilt_layer_of_the_store_is_packed_again(store: Store) -> None:
    plan = planned([Member(path="a", source=b"1")])
    layer = layers.pack(plan, store)
    good = layer.blob.read_bytes()
    layer.blob.write_bytes(good[:-1] + b"\0")
    assert layers.pack(plan, store).blob.read_bytes() == good


def test_the_tree_is_packed_by_its_entries_and_not_by_what_surrounds_it(tmp_path: Path, store: Store) -> None:
    def plan(root: Path, umask: int) -> layers.LayerPlan:
        before = os.umask(umask)
        (root / "opt").mkdir(parents=True)
        (root / "opt/a.py").write_bytes(b"print()\n")
        os.umask(before)
        entry = Entry(path="opt/a.py", size=8, sha256=files.sha256_bytes(b"print()\n"), dist="a")
        return layers.plan_tree("a", [entry], root)

    one, two = plan(tmp_path / "1", 0o022), plan(tmp_path / "2", 0o077)
    assert one.key == two.key
    other = Store(tmp_path / "other")
    assert layers.pack(one, store).blob.read_bytes() == layers.pack(two, other).blob.read_bytes()


def test_a_file_that_is_not_the_staged_one_is_refused(tmp_path: Path, store: Store) -> None:
    (tmp_path / "a.py").write_bytes(b"changed")
    entry = Entry(path="a.py", size=7, sha256=files.sha256_bytes(b"staged!"))
    with pytest.raises(BuildError, match=r"a\.py is not the file that was staged"):
        layers.pack(layers.plan_tree("a", [entry], tmp_path), store)


def test_two_files_at_one_place_are_refused() -> None:
    with pytest.raises(BuildError, match="two files want the place a/b"):
        layers.with_parents([Member(path="a/b"), Member(path="a/b", source=b"2")])


def test_a_file_below_a_file_is_refused() -> None:
    with pytest.raises(BuildError, match="a/b lies below a, which is not a folder"):
        layers.with_parents([Member(path="a/b"), Member(path="a", link="/etc")])


NAMES = st.text("abcäß-. 猫", min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."} and not name.startswith(".wh.")
)
PATHS = st.lists(NAMES, min_size=1, max_size=12).map("/".join)
FILES = st.builds(
    lambda path, mode, data: Member(path=path, mode=mode, source=data),
    PATHS,
    st.sampled_from([0o644, 0o755]),
    st.binary(max_size=2000),
)
LINKS = st.builds(lambda path, link: Member(path=path, mode=0o777, link=link), PATHS, PATHS)
FOLDERS = st.builds(lambda path: Member(path=f"{path}/", mode=0o1777), PATHS)


@given(st.lists(st.one_of(FILES, LINKS, FOLDERS), max_size=15))
@settings(deadline=None, max_examples=60)
def test_what_is_laid_down_is_what_was_meant(members: list[Member]) -> None:
    """The writer and the reader do not share code: what one means, the other finds."""
    try:
        complete = layers.with_parents(members)
    except BuildError:
        return
    out = io.BytesIO()
    write_tar(out, complete)
    out.seek(0)
    system = FileSystem()
    system.lay(read_layer(out, packed=False, where="test"), where="test")
    assert sorted(system.entries.values()) == sorted(layers.entries_of(complete))
    assert layers.from_rows(layers.rows(system.entries.values())) == tuple(system.entries.values())
