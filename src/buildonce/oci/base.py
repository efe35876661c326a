"""The base of an image, from locked OS packages: their files, and what maintainer scripts would have made. No
script is run.

Two layers: the libraries and data of the distribution, and the interpreter with its standard library,
byte-compiled. A change of one does not change the other.
"""

from __future__ import annotations

import stat
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Final

from buildonce import elf
from buildonce.debs import deb
from buildonce.errors import BuildError
from buildonce.model import Bind, Command, Digest
from buildonce.oci import linker
from buildonce.oci.layers import LayerPlan
from buildonce.system import canonical, files, share
from buildonce.system.archive import Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from buildonce.model import Target
    from buildonce.oci.packages import Package
    from buildonce.oci.rules import Rules
    from buildonce.protocols import Runner

__all__ = ["plans"]

# Part of every key: raise it when the same packages and rules would become other files.
_FORMAT: Final = "base 1"
_CERTIFICATES: Final = "usr/share/ca-certificates/"
_BUNDLE: Final = "etc/ssl/certs/ca-certificates.crt"
_IMAGE: Final = PurePosixPath("/build/image")
_TOOLS: Final = PurePosixPath("/build/tools")


def plans(packages: Sequence[Package], *, rules: Rules, target: Target, runner: Runner) -> tuple[LayerPlan, LayerPlan]:
    """The plans of the two layers, libraries first. *runner* is the build root of the target's builder: its
    interpreter is used, and its ldconfig where the target is of the same architecture.
    """
    python = [package for package in packages if _is_python(package, target)]
    rest = [package for package in packages if not _is_python(package, target)]

    def base(scratch: Path) -> Iterable[Member]:
        certificates = unpack(rest, rules, scratch, machine=target.machine)
        _finish(scratch, rules, certificates)
        _make_library_cache(scratch, target, runner)
        folders = [Member(path=f"{f.path}/", mode=f.mode, owner=f.owner) for f in rules.folders]
        return [*folders, *_members(scratch)]

    def interpreter(scratch: Path) -> Iterable[Member]:
        unpack(python, rules, scratch, machine=target.machine)
        _alias(scratch, target)
        _compile_library(scratch, target, runner)
        return _members(scratch)

    return (
        LayerPlan(title="base", key=_key(rules, rest, _shared_digests("oci", "rootfs")), members=base),
        LayerPlan(
            title="python",
            key=_key(rules, python, _shared_digests("tree", "compile.py")),
            members=interpreter,
        ),
    )


def _is_python(package: Package, target: Target) -> bool:
    return package.pin.name.startswith((f"python{target.python_minor}", f"libpython{target.python_minor}"))


def _key(rules: Rules, packages: Sequence[Package], more: Iterable[str]) -> Digest:
    parts = [_FORMAT, rules.digest, [package.pin.file.sha256 for package in packages], list(more)]
    return files.sha256_bytes(canonical.dump(parts))


def _shared_digests(*parts: str) -> list[str]:
    path = share.path("builders", *parts)
    found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [files.sha256_file(p) for p in found]


def unpack(packages: Sequence[Package], rules: Rules, into: Path, *, machine: str) -> dict[str, bytes]:
    """Lay the files of *packages* that *rules* take below *into*, merged into /usr; answers the CA
    certificates by path.

    Every package also leaves its control file in ``var/lib/dpkg/status.d``, where scanners look. Raises
    :class:`BuildError` when two packages have one file, or one is code for another *machine* (the kernel's name).
    """
    certificates: dict[str, bytes] = {}
    owners: dict[str, str] = {}
    for package in packages:
        found = deb.read(package.path)
        for member, stream in found.members():
            merged = deb.merge(member)
            if merged is None or merged.kind == "folder":
                continue
            if merged.path.startswith(_CERTIFICATES) and merged.path.endswith(".crt"):
                certificates[merged.path] = stream.read()
            if not _takes(merged, rules):
                continue
            if merged.path in owners:
                raise BuildError(f"{merged.path} is in the OS packages {owners[merged.path]} and {package.pin.name}")
            owners[merged.path] = package.pin.name
            _lay(merged, stream, into)
            if merged.kind == "file" and not elf.runs_on(into / merged.path, machine):
                raise BuildError(f"{merged.path} of the OS package {package.pin.name} is not code for {machine}")
        _write(into / "var/lib/dpkg/status.d" / package.pin.name, found.controls["control"])
    return certificates


def _takes(member: deb.Member, rules: Rules) -> bool:
    # usr/share/doc/<package> may be a link to the package that has the licence.
    if member.kind == "link" and PurePosixPath(member.path).parent == PurePosixPath("usr/share/doc"):
        return True
    return rules.takes(member.path)


def _lay(member: deb.Member, stream: IO[bytes], into: Path) -> None:
    path = into / member.path
    if any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(into)):
        raise BuildError(f"{member.path} of an OS package lies below a link")
    path.parent.mkdir(parents=True, exist_ok=True)
    match member.kind:
        case "link":
            path.symlink_to(member.link)
        case "hardlink":
            files.copy_file(into / member.link, path)
        case _:
            with path.open("xb") as file:
                while chunk := stream.read(1 << 20):
                    file.write(chunk)
            # Never setuid, setgid or writable by others.
            path.chmod(member.mode & 0o755)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)


def _finish(into: Path, rules: Rules, certificates: dict[str, bytes]) -> None:
    """What maintainer scripts would have made: the users, the links, the bundle of certificates."""
    source = share.path("builders", "oci", "rootfs")
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        _write(into / path.relative_to(source), path.read_bytes())
    for place, leads_to in rules.links:
        path = into / place
        if not path.is_symlink():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(leads_to)
    if certificates:
        bundle = b"".join(certificates[name].rstrip(b"\n") + b"\n" for name in sorted(certificates))
        _write(into / _BUNDLE, bundle)


def _make_library_cache(into: Path, target: Target, runner: Runner) -> None:
    """``etc/ld.so.cache`` by the target's own ldconfig, or as it would be; ``ctypes.util.find_library`` needs it."""
    if not (into / "usr/sbin/ldconfig").is_file():
        return
    if target.build_on:
        _write(into / "etc/ld.so.cache", linker.cache(into, target))
        return
    runner.run(
        Command(
            argv=("/sbin/ldconfig", "-r", str(_IMAGE), "-X"),
            binds=(Bind(source=into, target=_IMAGE, writable=True),),
        )
    )


def _alias(into: Path, target: Target) -> None:
    path = into / "usr/bin/python3"
    if not path.is_symlink():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target.interpreter.name)


def _compile_library(into: Path, target: Target, runner: Runner) -> None:
    """Bytecode of the standard library, made as that of the Tree is: at its final place, by the target's
    interpreter.
    """
    library = PurePosixPath(f"/usr/lib/python{target.python_minor}")
    host = into.joinpath(*library.parts[1:])
    if not host.is_dir():
        raise BuildError(f"the locked OS packages have no standard library of Python {target.python_minor}")
    runner.run(
        Command(
            argv=(str(target.interpreter), "-S", "-s", str(_TOOLS / "compile.py"), str(library)),
            binds=(
                Bind(source=host, target=library, writable=True),
                Bind(source=share.path("builders", "tree"), target=_TOOLS),
            ),
        )
    )


def _members(root: Path) -> Iterable[Member]:
    for path in root.rglob("*"):
        status = path.lstat()
        place = path.relative_to(root).as_posix()
        if stat.S_ISLNK(status.st_mode):
            yield Member(path=place, mode=0o777, link=str(path.readlink()))
        elif stat.S_ISREG(status.st_mode) and not place.startswith("var/cache/"):
            yield Member(path=place, mode=status.st_mode & 0o755, source=path)
