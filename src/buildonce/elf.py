"""What the machine code in a wheel needs of the system it runs on, read without running it.

Sources: System V ABI (ELF, dynamic section), the LSB's symbol versions; wheels bring some libraries with
them (PEP 600 calls what is left the policy).
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection, DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from buildonce.errors import Problem, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from buildonce.model import Target

__all__ = ["Needs", "check", "runs_on", "together"]

_MACHINES: Final = {
    "x86_64": "EM_X86_64",
    "aarch64": "EM_AARCH64",
    "i686": "EM_386",
    "armv7l": "EM_ARM",
    "ppc64le": "EM_PPC64",
}
_MACHINES_OF_HOSTS: Final = {
    *_MACHINES.values(),
    "EM_S390",
    "EM_RISCV",
    "EM_LOONGARCH",
    "EM_MIPS",
    "EM_PPC",
    "EM_SPARCV9",
}
_VERSION = re.compile(r"(GLIBC|GLIBCXX|CXXABI)_(\d+(?:\.\d+)+)")
_RELR_GLIBC: Final = (2, 36)  # what GLIBC_ABI_DT_RELR stands for
_IN_MEMORY: Final = 4 << 20  # larger files are unpacked to a temporary file

_Version = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a wheel, or several, need of the system. Versions are ``()`` when nothing asks for one."""

    sonames: tuple[str, ...] = ()  # libraries to be provided by the system, sorted: ("libc.so.6", "libpq.so.5")
    provides: tuple[str, ...] = ()  # libraries that the wheel brings, sorted
    glibc: _Version = ()
    glibcxx: _Version = ()
    cxxabi: _Version = ()


def check(wheel: Path, target: Target) -> Needs:
    """What *wheel* needs of *target*.

    Raises :class:`VerificationError` that names every member which cannot run there: another machine,
    another C library, or newer symbols than the target's glibc and libstdc++ have.
    """
    problems: list[Problem] = []
    found = list(_read(wheel))
    runnable = [one for one in found if _fits(one, found, target, wheel.name, problems)]
    provides = {name for one in runnable for name in one.names}
    versions: dict[str, _Version] = {}
    for one in runnable:
        for family, version, library in one.versions:
            if library in provides:
                continue
            versions[family] = max(versions.get(family, ()), version)
            newest = _newest(family, target)
            if newest and version > newest:
                problems.append(_too_new(wheel.name, one.member, family, version, newest, target))
    if problems:
        raise VerificationError.of(tuple(problems))
    return Needs(
        sonames=tuple(sorted({name for one in runnable for name in one.needed} - provides)),
        provides=tuple(sorted(provides)),
        glibc=versions.get("GLIBC", ()),
        glibcxx=versions.get("GLIBCXX", ()),
        cxxabi=versions.get("CXXABI", ()),
    )


def runs_on(path: Path, machine: str) -> bool:
    """Whether the file *path* is code for *machine* (the kernel's name), or no code at all."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return True
        file.seek(0)
        elf = ELFFile(file)
        return bool(elf["e_machine"] == _MACHINES[machine]) and elf.little_endian


def together(needs: Iterable[Needs]) -> Needs:
    """What several wheels need when they are installed side by side: one may bring what another asks for."""
    needs = tuple(needs)
    provides = {name for one in needs for name in one.provides}
    return Needs(
        sonames=tuple(sorted({name for one in needs for name in one.sonames} - provides)),
        provides=tuple(sorted(provides)),
        glibc=max((one.glibc for one in needs), default=()),
        glibcxx=max((one.glibcxx for one in needs), default=()),
        cxxabi=max((one.cxxabi for one in needs), default=()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Object:
    """One ELF file that a loader could load."""

    member: str
    machine: str
    little: bool
    needed: frozenset[str]
    names: frozenset[str]  # its file name and its soname
    versions: frozenset[tuple[str, _Version, str]]  # (family, version, library)


def _read(wheel: Path) -> Iterator[_Object]:
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            if info.file_size < 52:  # the smallest ELF header
                continue
            with archive.open(info) as packed:
                magic = packed.read(4)
                if magic != b"\x7fELF":
                    continue
                with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
                    file.write(magic)
                    shutil.copyfileobj(packed, file, 1 << 18)
                    file.seek(0)
                    try:
                        found = _object(file, info.filename)
                    except (ELFError, ValueError, UnicodeDecodeError, AttributeError, IndexError) as error:
                        raise VerificationError(
                            f"{info.filename} is not a sound ELF file ({error})",
                            where=f"{wheel.name}: {info.filename}",
                            hint="fetch or build the wheel again",
                        ) from error
                if found is not None:
                    yield found


def _object(file: IO[bytes], member: str) -> _Object | None:
    """*file* as something to be loaded; None for object files and for code of devices (BPF, GPUs)."""
    elf = ELFFile(file)
    if elf["e_type"] not in ("ET_DYN", "ET_EXEC") or elf["e_machine"] not in _MACHINES_OF_HOSTS:
        return None
    needed, names = set(), {member.rsplit("/", 1)[-1]}
    for tag in _dynamic_tags(elf):
        if tag.entry.d_tag == "DT_NEEDED":
            needed.add(tag.needed)
        elif tag.entry.d_tag == "DT_SONAME":
            names.add(tag.soname)
    return _Object(
        member=member,
        machine=elf["e_machine"],
        little=elf.little_endian,
        needed=frozenset(needed),
        names=frozenset(names),
        versions=frozenset(_versions(elf)),
    )


def _dynamic_tags(elf: Any) -> Iterator[Any]:
    """The loader reads segments; sections are for linkers and may be missing."""
    for part in (*elf.iter_segments("PT_DYNAMIC"),) or (*elf.iter_sections("SHT_DYNAMIC"),):
        if isinstance(part, DynamicSegment | DynamicSection):
            yield from part.iter_tags()


def _versions(elf: Any) -> Iterator[tuple[str, _Version, str]]:
    for section in elf.iter_sections("SHT_GNU_verneed"):
        if isinstance(section, GNUVerNeedSection):
            for library, symbols in section.iter_versions():
                for symbol in symbols:
                    if symbol.name == "GLIBC_ABI_DT_RELR":
                        yield "GLIBC", _RELR_GLIBC, library.name
                    elif match := _VERSION.fullmatch(symbol.name):
                        yield match[1], tuple(int(part) for part in match[2].split(".")), library.name


def _fits(one: _Object, found: list[_Object], target: Target, wheel: str, problems: list[Problem]) -> bool:
    """Whether *one* runs on the machine of *target*; adds a problem when it should and does not.

    Some wheels ship one helper per machine in one folder (debugpy): a foreign one beside a fitting one is
    none of ours.
    """
    if (one.machine, one.little) == (_MACHINES[target.machine], True):
        musl = sorted(name for name in one.needed if name.startswith(("libc.musl-", "ld-musl-")))
        if musl:
            problems.append(_cannot(wheel, one.member, f"it is linked with musl ({musl[0]}), {target.name} has glibc"))
        return not musl
    folder = one.member.rpartition("/")[0]
    beside = (other for other in found if other.member.rpartition("/")[0] == folder)
    if not any(other.machine == _MACHINES[target.machine] for other in beside):
        machine = one.machine.removeprefix("EM_").lower()
        problems.append(_cannot(wheel, one.member, f"it is code for {machine}, {target.name} is {target.machine}"))
    return False


def _newest(family: str, target: Target) -> _Version:
    """The newest version of *family* on *target*, ``()`` when it is not known."""
    known: dict[str, _Version] = {"GLIBC": target.glibc, "GLIBCXX": target.glibcxx, "CXXABI": target.cxxabi}
    return known.get(family, ())


def _too_new(wheel: str, member: str, family: str, version: _Version, newest: _Version, target: Target) -> Problem:
    spelled, has = (".".join(map(str, one)) for one in (version, newest))
    return _cannot(wheel, member, f"it needs {family} {spelled}, {target.name} has {has}")


def _cannot(wheel: str, member: str, why: str) -> Problem:
    return Problem(
        message=f"{wheel} cannot run: {member}: {why}",
        where=f"{wheel}: {member}",
        hint=f"lock another version of {wheel.split('-', 1)[0]}, or its sdist to be compiled",
    )
