"""``release deploy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from buildonce.cli.options import Common, common, complete_environment, trusting

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command(name="deploy")
@click.argument("environment", metavar="ENV", shell_complete=complete_environment)
@click.argument("what", required=False, default="", metavar="[VERSION|DIR]")
@click.option("--plan", "dry", is_flag=True, help="Show hosts, versions and batches; change nothing.")
@click.option("--downgrade", default="", metavar="REASON", help="Take an older version, for this reason.")
@click.option("--break-lock", is_flag=True, help="Take the lock of another deployment, which is known to be gone.")
@trusting
@common
def command(
    *,
    options: Common,
    environment: str,
    what: str,
    dry: bool,
    downgrade: str,
    break_lock: bool,
    keys: tuple[Path, ...],
) -> None:
    """Bring a release to the hosts of ENV: a version, the folder of a release, or the newest that was built here.

    Every host verifies what comes, proves health and version after the switch, and goes back by itself when it hears
    no more; when one host of a batch fails, all go back. The same version again changes nothing.
    """
    from buildonce.cli.deploying import carry_out
    from buildonce.deployment import Wish

    wish = Wish(environment=environment, what=what, downgrade=downgrade, break_lock=break_lock, keys=keys)
    carry_out(options, wish, dry=dry)
