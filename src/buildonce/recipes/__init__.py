"""Renders deploy recipes: folders of files that work without this tool. Nothing here runs anything.

The templates are the real files of ``recipes/<name>``; what they become follows from ``[tool.release.service]`` and the
signed manifest of a release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buildonce.recipes.subject import Subject
    from buildonce.system.archive import Member

__all__ = ["NAMES", "render"]

# Name → what it is for.
NAMES: Final[Mapping[str, str]] = {
    "systemd": "One host: the pex or the wheelhouse under a confined unit.",
    "docker": "One host: the image in two colours behind haproxy, switched without a lost request.",
    "quadlet": "One host: the image under podman 4.6 or later, as a systemd unit.",
    "compose": "Small hosts and development: the image and what it needs.",
    "kubernetes": "A cluster: kustomize base and overlays, and a script that goes back when it must.",
    "ansible": "Many hosts: the playbooks of release deploy, with all that they need.",
}


def render(name: str, subject: Subject) -> tuple[Member, ...]:
    """The files of the recipe *name* for *subject*, sorted by path; ``ansible`` is rendered by deployments.

    Raises :class:`buildonce.errors.ReleaseError` for what cannot be run that way.
    """
    from buildonce.recipes import compose, docker, kubernetes, quadlet, systemd

    ways: Mapping[str, Callable[[Subject], Mapping[str, str]]] = {
        "systemd": systemd.render,
        "docker": docker.render,
        "quadlet": quadlet.render,
        "compose": compose.render,
        "kubernetes": kubernetes.render,
    }
    return members(ways[name](subject))


def members(texts: Mapping[str, str]) -> tuple[Member, ...]:
    """*texts* by path as files; programs are those that begin with ``#!``."""
    from buildonce.system.archive import Member

    return tuple(
        Member(path=path, source=text.encode(), mode=0o755 if text.startswith("#!") else 0o644)
        for path, text in sorted(texts.items())
    )
