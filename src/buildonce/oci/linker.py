"""``/etc/ld.so.cache`` without running ldconfig, which knows the libraries of its own architecture alone.

The same bytes that ldconfig(8) of glibc 2.33 and later writes; tests compare them with what the real one writes for
both architectures. Format: ``sysdeps/generic/dl-cache.h`` (``cache_file_new``, with its extension) of glibc,
behaviour: ``elf/ldconfig.c``, ``elf/cache.c`` and ``elf/stringtable.c``.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

from buildonce.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from buildonce.model import Target

__all__ = ["FLAGS", "cache"]

# What the loader of an architecture looks for: FLAG_ELF_LIBC6 and the ABI, by the kernel's name of the machine.
FLAGS: Final[Mapping[str, tuple[str, int]]] = {"x86_64": ("EM_X86_64", 0x0303), "aarch64": ("EM_AARCH64", 0x0A03)}
_MAGIC: Final = b"glibc-ld.so.cache1.1"
_HEADER: Final = struct.Struct("<20sIIB3xI12x")  # magic, libraries, bytes of strings, byte order, extension
_LITTLE_ENDIAN: Final = 2
_ENTRY: Final = struct.Struct("<iIIIQ")  # flags, soname, path, unused, hwcap
_EXTENSION: Final = struct.Struct("<IIIIII")  # magic, sections; tag, flags, offset, size of the only one
_EXTENSION_MAGIC: Final = 0xEAA42174
_LIBRARY: Final = re.compile(r"(?:lib|ld-).*\.so.*(?<!-gdb\.py)")
_LIBC_SAYS: Final = re.compile(rb"GNU C Library (\([^)\0]*\) \w+ release version [0-9.]*[0-9])")


def cache(root: Path, target: Target) -> bytes:
    """The cache of the libraries below *root*, laid out as from ``/``, for the loader of *target*.

    Raises :class:`BuildError` for a machine whose loader is not known here.
    """
    if target.machine not in FLAGS:
        raise BuildError(
            f"no image can be made for {target.name} in another target's build root: what the loader of"
            f" {target.machine} looks for in its cache is not known",
            where=f"target {target.name}: build_on",
            hint=f"known are {' and '.join(sorted(FLAGS))}; make other formats, or build in a root of its own",
        )
    found = dict.fromkeys(pair for folder in _folders(root, target) for pair in _libraries(root, folder, target))
    pairs = sorted(found, key=lambda pair: _order(pair[0]), reverse=True)
    strings, at = _strings({text for pair in pairs for text in pair})
    start = _HEADER.size + len(pairs) * _ENTRY.size
    flags = FLAGS[target.machine][1]
    entries = b"".join(_ENTRY.pack(flags, start + at[name], start + at[path], 0, 0) for name, path in pairs)
    extension = -(-(start + len(strings)) // 4) * 4
    maker = _maker(root, target)
    header = _HEADER.pack(_MAGIC, len(pairs), len(strings), _LITTLE_ENDIAN, extension)
    more = _EXTENSION.pack(_EXTENSION_MAGIC, 1, 0, 0, extension + _EXTENSION.size, len(maker)) + maker
    return (header + entries + strings).ljust(extension, b"\0") + more


def _folders(root: Path, target: Target) -> Iterator[PurePosixPath]:
    """Where libraries are, each folder once under its first name: the configured ones, then the loader's own."""
    own = ("/lib", "/usr/lib")
    wanted = (*_configured(root, root / "etc/ld.so.conf"), *(f"{o}/{target.multiarch}" for o in own), *own)
    seen: set[Path] = set()
    for name in wanted:
        place = _inside(root, name)
        if place.is_dir() and place not in seen:
            seen.add(place)
            yield PurePosixPath(name)


def _configured(root: Path, path: Path) -> Iterator[str]:
    if not path.is_file():
        return
    for line in path.read_text("utf-8", errors="replace").splitlines():
        word, _, rest = line.partition("#")[0].strip().partition(" ")
        if word == "include":
            for more in sorted(path.parent.glob(rest.strip()) if "/" not in rest else root.glob(rest.strip()[1:])):
                yield from _configured(root, more)
        elif word:
            yield word.rstrip("/")


def _inside(root: Path, name: str) -> Path:
    """The place of *name* below *root*, links followed as they would be with *root* as ``/``."""
    place = root
    for part in PurePosixPath(name).parts[1:]:
        place = place / part
        if place.is_symlink():
            link = place.readlink()
            place = _inside(root, str(link)) if link.is_absolute() else place.parent / link
    return Path(*place.parts[: len(root.parts)]) / place.resolve().relative_to(root.resolve())


def _libraries(root: Path, folder: PurePosixPath, target: Target) -> Iterator[tuple[str, str]]:
    """Each soname in *folder* with its path: the file's own soname, or the name of a link that stands for it."""
    for path in sorted(_inside(root, str(folder)).iterdir()):
        if not _LIBRARY.fullmatch(path.name):
            continue
        real = _inside(root, str(folder / path.name))
        soname = _soname(real, target) if real.is_file() else None
        if soname is not None:
            name = path.name if path.is_symlink() and _is_alias(path.name, soname) else soname or path.name
            yield name, str(folder / name)


def _is_alias(link: str, soname: str) -> bool:
    """Whether a link counts by its own name: the ``.so`` for linkers does, another version of the soname does not."""
    return link == soname or (link.endswith(".so") and soname.startswith(link))


def _soname(path: Path, target: Target) -> str | None:
    """The soname in *path*, ``""`` when it has none; None for what the loader of *target* does not load."""
    with path.open("rb") as stream:
        try:
            elf = ELFFile(stream)
            if elf["e_machine"] != FLAGS[target.machine][0] or elf["e_type"] != "ET_DYN":
                return None
            for segment in elf.iter_segments("PT_DYNAMIC"):
                if isinstance(segment, DynamicSegment):
                    names = [tag.soname for tag in segment.iter_tags("DT_SONAME")]
                    return names[0] if names else ""
        except ELFError:
            return None
    return None


def _order(name: str) -> tuple[tuple[int, int], ...]:
    """Numbers by value, above all letters (``_dl_cache_libcmp``)."""
    return tuple((1, int(part)) if part.isdigit() else (0, ord(part)) for part in re.findall(r"[0-9]+|[^0-9]", name))


def _strings(texts: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    """The table of *texts* and where each is in it; one that another ends with shares its bytes."""
    table, at, last = b"", dict[str, int](), ""
    for text in sorted(texts, key=lambda text: text[::-1], reverse=True):
        if not last.endswith(text):
            at[text], last = len(table), text
            table += text.encode() + b"\0"
        else:
            at[text] = at[last] + len(last) - len(text)
    return table, at


def _maker(root: Path, target: Target) -> bytes:
    """How ldconfig of the C library below *root* names itself."""
    path = _inside(root, f"/lib/{target.multiarch}/libc.so.6")
    said = _LIBC_SAYS.search(path.read_bytes()) if path.is_file() else None
    return b"ldconfig " + said[1] if said else b"ldconfig"
