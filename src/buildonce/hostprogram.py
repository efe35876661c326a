"""The program that works on hosts, ``recipes/host``, as the one file that they get (PEP 441)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce.system import share
from buildonce.system.archive import Member
from buildonce.system.zipped import write_deflated_zip

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FILE", "write"]

FILE = "host.pyz"


def write(place: Path) -> None:
    """Write it as *place*: the same bytes whenever this version of the tool writes it."""
    source = share.path("recipes", "host")
    found = sorted(path.relative_to(source) for path in source.rglob("*.py"))
    write_deflated_zip(place, [Member(path=str(name), source=source / name) for name in found])
