"""``release rollback``."""

from __future__ import annotations

import click

from buildonce.cli.options import Common, common, complete_environment

__all__ = ["command"]


@click.command(name="rollback")
@click.argument("environment", metavar="ENV", shell_complete=complete_environment)
@click.argument("version", required=False, default="", metavar="[VERSION]")
@click.option("--plan", "dry", is_flag=True, help="Show hosts, versions and batches; change nothing.")
@click.option("--break-lock", is_flag=True, help="Take the lock of another deployment, which is known to be gone.")
@common
def command(*, options: Common, environment: str, version: str, dry: bool, break_lock: bool) -> None:
    """Bring the hosts of ENV back: to the version that each had before, or to VERSION.

    Hosts keep the versions that they had: nothing is copied and nothing is built. In batches, with health checks, as
    a deployment.
    """
    from buildonce.cli.deploying import carry_out
    from buildonce.deployment import Wish

    carry_out(options, Wish(environment=environment, what=version, mode="rollback", break_lock=break_lock), dry=dry)
