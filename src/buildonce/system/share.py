"""Finds ``builders/`` and ``recipes/``, inside the installed package or beside ``src`` in a checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ["path"]


def _root() -> Path:
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_share", package.parent.parent):
        if (candidate / "builders" / "targets").is_dir():
            return candidate
    msg = f"the installation of buildonce is incomplete: no builders folder for {package}"
    raise RuntimeError(msg)


def path(*parts: str) -> Path:
    """The file or folder ``builders/…`` or ``recipes/…`` that ships with this version, to be read, never written."""
    return _root().joinpath(*parts)
