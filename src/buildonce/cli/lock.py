"""``release lock``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from buildonce.cli.options import Common, common, isolated, system

if TYPE_CHECKING:
    from buildonce.model import RunnerName

__all__ = ["command"]


@click.command(name="lock")
@isolated
@common
def command(*, options: Common, runner: RunnerName, limit: float) -> None:
    """Pin every dependency of every target, by sha256.

    Writes pylock.toml, pylock.build.toml and debs.lock.toml, to be committed. An existing uv.lock, poetry.lock,
    pdm.lock or requirements.txt with hashes is the truth and is not resolved again.
    """
    from buildonce import locking
    from buildonce.cli import show

    with system(options) as machine:
        locked = locking.make(options.root, machine, runner, limit=limit)
    if options.json:
        click.echo(json.dumps(show.locked_json(locked), indent=2))
    else:
        show.locked(locked)
