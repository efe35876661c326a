"""The page that lists a name's published versions for people: plain HTML, made of nothing but what is there."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from packaging.version import InvalidVersion, Version

from buildonce.signing import sums
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FILE", "write"]

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


def write(folder: Path) -> None:
    """Write the page of the versions in *folder*, which has the name of the release."""
    versions = sorted((path for path in folder.iterdir() if (path / sums.FILE).is_file()), key=_order, reverse=True)
    text = _HEAD.format(name=html.escape(folder.name)) + "".join(row for one in versions for row in _version(one))
    data = text.encode()
    place = folder / FILE
    if not place.is_file() or place.read_bytes() != data:
        files.write_atomically(place, data)


def _order(path: Path) -> tuple[bool, Version | str]:
    try:
        return True, Version(path.name)
    except InvalidVersion:
        return False, path.name


def _version(folder: Path) -> Iterator[str]:
    name = html.escape(folder.name)
    yield f'<h2 id="{name}">{name}</h2>\n<table>\n'
    for file, digest in sums.read((folder / sums.FILE).read_bytes()).items():
        link = f'<a href="{quote(f"{folder.name}/{file}")}">{html.escape(file)}</a>'
        yield f"<tr><td>{link}<td>{_size((folder / file).stat().st_size)}<td><code>{digest}</code>\n"
    signatures = f'<a href="{quote(folder.name)}/{sums.FILE}.asc">{sums.FILE}.asc</a>'
    yield f"</table>\n<p>Signed: {signatures}. Check it with <code>release verify</code>.</p>\n"


def _size(count: int) -> str:
    return f"{count / _KIB / _KIB:.1f} MiB" if count >= _KIB * _KIB else f"{count / _KIB:.1f} KiB"
