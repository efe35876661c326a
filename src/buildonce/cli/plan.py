"""``release plan``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from buildonce.cli.options import Common, common, system

__all__ = ["command"]


@click.command(name="plan")
@common
def command(*, options: Common) -> None:
    """Show what build would do and what is stored already, touching nothing."""
    from buildonce import planning
    from buildonce.cli import show

    with system(options) as machine:
        plan = planning.make(options.root, machine)
    if options.json:
        click.echo(json.dumps(asdict(plan), indent=2))
    else:
        show.plan(plan)
