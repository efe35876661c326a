"""``release deploy`` and ``release rollback``: a verified release to the hosts of an environment, batch by batch.

A host goes back by itself when it hears no more of its deployment; this program makes the fleet go back together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce.deployment import orders
from buildonce.deployment.controller import Controller
from buildonce.deployment.orders import Wish
from buildonce.deployment.playing import Player
from buildonce.deployment.verdicts import HostReport, Report
from buildonce.system import share

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.publishers import Means

__all__ = ["HostReport", "Report", "Wish", "run"]


def run(root: Path, wish: Wish, means: Means, *, home: Path, state: Path, dry: bool = False) -> Report:
    """Carry out *wish* for the project in *root*, or with *dry* only look at the hosts.

    The user's keys are in *home*; plans, logs and events of the deployment are kept below *state*. What hosts do is
    in the report; raises :class:`buildonce.errors.ReleaseError` for what is wrong before any host hears of it.
    """
    order = orders.make(root, wish, means, home)
    folder = state / "deployments" / f"{order.project.name}-{wish.environment}-{order.deployment}"
    folder.mkdir(parents=True, mode=0o700)
    player = Player(
        means.system.host,
        inventory=root / order.settings.inventory,
        recipe=share.path("recipes", "ansible"),
        cwd=root,
        logs=folder,
    )
    return Controller(order=order, player=player, system=means.system, folder=folder).run(dry=dry)
