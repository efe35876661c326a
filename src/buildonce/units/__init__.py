"""The one place that writes unit files: a service runs under systemd from the same settings in every format.

The deb carries what is rendered here, deployments and recipes write it to the host. Reference: systemd.unit(5),
systemd.service(5), systemd.exec(5), systemd.socket(5), sysusers.d(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce.units.containers import TASKS, USER, Engine, container, migration, volume
from buildonce.units.facts import Facts, homepage, synopsis
from buildonce.units.native import MADE_BY_SYSTEMD, command, defaults, service, socket, sysusers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buildonce.environments import Form
    from buildonce.service import Service

__all__ = [
    "MADE_BY_SYSTEMD",
    "TASKS",
    "USER",
    "Engine",
    "Facts",
    "command",
    "container",
    "defaults",
    "files",
    "homepage",
    "migration",
    "service",
    "socket",
    "synopsis",
    "sysusers",
    "volume",
]


def files(settings: Service, facts: Facts, form: Form, engine: Engine = "docker") -> Mapping[str, str]:
    """The files that a deployment writes on a host, by path: the key ``units`` of its plan.

    Nothing for a deb, which has its own. None of them migrates the database: a deployment does that, once. After they
    are written: ``systemd-sysusers`` (no image needs it), ``systemctl daemon-reload``, and with
    ``<name>.socket`` that one is enabled and started before the service.
    """
    place = "/etc/systemd/system"
    if form == "deb":
        return {}
    if form == "oci":
        return {f"{place}/{facts.name}.service": container(settings, facts, engine)}
    found = {
        f"{place}/{facts.name}.service": service(settings, facts, form),
        f"/etc/sysusers.d/{facts.name}.conf": sysusers(settings, facts),
    }
    return found | ({f"{place}/{facts.name}.socket": socket(settings, facts)} if settings.socket else {})
