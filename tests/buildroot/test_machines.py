"""Which programs run here: the machine's own, and those that the kernel has an emulator for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from buildonce import buildroot
from buildonce import target as targets
from buildonce.buildroot import machines
from buildonce.errors import MissingToolError
from buildonce.system.console import SilentProgress
from buildonce.system.store import Store

if TYPE_CHECKING:
    from pathlib import Path

ARM = dataclasses.replace(targets.load("debian-12-arm64"), build_on=None)
# As the kernel shows it for what Debian's qemu-user-static registers.
ENTRY = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: {flags}\noffset 0\nmagic 7f454c46\n"


def test_its_own(tmp_path: Path) -> None:
    machines.check(ARM, here="aarch64", registered=tmp_path)
    machines.check(dataclasses.replace(ARM, machine="i686"), here="x86_64", registered=tmp_path)
    machines.check(targets.load("debian-12"), here="x86_64", registered=tmp_path)


def test_another_with_an_emulator(tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64").write_text(ENTRY.format(flags="POCF"))
    machines.check(ARM, here="x86_64", registered=tmp_path)


@pytest.mark.parametrize(
    "entry",
    [None, "", ENTRY.format(flags="PO"), ENTRY.format(flags="F").replace("enabled", "disabled")],
    ids=["none", "empty", "not opened beforehand", "disabled"],
)
def test_another_without(entry: str | None, tmp_path: Path) -> None:
    if entry is not None:
        (tmp_path / "qemu-aarch64").write_text(entry)
    with pytest.raises(MissingToolError) as caught:
        machines.check(ARM, here="x86_64", registered=tmp_path)
    assert "has aarch64 programs, which this x86_64 machine cannot run" in str(caught.value)
    assert "qemu-user-static" in caught.value.problems[0].hint


def test_a_docker_engine_is_asked_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be on another machine, or emulate: only for a sandbox is it this machine that runs the programs."""
    alien = dataclasses.replace(targets.load("debian-12"), machine="ppc64le")
    monkeypatch.setattr(buildroot, "choose", lambda way, _: way)
    monkeypatch.setattr(Store, "folder", lambda *_, **__: tmp_path)
    store = Store(tmp_path)
    assert buildroot.ensure(alien, (), (), store, progress=SilentProgress(), way="docker") == tmp_path
    with pytest.raises(MissingToolError, match="ppc64le programs"):
        buildroot.ensure(alien, (), (), store, progress=SilentProgress(), way="sandbox")
