"""Layers that lie: every way in which a tar can leave its place or hide something is refused, by name."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.errors import VerificationError
from buildonce.oci.filesystem import Content, FileSystem, read_layer
from buildonce.system import compress

if TYPE_CHECKING:
    from collections.abc import Sequence


def tar(*members: tuple[str, dict[str, Any]]) -> bytes:
    """A tar of *members*: a name and what differs from an empty file of root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, facts in members:
            info = tarfile.TarInfo(name)
            data = facts.pop("data", b"")
            info.size = len(data)
            for key, value in facts.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def read(data: bytes, *, packed: bool = False, foreign: bool = False) -> Content:
    return read_layer(io.BytesIO(data), packed=packed, where="blob", foreign=foreign)


def laid(*stack: bytes, foreign: Sequence[bool] = ()) -> FileSystem:
    system = FileSystem()
    for number, data in enumerate(stack):
        others = bool(foreign) and foreign[number]
        system.lay(read(data, foreign=others), where=f"layer {number}", foreign=others)
    return system


FOLDER = {"type": tarfile.DIRTYPE, "mode": 0o755}


@pytest.mark.parametrize(
    ("name", "facts", "said"),
    [
        ("../etc/passwd", {}, r"the path '../etc/passwd' leads outside"),
        ("/etc/passwd", {}, "leads outside"),
        ("./etc", {}, "leads outside"),
        ("a//b", {}, "leads outside"),
        ("dev/sda", {"type": tarfile.BLKTYPE}, "dev/sda is neither a file, a folder nor a link"),
        ("run/pipe", {"type": tarfile.FIFOTYPE}, "run/pipe is neither"),
        ("a", {"type": tarfile.LNKTYPE, "linkname": "b"}, "a is neither"),
    ],
)
def test_members_that_no_layer_of_ours_has(name: str, facts: dict[str, Any], said: str) -> None:
    with pytest.raises(VerificationError, match=said):
        read(tar((name, facts)))


def test_a_path_that_is_there_twice_is_refused() -> None:
    with pytest.raises(VerificationError, match="a is in it twice"):
        read(tar(("a", {"data": b"1"}), ("a", {"data": b"2"})))


def test_a_layer_that_ends_too_early_is_refused() -> None:
    whole = compress.gzip(tar(("a", {"data": b"1" * 5000})))
    assert read(whole, packed=True).members[0][0].size == 5000
    for end in (5, len(whole) // 2, len(whole) - 1):
        with pytest.raises(VerificationError, match="not a layer"):
            read(whole[:end], packed=True)


def test_bytes_that_are_no_gzip_are_refused() -> None:
    with pytest.raises(VerificationError, match="not a layer"):
        read(b"this is not gzip", packed=True)


def test_a_far_unpacking_member_is_read_in_pieces() -> None:
    """A gzip bomb: 200 MB of zeros in 200 kB must not be 200 MB of memory."""
    data = compress.gzip(bytes(200 << 20))
    tracemalloc.start()
    with pytest.raises(VerificationError):
        read(data + b"broken", packed=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_a_later_layer_wins() -> None:
    system = laid(tar(("etc/a", {"data": b"1"}), ("etc/b", {})), tar(("etc/a", {"data": b"22"})))
    assert {path: entry.size for path, entry in system.entries.items()} == {"etc/a": 2, "etc/b": 0}


def test_our_layers_remove_nothing() -> None:
    with pytest.raises(VerificationError, match=r"etc/\.wh\.a removes a file of another layer") as raised:
        laid(tar(("etc/a", {})), tar(("etc/.wh.a", {})))
    assert raised.value.problems[0].where == "layer 1"


def test_whiteouts_of_a_base_image_are_followed() -> None:
    first = tar(("a/1", {}), ("a/2", {}), ("b/1", {}), ("b/c/2", {}), ("d", {}))
    second = tar(("a/.wh.1", {}), ("b/.wh..wh..opq", {}), ("b/3", {}), (".wh.d", {}))
    assert sorted(laid(first, second, foreign=(True, True)).entries) == ["a/2", "b/3"]


def test_a_folder_replaced_by_a_file_takes_what_was_in_it_along() -> None:
    system = laid(tar(("a", FOLDER), ("a/1", {})), tar(("a", {"data": b"x"})), foreign=(True, True))
    assert list(system.entries) == ["a"]


def test_hard_links_of_a_base_image_are_files() -> None:
    data = tar(("bin/a", {"data": b"1", "mode": 0o755}), ("bin/b", {"type": tarfile.LNKTYPE, "linkname": "bin/a"}))
    system = laid(data, foreign=(True,))
    assert system.entries["bin/b"].sha256 == system.entries["bin/a"].sha256
    assert system.entries["bin/b"].mode == 0o755


def test_nothing_is_laid_through_a_link() -> None:
    link = tar(("opt", {"type": tarfile.SYMTYPE, "linkname": "/etc", "mode": 0o777}))
    with pytest.raises(VerificationError, match="opt/x is laid through opt, which is no folder"):
        laid(link, tar(("opt/x", {})))


@pytest.mark.parametrize("facts", [{"uid": 1000, "gid": 1000}, {"uid": 0, "gid": 65532}, {"uid": 65532, "gid": 65532}])
def test_files_that_are_not_of_root_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="opt/x does not belong to root"):
        laid(tar(("opt/x", facts)))


def test_only_folders_with_a_mode_or_owner_of_their_own_are_listed() -> None:
    system = laid(
        tar(
            ("opt", dict(FOLDER)),
            ("tmp", {**FOLDER, "mode": 0o1777}),
            ("var", {**FOLDER, "uid": 65532, "gid": 65532}),
        )
    )
    assert {path: entry.mode for path, entry in system.entries.items()} == {"tmp/": 0o1777, "var/": 0o755}
