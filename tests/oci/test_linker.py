"""The linker's cache, compared with what ldconfig itself writes: for a whole build root, and for odd folders."""

from __future__ import annotations

import dataclasses
import shutil
import struct
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce import target as targets
from buildonce.errors import BuildError
from buildonce.oci import linker
from tests.oci import image_stage

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path("/usr/lib/x86_64-linux-gnu")
BOOKWORM, ARM = targets.load("debian-12"), targets.load("debian-12-arm64")


def test_nothing_is_a_cache_without_entries(tmp_path: Path) -> None:
    made = linker.cache(tmp_path, ARM)
    magic, libraries, strings, order, extension = struct.unpack_from("<20sIIB3xI12x", made)
    assert (magic, libraries, strings, order) == (b"glibc-ld.so.cache1.1", 0, 0, 2)
    assert made[extension:].endswith(b"ldconfig")


def test_a_loader_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="riscv64"):
        linker.cache(tmp_path, dataclasses.replace(ARM, machine="riscv64"))


@pytest.mark.integration
def test_of_a_build_root_it_is_the_one_that_its_ldconfig_made() -> None:
    root = image_stage.runner().root
    assert linker.cache(root, BOOKWORM) == (root / "etc/ld.so.cache").read_bytes()


@pytest.mark.integration
def test_libraries_of_another_architecture_are_none(tmp_path: Path) -> None:
    fill(tmp_path)
    assert b"libz" in linker.cache(tmp_path, BOOKWORM)
    assert b"libz" not in linker.cache(tmp_path, ARM)


def fill(root: Path) -> Path:
    """A system of a few libraries, merged into /usr."""
    folder = root / "usr/lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    (root / "etc/ld.so.conf.d").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    (root / "etc/ld.so.conf.d/a.conf").write_text("# a comment\n/usr/local/lib\n/lib/x86_64-linux-gnu\n")
    for name in ("libc.so.6", "libz.so.1"):
        shutil.copy(HERE / name, folder / name)
    (folder / "libz.so").symlink_to("libz.so.1")
    return folder


def nothing_more(_: Path) -> None:
    pass


def links(folder: Path) -> None:
    (folder / "libz.so.1").rename(folder / "libz.so.1.2.13")
    (folder / "libz.so.1").symlink_to("libz.so.1.2.13")
    (folder / "libz.so.0").symlink_to("libz.so.1")
    (folder / "libother.so").symlink_to("libz.so.1")
    (folder / "libgone.so.3").symlink_to("nowhere")
    (folder / "libabsolute.so.1").symlink_to("/usr/lib/x86_64-linux-gnu/libz.so.1")


def no_libraries(folder: Path) -> None:
    (folder / "libtext.so").write_text("GROUP ( libz.so.1 )")
    (folder / "libempty.so.1").write_bytes(b"")
    (folder / "libz.so.1-gdb.py").write_text("import gdb")
    (folder / "libfolder.so.1").mkdir()
    (folder / "notalibrary.so.1").write_bytes((folder / "libz.so.1").read_bytes())


def no_soname(folder: Path) -> None:
    extension = next(Path(sysconfig.get_config_var("DESTSHARED")).glob("*.so"))
    for name in ("libplain.so", "libplain.so.2", "libplain.so.10", "libplain.so.9", "lib2.so.1"):
        shutil.copy(extension, folder / name)


def another_folder(folder: Path) -> None:
    local = folder.parents[1] / "local/lib"
    local.mkdir(parents=True)
    shutil.copy(folder / "libz.so.1", local / "libz.so.1")


@pytest.mark.integration
@pytest.mark.parametrize("change", [nothing_more, links, no_libraries, no_soname, another_folder])
def test_of_odd_folders_too(change: Callable[[Path], None], tmp_path: Path) -> None:
    change(fill(tmp_path))
    subprocess.run(["/sbin/ldconfig", "-r", tmp_path, "-X"], check=True, capture_output=True)
    assert linker.cache(tmp_path, BOOKWORM) == (tmp_path / "etc/ld.so.cache").read_bytes()
