"""A project as it is read from a pyproject.toml, without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buildonce.config import Settings
from buildonce.project import Project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["project"]


def project(root: Path, *, settings: Mapping[str, Any] | Settings | None = None, **facts: Any) -> Project:
    """``tinyapp``, whose code is in *root*, but for *facts*; *settings* are those of ``[tool.release]``."""
    usual: dict[str, Any] = {
        "name": "tinyapp",
        "summary": "A tiny application for tests.",
        "static_version": "",
        "requires_python": ">=3.11",
        "dependencies": (),
        "dynamic": (),
        "build_requires": (),
        "build_backend": "",
        "license": "MIT",
        "authors": ("Ada Lovelace <ada@example.org>",),
        "urls": (),
    }
    return Project(root=root, settings=Settings.model_validate(settings or {}), **{**usual, **facts})
