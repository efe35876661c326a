"""What ``release apt`` prints."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from buildonce.cli.show import size, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildonce.suites import Package
    from buildonce.upkeep import Pruned, State

__all__ = ["pruned", "states"]


def states(found: Sequence[State], *, as_json: bool) -> None:
    """One row a package; until when hosts trust each suite."""
    if as_json:
        click.echo(json.dumps([_state(one) for one in found], indent=2))
        return
    rows = [(one.destination, one.suite, p.name, p.version, p.architecture) for one in found for p in one.packages]
    if rows:
        click.echo(table(("in", "suite", "package", "version", "for"), rows))
    for one in found:
        until = datetime.fromtimestamp(one.valid_until, UTC).strftime("%Y-%m-%d %H:%M UTC")
        click.echo(f"{one.destination}: {one.suite} is valid until {until}, signed by {one.signer}", err=True)


def pruned(done: Sequence[Pruned], *, dry_run: bool, as_json: bool) -> None:
    """What left the suites and the disk."""
    if as_json:
        rows = [
            {
                "name": one.destination,
                "unlisted": [{"suite": suite, **_package(package)} for suite, package in one.unlisted],
                "removed": list(one.removed),
                "freed": one.freed,
                "waiting": list(one.waiting),
            }
            for one in done
        ]
        click.echo(json.dumps({"dry_run": dry_run, "destinations": rows}, indent=2))
        return
    for one in done:
        would = "would be " if dry_run else ""
        for suite, package in one.unlisted:
            click.echo(f"{one.destination}: {suite}: {package.name} {package.version} {would}unlisted")
        for name in one.removed:
            click.echo(f"{one.destination}: {name} {would}removed")
        waits = f"; {len(one.waiting)} files stay while hosts may ask for them" if one.waiting else ""
        click.echo(f"{one.destination}: {size(one.freed)} {would}freed{waits}", err=True)


def _state(one: State) -> dict[str, Any]:
    return {
        "name": one.destination,
        "suite": one.suite,
        "signed": one.signed,
        "valid_until": one.valid_until,
        "signer": one.signer,
        "packages": [_package(package) for package in one.packages],
    }


def _package(one: Package) -> dict[str, Any]:
    return {
        "package": one.name,
        "version": one.version,
        "architecture": one.architecture,
        "file": one.filename,
        "sha256": one.sha256,
        "size": one.size,
    }
