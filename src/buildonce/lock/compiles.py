"""What a person wants to hear about a lock: what will be compiled, where, and with which OS packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildonce import target as targets

if TYPE_CHECKING:
    from buildonce.lock.state import Lock
    from buildonce.project import Project

__all__ = ["Compiles", "report"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiles:
    """A locked package without a wheel for a target."""

    name: str
    version: str
    target: str
    apt: tuple[str, ...]  # what the settings give it beside the compilers
    possible: bool = True  # not where the target is built on another one

    @property
    def line(self) -> str:
        """One line for the screen, with what to do when compiling lacks a header."""
        if not self.possible:
            return (
                f"{self.name} {self.version} has no wheel for {self.target} and cannot be compiled for it:"
                f" `release build` will refuse {self.target}"
            )
        needs = (
            f"with {', '.join(self.apt)}"
            if self.apt
            else f"where headers are missing, name their packages: [tool.release.build.{self.name}] apt = […]"
        )
        return f"{self.name} {self.version} has no wheel for {self.target}: it will be compiled; {needs}"


def report(lock: Lock, project: Project) -> tuple[Compiles, ...]:
    """What *lock* makes the build compile, for every target, sorted by target and name."""
    return tuple(
        Compiles(
            name=one.name,
            version=one.version,
            target=target.name,
            apt=_apt(project, one.name),
            possible=target.build_on is None,
        )
        for target in targets.of(project.settings)
        for one in lock.select(target)
        if one.compiles
    )


def _apt(project: Project, name: str) -> tuple[str, ...]:
    settings = project.settings.build.get(name)
    return settings.apt if settings else ()
