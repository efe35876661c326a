"""Which OS packages go into an image, from real packages made by dpkg-deb."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from buildonce.errors import BuildError, LockError, ReleaseError
from buildonce.model import DebPin, RemoteFile
from buildonce.oci import packages
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buildonce.system.store import Store


def make_deb(into: Path, name: str, *, depends: str = "", shlibs: str = "") -> Path:
    tree = into / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    fields = {
        "Package": name,
        "Version": "1",
        "Architecture": "amd64",
        "Maintainer": "A <a@b>",
        "Description": "x",
    }
    fields |= {"Depends": depends} if depends else {}
    (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    if shlibs:
        (tree / "DEBIAN/shlibs").write_text(shlibs)
    path = into / f"{name}_1_amd64.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, path], check=True, capture_output=True)
    return path


@pytest.fixture
def locked(tmp_path: Path) -> tuple[Sequence[DebPin], Sequence[Path]]:
    paths = [
        make_deb(tmp_path, "python3.11", depends="libc6 (>= 2), libreadline8"),
        make_deb(tmp_path, "libreadline8", depends="libc6, readline-common"),
        make_deb(tmp_path, "readline-common", depends="dpkg | install-info"),
        make_deb(tmp_path, "libc6", shlibs="libc 6 libc6\nudeb: libc 6 libc6-udeb\n"),
        make_deb(tmp_path, "libpq5", depends="libc6", shlibs="libpq 5 libpq5 (>= 15)\n"),
        make_deb(tmp_path, "dpkg", depends="tar"),
        make_deb(tmp_path, "tar"),
    ]
    pins = [
        DebPin(
            name=path.name.partition("_")[0],
            version="1",
            architecture="amd64",
            file=RemoteFile(filename=path.name, sha256=files.sha256_file(path)),
        )
        for path in paths
    ]
    return pins, paths


def names(
    locked: tuple[Sequence[DebPin], Sequence[Path]],
    store: Store,
    *,
    sonames: Sequence[str] = (),
    without: Sequence[str] = ("dpkg",),
    roots: Sequence[str] = ("python3.11",),
) -> list[str]:
    found = packages.choose(*locked, roots=roots, sonames=sonames, without=without, store=store)
    return [package.pin.name for package in found]


def test_what_is_left_out_does_not_bring_what_only_it_needs(
    locked: tuple[Sequence[DebPin], Sequence[Path]], store: Store
) -> None:
    assert names(locked, store) == ["libc6", "libreadline8", "python3.11", "readline-common"]
    assert "tar" in names(locked, store, without=())


def test_the_owner_of_a_library_comes_along(locked: tuple[Sequence[DebPin], Sequence[Path]], store: Store) -> None:
    assert "libpq5" in names(locked, store, sonames=["libc.so.6", "libpq.so.5"])


def test_a_library_that_nobody_owns_is_told_with_the_next_step(
    locked: tuple[Sequence[DebPin], Sequence[Path]], store: Store
) -> None:
    with pytest.raises(BuildError, match=r"no locked OS package owns the library libpq\.so\.6") as raised:
        names(locked, store, sonames=["libpq.so.6"])
    assert "release lock" in raised.value.problems[0].hint


def test_a_package_with_libraries_cannot_be_left_out(
    locked: tuple[Sequence[DebPin], Sequence[Path]], store: Store
) -> None:
    with pytest.raises(BuildError, match="libpq5 has shared libraries"):
        names(locked, store, without=["libpq5"])


def test_a_root_that_is_not_locked_is_told(locked: tuple[Sequence[DebPin], Sequence[Path]], store: Store) -> None:
    with pytest.raises(LockError, match="tini"):
        names(locked, store, roots=["tini"])
    assert issubclass(LockError, ReleaseError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("libpq 5 libpq5 (>= 15~rc1)\n", {"libpq.so.5", "libpq-5.so"}),
        ("libdb 5.3 libdb5.3\n", {"libdb.so.5.3", "libdb-5.3.so"}),
        ("udeb: libssl 3 libssl3-udeb\n", set()),
        ("# libssl 3 libssl3\n\n", set()),
        ("", set()),
    ],
)
def test_sonames(text: str, expected: set[str]) -> None:
    assert packages.sonames_of(text) == expected
