"""What ``release deploy`` and ``release rollback`` share: they are the same work, and show it the same way."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from buildonce.cli.keys import home
from buildonce.cli.means import open_means
from buildonce.cli.show import table
from buildonce.errors import GateError, ReleaseError, UnevenError, VerificationError

if TYPE_CHECKING:
    from buildonce.cli.options import Common
    from buildonce.deployment import Report, Wish

__all__ = ["as_json", "carry_out"]


def carry_out(options: Common, wish: Wish, *, dry: bool) -> None:
    """Do what *wish* says, show what became of it, and end with its exit code."""
    from platformdirs import user_state_path

    from buildonce import deployment

    trusted = wish.keys if wish.mode == "deploy" else ()
    with open_means(options, trusted) as means:
        report = deployment.run(options.root, wish, means, home=home(), state=user_state_path("buildonce"), dry=dry)
    if options.json:
        click.echo(json.dumps(as_json(report), indent=2))
    else:
        _show(report, dry=dry)
    if dry and not any(one.problems for one in report.hosts):
        return
    if report.exit_code and options.json:
        raise click.exceptions.Exit(report.exit_code)
    if report.exit_code:
        raise _error(report)


def as_json(report: Report) -> dict[str, Any]:
    """The result of ``release deploy --json``."""
    found = asdict(report)
    return {**found, "exit_code": report.exit_code, "seconds": round(report.seconds, 1)}


def _error(report: Report) -> ReleaseError:
    """What the verdict means to whoever asked for the deployment."""
    kinds: dict[int, type[ReleaseError]] = {one.exit_code: one for one in (UnevenError, GateError, VerificationError)}
    untold = [one.host for one in report.hosts if one.state in ("unreachable", "unknown", "rollback_failed")]
    said, hint = {
        "aborted": ("nothing was changed", "mend what the table tells and run the same line again"),
        "rolled_back": ("every host has what it had before", "the logs have what the hosts said"),
        "partial": ("hosts are left with different versions", "run the same line again, or release rollback"),
        "errored": (f"nobody can tell what is on {', '.join(untold)}", "look at them, then run the same line again"),
    }[report.verdict]
    kind = kinds.get(report.exit_code, ReleaseError)
    return kind(f"{report.verdict}: {said}", where=report.folder, hint=hint)


def _show(report: Report, *, dry: bool) -> None:
    batch = {host: str(number) for number, hosts in enumerate(report.batches, 1) for host in hosts}
    rows: list[tuple[str, ...]] = []
    for one in report.hosts:
        first, *more = [problem.message.splitlines()[0] for problem in one.problems] or [""]
        state = "planned" if dry and one.state == "not_reached" else one.state
        rows.append((one.host, batch.get(one.host, "-"), one.before or "-", _after(one, report, dry=dry), state, first))
        rows += [("", "", "", "", "", message) for message in more]
    click.echo(table(("host", "batch", "before", "after", "state", ""), rows))
    for hint in dict.fromkeys(problem.hint for one in report.hosts for problem in one.problems if problem.hint):
        click.echo(f"{click.style('hint:', fg='cyan')} {hint}", err=True)
    if report.problem:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {report.problem}", err=True)
    click.echo("", err=True)
    what = f"{report.name} {report.version or 'as it was before'} on {report.environment}"
    click.echo(f"{what}: {'planned' if dry else report.verdict} in {report.seconds:.0f} s", err=True)
    if not report.exit_code:
        click.echo(f"logs: {report.folder}", err=True)


def _after(one: Any, report: Report, *, dry: bool) -> str:
    if dry and one.state == "not_reached":
        return report.version or "before it"
    return one.after or "-"
