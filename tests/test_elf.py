"""What machine code needs: read from an extension module of this interpreter, and from real wheels."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from buildonce import elf, target
from buildonce.errors import VerificationError
from tests import wheelmaker

TARGET = dataclasses.replace(target.load("debian-12"), machine=platform.machine())
FOREIGN = dataclasses.replace(TARGET, machine="aarch64" if platform.machine() == "x86_64" else "x86_64")


def extension() -> bytes:
    """A shared object that needs glibc."""
    folder = Path(sysconfig.get_config_var("DESTSHARED"))
    return min(folder.glob("*.so"), key=lambda path: (b"GLIBC_" not in path.read_bytes(), path.name)).read_bytes()


def wheel(into: Path, files: dict[str, str | bytes]) -> Path:
    return wheelmaker.make(into, files, tag="cp311-cp311-linux_x86_64", purelib=False)


def test_what_an_extension_needs(tmp_path: Path) -> None:
    needs = elf.check(wheel(tmp_path, {"orders/_fast.so": extension(), "orders/a.py": "x = 1\n" * 20}), TARGET)
    assert "libc.so.6" in needs.sonames
    assert needs.provides == ("_fast.so",)
    assert (2, 0) < needs.glibc <= TARGET.glibc


def test_a_pure_wheel_needs_nothing(tmp_path: Path) -> None:
    assert elf.check(wheelmaker.make(tmp_path), TARGET) == elf.Needs()


def test_a_library_that_the_wheel_brings_is_not_needed(tmp_path: Path) -> None:
    """Nor do its symbols count against the target's."""
    files: dict[str, str | bytes] = {"orders/_fast.so": extension()}
    for name in elf.check(wheel(tmp_path, files), TARGET).sonames:
        files[f"orders.libs/{name}"] = extension()
    needs = elf.check(wheel(tmp_path, files), dataclasses.replace(TARGET, glibc=(2, 1)))
    assert (needs.sonames, needs.glibc) == ((), ())


def test_newer_symbols_than_the_target_has(tmp_path: Path) -> None:
    old = dataclasses.replace(TARGET, glibc=(2, 1))
    path = wheel(tmp_path, {"orders/_fast.so": extension()})
    with pytest.raises(
        VerificationError, match=r"orders/_fast\.so: it needs GLIBC 2\.\d+.*debian-12 has 2\.1"
    ) as error:
        elf.check(path, old)
    assert error.value.problems[0].where == f"{path.name}: orders/_fast.so"
    assert error.value.problems[0].hint


def test_code_for_another_machine(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"orders/_fast.so": extension()})
    with pytest.raises(VerificationError, match=rf"_fast\.so: it is code for .*{FOREIGN.machine}"):
        elf.check(path, FOREIGN)


def test_a_helper_for_another_machine_beside_ours_is_left_alone(tmp_path: Path) -> None:
    ours = extension()
    other = ours[:18] + b"\xf3\x00" + ours[20:]  # e_machine: RISC-V
    needs = elf.check(wheel(tmp_path, {"orders/attach_ours.so": ours, "orders/attach_riscv.so": other}), TARGET)
    assert needs.provides == ("attach_ours.so",)
    with pytest.raises(VerificationError, match=r"attach_riscv\.so: it is code for riscv"):
        elf.check(wheel(tmp_path, {"orders/attach_riscv.so": other}), TARGET)


@pytest.mark.parametrize("cut", [8, 70, 3000])
def test_a_broken_elf_file(cut: int, tmp_path: Path) -> None:
    path = wheel(tmp_path, {"orders/_fast.so": extension()[:cut].ljust(60, b"\0")})
    with pytest.raises(VerificationError, match=r"orders/_fast\.so is not a sound ELF file"):
        elf.check(path, TARGET)


def test_together_one_wheel_brings_what_another_needs() -> None:
    one = elf.Needs(sonames=("libc.so.6", "libcuda.so.1"), provides=("_a.so",), glibc=(2, 14))
    two = elf.Needs(sonames=("libc.so.6",), provides=("libcuda.so.1",), glibc=(2, 34), glibcxx=(3, 4, 21))
    assert elf.together([one, two]) == elf.Needs(
        sonames=("libc.so.6",), provides=("_a.so", "libcuda.so.1"), glibc=(2, 34), glibcxx=(3, 4, 21)
    )
    assert elf.together([]) == elf.Needs()


def download(into: Path, requirement: str, tag: str) -> Path:
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.11", f"--platform={tag}"]
    argv = [sys.executable, "-m", "pip", "download", *options, "--dest", str(into), requirement]
    subprocess.run(argv, check=True)
    (path,) = into.glob("*.whl")
    return path


@pytest.mark.integration
def test_a_musl_wheel_cannot_run_on_debian(tmp_path: Path) -> None:
    path = download(tmp_path, "markupsafe", "musllinux_1_2_x86_64")
    with pytest.raises(VerificationError, match="linked with musl"):
        elf.check(path, target.load("debian-12"))


@pytest.mark.integration
def test_a_wheel_with_libraries_of_its_own(tmp_path: Path) -> None:
    path = download(tmp_path, "numpy==2.4.*", "manylinux_2_28_x86_64")
    needs = elf.check(path, target.load("debian-12"))
    assert {"libstdc++.so.6", "libm.so.6"} <= set(needs.sonames)
    assert not any("openblas" in name for name in needs.sonames)
    assert needs.glibcxx >= (3, 4)
    old = dataclasses.replace(target.load("debian-12"), glibc=(2, 17))
    with pytest.raises(VerificationError, match=r"it needs GLIBC 2\.\d+, debian-12 has 2\.17"):
        elf.check(path, old)


def test_code_runs_on_its_own_machine_alone_and_data_everywhere(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(extension())
    (tmp_path / "data").write_bytes(b"\x7fEL")
    assert elf.runs_on(tmp_path / "code", TARGET.machine)
    assert not elf.runs_on(tmp_path / "code", FOREIGN.machine)
    assert elf.runs_on(tmp_path / "data", FOREIGN.machine)
