"""``release builder list``, ``create``, ``shell`` and ``gc``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from buildonce.cli.options import Common, common, isolated, system
from buildonce.errors import ReleaseError

if TYPE_CHECKING:
    from buildonce.model import RunnerName

__all__ = ["command"]


@click.group(name="builder")
def command() -> None:
    """See, make, enter and remove build roots."""


@command.command(name="list")
@common
def list_(*, options: Common) -> None:
    """List the build roots of the store and of the Docker engine; last used first.

    Those that the lock of the project in this folder is for are marked.
    """
    from buildonce import roots
    from buildonce.cli import show

    with system(options) as machine:
        found = roots.listed(options.root, machine)
    if options.json:
        click.echo(json.dumps([asdict(root) for root in found], indent=2))
    else:
        show.roots(found)


@command.command()
@click.argument("target", default="")
@isolated
@common
def create(*, options: Common, target: str, runner: RunnerName, limit: float) -> None:
    """Fetch and unpack what the project's lock says for TARGET (default: for all), so that builds find it ready."""
    from buildonce import roots
    from buildonce.cli import show

    with system(options) as machine:
        made = roots.create(
            roots.Place(project=options.root, target=target, runner=runner, limit=limit),
            machine,
        )
    if options.json:
        click.echo(json.dumps([asdict(root) for root in made], indent=2))
    else:
        show.roots(made)


@command.command()
@click.argument("target", default="")
@click.option("-c", "line", default="", metavar="LINE", help="Run this line of shell instead, without a terminal.")
@isolated
@common
def shell(*, options: Common, target: str, line: str, runner: RunnerName, limit: float) -> None:
    """Open a shell in the build root of TARGET (default: the first), as the step sees it that builds the wheel.

    A clean clone is in /build/src, the locked build environment in /build/env. Nothing stays of what is written.
    `/build/env/bin/python -I /build/hook.py wheel` builds the wheel.
    """
    from buildonce import roots
    from buildonce.system import terminal

    if not line and not terminal.present():
        raise ReleaseError(
            "there is no terminal here", hint="run one line of shell with `release builder shell -c LINE`"
        )
    place = roots.Place(project=options.root, target=target, runner=runner, limit=limit)
    with system(options) as machine, roots.opened(place, machine) as session:
        if not line:
            raise click.exceptions.Exit(session.interact())
        outcome = session.run(line)
    if options.json:
        said = {"stdout": outcome.stdout.decode(errors="replace"), "stderr": outcome.tail}
        click.echo(json.dumps({"exit_code": outcome.returncode, **said}, indent=2))
    else:
        click.echo(outcome.stdout, nl=False)
        click.echo(outcome.tail, err=True, nl=bool(outcome.tail))
    raise click.exceptions.Exit(outcome.returncode)


@command.command()
@click.option("--days", default=30.0, metavar="N", help="Keep what was used in the last N days (default 30).")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@common
def gc(*, options: Common, days: float, dry_run: bool) -> None:
    """Remove build roots that the project's lock is not for and that no build used lately, also from the engine.

    The images of hosts that `release up` did not use lately go as well. What is in use stays.
    """
    from buildonce import roots
    from buildonce.cli import show

    with system(options) as machine:
        removed = roots.gc(options.root, machine, days=days, dry_run=dry_run)
    if options.json:
        rows = {"removed": [asdict(root) for root in removed.roots], "busy": [asdict(root) for root in removed.busy]}
        rows["hosts"] = [asdict(host) for host in removed.hosts]
        click.echo(json.dumps({"dry_run": dry_run, "size": removed.size, **rows}, indent=2))
    else:
        show.removed(removed, dry_run=dry_run)
