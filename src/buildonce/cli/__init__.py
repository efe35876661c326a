"""The ``release`` command: one module a subcommand, and the one place where an error becomes text and an exit code."""

from __future__ import annotations

import difflib
import errno
import importlib
import json
import sys
import traceback
from typing import TYPE_CHECKING, Final

import click

from buildonce.errors import ReleaseError
from buildonce.system.console import wants_color

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from buildonce.errors import Problem

__all__ = ["COMMANDS", "command", "main"]

# Name → what it does, in the order of the work. Modules are loaded when their command is called: `--help` stays
# instant.
COMMANDS: Final = {
    "lock": "Pin every dependency of every target, by sha256.",
    "plan": "Show what build would do and what is stored already.",
    "build": "Build every format from the lock, prove them equal, sign them.",
    "verify": "Check a release: signatures, digests, every artifact against the Tree.",
    "reproduce": "Build a release again from its recorded commit and lock; compare bit for bit.",
    "publish": "Bring a release to its destinations, all of it or nothing.",
    "apt": "Look after apt repositories: list, sign anew, prune.",
    "promote": "Bring a version from one destination to another, the same bytes.",
    "deploy": "Bring a release to the hosts of an environment: verified, healthy, or back by itself.",
    "rollback": "Bring the hosts of an environment back to the version they had before.",
    "up": "Run a release on this machine, with what it needs.",
    "down": "Remove what `up` made.",
    "bundle": "Keep all that a release is built from, for when its upstreams are gone.",
    "recipe": "Render a deploy recipe to files that work without this tool.",
    "key": "Make a signing key, or show how others verify with it.",
    "builder": "See, make, enter and remove build roots.",
    "doctor": "Say what this machine lacks, and the line that installs it.",
    "completion": "Print the shell completion script.",
}


_INTERRUPTED: Final = 130


class _UsageError(ReleaseError):
    """The command line says something that no command understands."""

    exit_code = 2


class _Commands(click.Group):
    """Loads a subcommand's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = importlib.import_module(f"buildonce.cli.{cmd_name}").command
        return found if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in COMMANDS or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(args[0], COMMANDS, n=1)
        raise _UsageError(
            f"no such command {args[0]!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}",
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"release (buildonce) {version('buildonce')}")
        ctx.exit()


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
def command() -> None:
    """Build once, deploy everywhere: one lock, every format, the same installed files."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str]) -> int:
    try:
        code = command.main(args=list(arguments), prog_name="release", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: nothing was left half-written", err=True)
        return _INTERRUPTED
    except click.ClickException as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
            error.show()
            return error.exit_code
        return _show(_as_usage_error(error), arguments, cause=error)
    except Exception as error:  # noqa: BLE001 - the last resort: a bug of ours must not look like the user's mistake
        return _show(_as_release_error(error), arguments, cause=error)
    return code if isinstance(code, int) else 0  # a number when a command ended with click's Exit


def _as_usage_error(error: click.ClickException) -> ReleaseError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = error.format_message().rstrip(".")
    return _UsageError(
        message[:1].lower() + message[1:], hint=f"{context.command_path if context else 'release'} --help"
    )


def _as_release_error(error: Exception) -> ReleaseError:
    if isinstance(error, ReleaseError):
        return error
    if not isinstance(error, OSError):
        return ReleaseError(
            f"this is a bug in buildonce: {type(error).__name__}: {error}",
            hint="run again with -vv and report what it prints",
        )
    place = str(error.filename or "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ReleaseError("the disk is full", where=place, hint="free some space and run the same line again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ReleaseError(
            f"this must not be read or written here: {error.strerror}",
            where=place,
            hint="look at the owner and the mode of the file and its folder",
        )
    return ReleaseError(error.strerror or str(error), where=place, hint="run again with -vv for the details")


def _show(error: ReleaseError, arguments: Sequence[str], *, cause: Exception) -> int:
    if "-vv" in arguments or arguments.count("-v") > 1:
        traceback.print_exception(cause)
    _show_json(arguments, error.exit_code, error.problems)
    lines = [f"  | {line}" for line in error.log.rstrip().splitlines()]
    for number, problem in enumerate(error.problems):
        label = "error" if number == 0 or problem.hint else "  and"
        lines += _lines(problem, label, error.log_path if number == 0 else "")
    color = None if wants_color(color="--no-color" not in arguments) else False  # None: when it is a terminal
    click.echo("\n".join(lines), err=True, color=color)
    return error.exit_code


def _show_json(arguments: Sequence[str], exit_code: int, problems: Sequence[Problem]) -> None:
    if "--json" in arguments:
        rows = [{"message": p.message, "where": p.where, "hint": p.hint} for p in problems]
        click.echo(json.dumps({"error": {"exit_code": exit_code, "problems": rows}}))


def _lines(problem: Problem, label: str, log: str) -> Iterator[str]:
    yield f"{click.style(f'{label}:', fg='red', bold=True)} {problem.message}"
    if problem.where:
        yield f"   in: {problem.where}"
    if log:
        yield f"  log: {log}"
    if problem.hint:
        yield f"{click.style('hint:', fg='cyan')} {problem.hint}"
