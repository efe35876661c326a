"""``release down``."""

from __future__ import annotations

import json

import click

from buildonce.cli.options import Common, common, system
from buildonce.cli.up import naming

__all__ = ["command"]


@click.command(name="down")
@click.option("--name", default="", metavar="NAME", callback=naming, help="The environment's (default: the release's).")
@click.option("--all", "every", is_flag=True, help="All environments of this machine.")
@common
def command(*, options: Common, name: str, every: bool) -> None:
    """Remove what `release up` made: containers, network, and with them all data."""
    from buildonce import local, project

    if name and every:
        raise click.UsageError("--name is one environment, --all are all of them")
    wanted = "" if every else name or project.read(options.root).name
    with system(options) as machine:
        removed = local.down(wanted, machine)
    if options.json:
        click.echo(json.dumps({"removed": removed}, indent=2))
        return
    for one, count in removed.items():
        click.echo(f"{one}: {count} containers, networks, volumes and images removed")
    if not removed:
        click.echo("nothing is up" if every else f"{wanted} is not up", err=True)
