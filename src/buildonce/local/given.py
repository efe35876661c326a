"""What a form of an environment is given, and what it has to do with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buildonce.config import Service
    from buildonce.local.choosing import Chosen
    from buildonce.project import Project
    from buildonce.publishers import Means
    from buildonce.system.services import Found, Services

__all__ = ["FORM", "LOADED", "VERSION", "Given", "Runs"]

# Facts that are kept with the application's container.
FORM: Final = "form"
VERSION: Final = "version"
LOADED: Final = "loaded"  # there when its image came with it, and goes with it


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A release, where it is to run, and what it is told."""

    project: Project
    service: Service
    chosen: Chosen
    place: Services
    means: Means
    keys: tuple[Path, ...]  # public keys to trust; without any those of this user, in *home*
    home: Path
    state: Path  # where logs are kept
    environment: Mapping[str, str]  # with the facts of what it needs
    credentials: Mapping[str, str]


class Runs(Protocol):
    """One form: how the artifact of a release becomes a running application."""

    def prepare(self) -> str:
        """Make ready what takes long, while the version before still runs; answers an image with the interpreter."""
        ...

    def keeps(self, running: Found) -> bool:
        """Whether the container that runs stays, and the new version gets into it."""
        ...

    def start(self) -> Found:
        """Start the new version; answers its container."""
        ...

    def told(self, found: Found) -> str:
        """The end of what the application printed."""
        ...

    def abandon(self) -> None:
        """Remove what :meth:`prepare` brought, when nothing came of it; all containers are gone."""
        ...
