"""``release up``."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from buildonce.cli.keys import home
from buildonce.cli.means import open_means
from buildonce.cli.options import Common, common, trusting

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.local import Form, Running

__all__ = ["command", "naming"]


def naming(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The name of an environment: part of a host's and of a network's name."""
    if value and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", value):
        raise click.BadParameter("up to 41 small letters, digits and -, not - first", context, parameter)
    return value


@click.command(name="up")
@click.argument("what", required=False, default="", metavar="[VERSION|DIR]")
@click.option("--format", "form", type=click.Choice(("oci", "deb", "pex")), help="What of the release runs.")
@click.option("--name", default="", metavar="NAME", callback=naming, help="The environment's (default: the release's).")
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="On 127.0.0.1 (default: any that is free).")
@trusting
@common
def command(
    *, options: Common, what: str, form: Form | None, name: str, port: int | None, keys: tuple[Path, ...]
) -> None:
    """Run a release on this machine: the built and signed artifact, with what it needs, healthy before this ends.

    A version, the folder of a release, or the newest that was built here. It takes the place of the version that runs;
    what its needs keep stays. `release down` removes all of it.
    """
    from platformdirs import user_state_path

    from buildonce import local

    wish = local.Wish(what=what, form=form, name=name, port=port or 0, keys=keys)
    with open_means(options, keys) as means:
        running = local.up(options.root, wish, means, home=home(), state=user_state_path("buildonce"))
    if options.json:
        click.echo(json.dumps(asdict(running), indent=2))
    else:
        _show(running)


def _show(running: Running) -> None:
    click.echo(running.url or running.containers["app"])
    before = f", instead of {running.previous}" if running.previous not in ("", running.version) else ""
    click.echo(f"{running.name} {running.version} ({running.file}) runs as {running.environment}{before}", err=True)
    for role, container in running.containers.items():
        click.echo(f"  {role}: docker logs {container}", err=True)
    name = "" if running.environment == running.name else f" --name {running.environment}"
    click.echo(f"release down{name} removes all of it", err=True)
