"""``release apt list``, ``resign`` and ``prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from buildonce.cli.means import open_means
from buildonce.cli.options import Common, common, complete_destination, trusting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["command"]


@click.group(name="apt")
def command() -> None:
    """Look after the apt repositories in [tool.release.publish]: NAME is one of them; without it, all."""


def _about(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command NAME… and ``--key``."""
    named = click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_destination)
    return named(trusting(function))


@command.command(name="list")
@common
@_about
def overview(*, options: Common, names: tuple[str, ...], keys: tuple[Path, ...]) -> None:
    """Show every suite: until when hosts trust it, and its packages. Checks the signatures."""
    from buildonce import upkeep
    from buildonce.cli import show_apt

    with open_means(options, keys) as means:
        found = upkeep.overview(options.root, names, means)
    show_apt.states(found, as_json=options.json)


@command.command(name="resign")
@click.option("--new-key", is_flag=True, help="Sign with another key than before, which hosts were given already.")
@common
@_about
def resign(*, options: Common, names: tuple[str, ...], keys: tuple[Path, ...], new_key: bool) -> None:
    """Sign every suite anew, with a new Valid-Until; for a timer, daily. What is listed stays."""
    from buildonce import upkeep
    from buildonce.cli import show_apt

    with open_means(options, keys) as means:
        found = upkeep.resign(options.root, names, means, new_key=new_key)
    show_apt.states(found, as_json=options.json)


@command.command(name="prune")
@click.option(
    "--keep", type=click.IntRange(min=1), required=True, metavar="N", help="How many versions of each package stay."
)
@click.option("--at-once", is_flag=True, help="Remove files, too, that hosts with older lists may still ask for.")
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@common
@_about
def prune(
    *, options: Common, names: tuple[str, ...], keys: tuple[Path, ...], keep: int, at_once: bool, dry_run: bool
) -> None:
    """Keep the newest versions of every package, and the files that suites or hosts still name."""
    from buildonce import upkeep
    from buildonce.cli import show_apt

    with open_means(options, keys) as means:
        done = upkeep.prune(options.root, names, means, keep=keep, at_once=at_once, dry_run=dry_run)
    show_apt.pruned(done, dry_run=dry_run, as_json=options.json)
