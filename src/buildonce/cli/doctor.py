"""``release doctor``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from buildonce.cli.options import Common, common, system
from buildonce.errors import ConfigurationError, MissingToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildonce.doctoring import Finding
    from buildonce.errors import ReleaseError

__all__ = ["command"]


@click.command(name="doctor")
@common
def command(*, options: Common) -> None:
    """Say what this machine lacks for what the project asks, with the exact line that installs it.

    Exits with 5 when something that is needed is missing, with 3 when the configuration is wrong.
    """
    from buildonce import doctoring
    from buildonce.cli import show

    with system(options) as machine:
        findings = doctoring.examine(options.root, machine)
    if options.json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        show.findings(findings)
    _require_ready(findings, told=options.json)


def _require_ready(findings: Sequence[Finding], *, told: bool) -> None:
    """Raise what is wrong; when it is *told* already, only the exit code counts."""
    error: ReleaseError | None = None
    if missing := [finding for finding in findings if finding.state == "missing"]:
        names = ", ".join(finding.name for finding in missing)
        error = MissingToolError(f"this machine is not ready: {names} missing", hint=missing[0].remedy)
    elif wrong := [finding for finding in findings if finding.state == "wrong"]:
        error = ConfigurationError(f"{wrong[0].name}: {wrong[0].detail}", hint=wrong[0].remedy)
    if error and told:
        raise click.exceptions.Exit(error.exit_code)
    if error:
        raise error
