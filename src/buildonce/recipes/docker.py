"""The recipe "docker": the image on one host in two colours, and a script that changes from one to the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from buildonce import units
from buildonce.system import template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buildonce.recipes.subject import Subject

__all__ = ["credentials", "render"]

_HIGHEST: Final = 65_500


def render(subject: Subject) -> Mapping[str, str]:
    """The files, by path. Raises :class:`buildonce.errors.ReleaseError` when the release has no image for the host."""
    name, service, image = subject.name, subject.service, subject.image()
    facts = subject.facts(image.config)
    # Beside the port that users know, which is haproxy's.
    port = service.port or 0
    first = port + 1 if port < _HIGHEST else port - 2
    ports = {"blue": first, "green": first + 1}
    values = {
        "name": name,
        "version": subject.version,
        "file": image.file,
        "port": str(port),
        "health": service.health,
        "migrates": "migrates the database, " if service.migrate else "",
        "credentials": credentials(subject),
        **{colour: str(number) for colour, number in ports.items()},
    }
    said = {
        "name": name,
        "version": subject.version,
        "file": image.file,
        "images": [image.config, image.digest],
        "ports": ports,
        "health": service.health,
        "migrate": bool(service.migrate),
    }
    found = {
        f"{name}@.service": units.container(service, facts, "docker", colour=True),
        "switch.json": json.dumps(said, indent=2) + "\n",
        "switch.py": template.raw("recipes", "docker", "switch.py"),
        "health.py": template.raw("recipes", "systemd", "health.py"),
        "haproxy.cfg": template.read("recipes", "docker", "haproxy.cfg", values=values),
        "README.md": template.read("recipes", "docker", "README.md", values=values),
        "env": units.defaults(service, facts),
    }
    more = {f"{name}-migrate@.service": units.migration(service, facts, "docker")} if service.migrate else {}
    return found | more


def credentials(subject: Subject) -> str:
    """A sentence for the README about the files that have to be there; ``""`` when there are none."""
    if not subject.service.credentials:
        return ""
    listed = ", ".join(f"`{one}`" for one in subject.service.credentials)
    return f"Secrets are files of root's in `/etc/{subject.name}/credentials`, of mode 0600: {listed}.\n"
