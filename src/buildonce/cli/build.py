"""``release build``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildonce.cli.options import Common, common, complete_target, isolated, system
from buildonce.model import FORMATS

if TYPE_CHECKING:
    from buildonce.model import Format, RunnerName

__all__ = ["command"]


@click.command(name="build")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="T",
    shell_complete=complete_target,
    help="Only this target; may be given again.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(FORMATS),
    help="Only this format; may be given again.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("dist"),
    help="Where releases go, below the project.",
)
@click.option("--allow-dirty", is_flag=True, help="Build local changes too; the version can never be published.")
@click.option("--key", "key", metavar="FILE", help="The signing key, instead of the configured one.")
@click.option(
    "--offline", is_flag=True, help="Take inputs from the store and the vaults only, and say what is missing."
)
@isolated
@common
def command(
    *,
    options: Common,
    targets: tuple[str, ...],
    formats: tuple[Format, ...],
    out: Path,
    allow_dirty: bool,
    key: str | None,
    runner: RunnerName,
    limit: float,
    offline: bool,
) -> None:
    """Build every format from the lock, prove them equal, sign them.

    Writes dist/NAME-VERSION/, all of it or nothing. Nothing is resolved here: `release lock` does that.
    """
    from buildonce import flow
    from buildonce.cli import show
    from buildonce.cli.keys import chosen_key, home, passphrase

    order = flow.Order(
        root=options.root,
        out=options.root / out,
        targets=targets,
        formats=formats,
        allow_dirty=allow_dirty,
        key=chosen_key(key),
        keys=home(),
        passphrase=passphrase,
        runner=runner,
        limit=limit,
        offline=offline,
        mode="ci" if os.environ.get("CI") else "workstation",
    )
    with system(options) as machine:
        release = flow.build(order, machine)
    if options.json:
        click.echo(json.dumps(show.release_json(release), indent=2))
    else:
        show.release(release)
