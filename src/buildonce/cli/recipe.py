"""``release recipe``."""

from __future__ import annotations

import contextlib
import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildonce.cli.keys import home
from buildonce.cli.options import Common, common, complete_target, system, trusting
from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.recipes import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.recipes.subject import Subject
    from buildonce.system import System
    from buildonce.system.archive import Member

__all__ = ["command"]


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in NAMES if name.startswith(incomplete)]


@click.command(name="recipe")
@click.argument("name", required=False, metavar="[NAME]", shell_complete=_complete)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Into this folder.")
@click.option(
    "--release",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="For the release in this folder; else for the newest in dist.",
)
@click.option("--target", default="", metavar="NAME", help="For hosts of this target.", shell_complete=complete_target)
@click.option("--environment", default="", metavar="ENV", help="With ansible: for this environment.")
@trusting
@common
def command(
    *,
    options: Common,
    name: str | None,
    out: Path | None,
    folder: Path | None,
    target: str,
    environment: str,
    keys: tuple[Path, ...],
) -> None:
    """Render the deploy recipe NAME to files that work without this tool; without NAME, list the recipes.

    They follow from [tool.release.service] and a signed release, which is verified first. The README among them has
    the lines to run. Nothing that somebody else wrote, or changed, is overwritten.
    """
    if name is None:
        _list(as_json=options.json)
        return
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
        raise ReleaseError(f"there is no recipe {name!r}", hint=hint)
    if out is None:
        msg = "name the folder to write to: --out DIR"
        raise click.UsageError(msg)
    from buildonce.recipes.folder import write

    with _members(name, options, folder, _Choice(target=target, environment=environment, keys=keys)) as members:
        written = write(members, options.root / out)
    if options.json:
        click.echo(json.dumps({"recipe": name, "dir": str(options.root / out), "files": written}, indent=2))
    elif options.verbosity >= 0:
        click.echo(f"{len(written)} files in {out}: the lines to run are in {out / 'README.md'}", err=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    target: str
    environment: str
    keys: tuple[Path, ...]


@contextlib.contextmanager
def _members(name: str, options: Common, folder: Path | None, choice: _Choice) -> Iterator[tuple[Member, ...]]:
    from buildonce.cli.means import open_means
    from buildonce.recipes import render

    if name != "ansible":
        with system(options) as machine:
            yield render(name, _subject(options.root, folder, choice, machine))
        return
    from buildonce.deployment import rendering

    release = str(options.root / folder) if folder else ""
    wanted = rendering.Wanted(environment=choice.environment, release=release, keys=choice.keys)
    with (
        open_means(options, choice.keys) as means,
        rendering.rendered(options.root, wanted, means, home()) as members,
    ):
        yield members


def _subject(root: Path, folder: Path | None, choice: _Choice, machine: System) -> Subject:
    """The release, verified, and the project that it has to be of."""
    from buildonce import project as projects
    from buildonce import verification
    from buildonce.deployment import built
    from buildonce.recipes.subject import Subject

    project = projects.read(root)
    place = root / folder if folder else built.find(project, "")
    said = verification.verify(place, verification.trusted(choice.keys, home()), machine).manifest
    if said.name != project.name:
        raise ConfigurationError(
            f"this is a release of {said.name}, not of {project.name}", where=str(place), hint="run it in its project"
        )
    return Subject(project=project, manifest=said, folder=place, target=choice.target)


def _list(*, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"recipes": dict(NAMES)}, indent=2))
        return
    for name, what in NAMES.items():
        click.echo(f"{name:12}{what}")
