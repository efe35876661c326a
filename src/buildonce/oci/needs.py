"""Which libraries of the operating system the ELF files of a Tree are linked against."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from buildonce.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from buildonce.model import Entry
    from buildonce.system.store import Store

__all__ = ["linked", "sonames"]

_MAGIC: Final = b"\x7fELF"
_PLAIN: Final = (
    ".py",
    ".pyc",
    ".pyi",
    ".txt",
    ".json",
    ".h",
    ".toml",
)  # never ELF; saves opening thousands of files


def sonames(entries: Iterable[Entry], root: Path, store: Store) -> tuple[str, ...]:
    """The sonames that the files *entries* below *root* need and do not bring themselves, sorted.

    Raises :class:`BuildError` for an ELF file that cannot be read.
    """
    elf = linked(entries, root)
    made_from = ["sonames 2", *([e.path, e.sha256] for e in elf)]
    return tuple(store.value("oci-sonames", made_from, lambda: sorted(_missing(elf, root))))


def linked(entries: Iterable[Entry], root: Path) -> list[Entry]:
    """Those of *entries*, which lie below *root*, that are ELF files."""
    candidates = (e for e in entries if not e.link and e.size > len(_MAGIC) and not e.path.endswith(_PLAIN))
    return [e for e in candidates if _is_elf(root / e.path)]


def _is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def _missing(elf: Sequence[Entry], root: Path) -> set[str]:
    """What is needed but not there: wheels carry libraries under names of their own
    (``libopenblas-….so``).
    """
    from elftools.common.exceptions import ELFError

    needed: set[str] = set()
    brought = {PurePosixPath(entry.path).name for entry in elf}
    for entry in elf:
        try:
            for tag, value in _dynamic(root / entry.path):
                (needed if tag == "DT_NEEDED" else brought).add(value)
        except (ELFError, ValueError) as error:
            raise BuildError(f"{entry.path} is not a sound ELF file: {error}") from error
    return needed - brought


def _dynamic(path: Path) -> Iterator[tuple[str, str]]:
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as stream:
        for segment in ELFFile(stream).iter_segments("PT_DYNAMIC"):
            if isinstance(segment, DynamicSegment):
                for tag in segment.iter_tags():
                    if tag.entry.d_tag == "DT_NEEDED":
                        yield "DT_NEEDED", tag.needed
                    elif tag.entry.d_tag == "DT_SONAME":
                        yield "DT_SONAME", tag.soname
