"""What the application needs beside itself, each in a container of Debian packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buildonce.model import Target
    from buildonce.project import Project
    from buildonce.system import System
    from buildonce.system.services import Services

__all__ = ["start"]


def start(project: Project, target: Target, place: Services, system: System) -> Mapping[str, Mapping[str, str]]:
    """Start every need of *project* that does not run; answers what the application may be told of each."""
    return {}
