"""The page that lists a name's published versions for people: plain HTML, made of nothing but what is there."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from packaging.version import InvalidVersion, Version

from buildonce.signing import sums
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from buildonce.model import Digest

__all__ = ["FILE", "Listed", "has", "make", "write"]

FILE: Final = "index.html"
_KIB: Final = 1024
_HEAD: Final = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{name}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }}
td {{ padding: 0 1rem 0 0 }} td:nth-child(2) {{ text-align: right }} code {{ font-size: 80% }}
</style>
<h1>{name}</h1>
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A published version: its files, as SHA256SUMS lists them, and the size of each."""

    version: str
    files: Mapping[str, Digest]
    sizes: Mapping[str, int]


def write(folder: Path) -> None:
    """Write the page of the versions in *folder*, which has the name of the release."""
    data = make(folder.name, (_listed(path) for path in folder.iterdir() if (path / sums.FILE).is_file()))
    place = folder / FILE
    if not place.is_file() or place.read_bytes() != data:
        files.write_atomically(place, data)


def _listed(folder: Path) -> Listed:
    found = sums.read((folder / sums.FILE).read_bytes())
    return Listed(version=folder.name, files=found, sizes={one: (folder / one).stat().st_size for one in found})


def make(name: str, versions: Iterable[Listed]) -> bytes:
    """The page of the release *name*: the newest of *versions* first."""
    ordered = sorted(versions, key=_order, reverse=True)
    return (_HEAD.format(name=html.escape(name)) + "".join(row for one in ordered for row in _version(one))).encode()


def has(data: bytes, version: str) -> bool:
    """Whether the page *data* lists *version*."""
    return _heading(version).encode() in data


def _order(one: Listed) -> tuple[bool, Version | str]:
    try:
        return True, Version(one.version)
    except InvalidVersion:
        return False, one.version


def _heading(version: str) -> str:
    name = html.escape(version)
    return f'<h2 id="{name}">{name}</h2>\n'


def _version(one: Listed) -> Iterator[str]:
    yield f"{_heading(one.version)}<table>\n"
    for file, digest in one.files.items():
        link = f'<a href="{quote(f"{one.version}/{file}")}">{html.escape(file)}</a>'
        yield f"<tr><td>{link}<td>{_size(one.sizes[file])}<td><code>{digest}</code>\n"
    signatures = f'<a href="{quote(one.version)}/{sums.FILE}.asc">{sums.FILE}.asc</a>'
    yield f"</table>\n<p>Signed: {signatures}. Check it with <code>release verify</code>.</p>\n"


def _size(count: int) -> str:
    return f"{count / _KIB / _KIB:.1f} MiB" if count >= _KIB * _KIB else f"{count / _KIB:.1f} KiB"
