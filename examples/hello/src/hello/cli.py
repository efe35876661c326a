"""The ``hello`` command."""

from importlib.metadata import version

import click
from tabulate import tabulate


@click.command()
@click.argument("names", nargs=-1)
@click.version_option(version("hello"))
def main(names: tuple[str, ...]) -> None:
    """Greet every one of NAMES."""
    rows = [(name, f"Hello, {name}!") for name in names or ("world",)]
    click.echo(tabulate(rows, headers=("name", "greeting")))
