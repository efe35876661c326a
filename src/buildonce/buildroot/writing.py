"""Writes what belongs to a root beside its packages, with modes that do not depend on the caller's umask."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["folder", "text"]


def folder(root: Path, name: str) -> None:
    """Make the folder *name* below *root* (0755), and its parents, where they are missing."""
    whole = PurePosixPath(name)
    for part in (*reversed(whole.parents), whole):
        path = root / part
        if not path.is_dir():
            path.mkdir()
            path.chmod(0o755)


def text(root: Path, name: str, content: str) -> None:
    """Write the file *name* below *root* (0644)."""
    folder(root, str(PurePosixPath(name).parent))
    path = root / name
    path.write_text(content)
    path.chmod(0o644)
