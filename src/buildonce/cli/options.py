"""The options that every command has, and the machine they describe."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from buildonce.errors import ReleaseError
from buildonce.model import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buildonce.system import System
    from buildonce.system.run import HostRunner

__all__ = [
    "Common",
    "common",
    "complete_destination",
    "complete_environment",
    "complete_target",
    "isolated",
    "system",
    "trusting",
]

_Command = TypeVar("_Command", bound="Callable[..., Any]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Common:
    """The values of the options that every command has."""

    root: Path  # the project
    json: bool
    verbosity: int  # -1 quiet, 0, 1 verbose, 2 with tracebacks
    color: bool


def common(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``-C``, ``--json``, ``-v``, ``-q`` and ``--no-color``; it gets them as ``options: Common``."""

    @click.option(
        "-C",
        "root",
        type=click.Path(path_type=Path),
        default=Path(),
        help="The project's folder.",
        metavar="DIR",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
    @click.option("-v", "--verbose", count=True, help="Say more; twice: tracebacks.")
    @click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
    @click.option("--no-color", is_flag=True, help="No colour, as with NO_COLOR in the environment.")
    @click.pass_context
    @functools.wraps(function)
    def wrapper(
        context: click.Context,
        /,
        root: Path,
        *,
        as_json: bool,
        verbose: int,
        quiet: bool,
        no_color: bool,
        **rest: Any,
    ) -> None:
        color = not no_color and not os.environ.get("NO_COLOR") and sys.stderr.isatty()
        context.color = color
        options = Common(root=root.resolve(), json=as_json, verbosity=-1 if quiet else verbose, color=color)
        function(options=options, **rest)

    return wrapper


def isolated(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--runner`` and ``--time-limit``; it gets them as ``runner`` and ``limit``, in seconds."""

    @click.option(
        "--runner",
        type=click.Choice(RUNNERS),
        default="auto",
        envvar="BUILDONCE_RUNNER",
        help="How programs run in the build root: in a sandbox, or in a Docker engine; else what this machine allows.",
    )
    @click.option(
        "--time-limit",
        type=click.FloatRange(min=0, min_open=True),
        default=30,
        envvar="BUILDONCE_TIME_LIMIT",
        metavar="MINUTES",
        help="How long one step in the build root may take (default 30).",
    )
    @functools.wraps(function)
    def wrapper(*, time_limit: float, **rest: Any) -> None:
        function(limit=time_limit * 60, **rest)

    return wrapper


def complete_target(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The names of targets that begin with *incomplete*: the project's, or where it cannot be read the shipped ones."""
    from buildonce import project, target

    try:
        names = tuple(project.read(context.params.get("root", Path()).resolve()).settings.targets)
    except ReleaseError:
        names = target.names()
    return [name for name in names if name.startswith(incomplete)]


def trusting(function: _Command) -> _Command:
    """Give a command ``--key FILE``, a public key; it gets them as ``keys``."""
    return click.option(
        "--key",
        "keys",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A public key to trust; may be given again.",
    )(function)


def complete_destination(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The names of the project's destinations that begin with *incomplete*."""
    from buildonce import project

    try:
        names = project.read(context.params.get("root", Path()).resolve()).settings.publish
    except ReleaseError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_environment(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The names of the project's environments that begin with *incomplete*."""
    from buildonce import project

    try:
        names = project.read(context.params.get("root", Path()).resolve()).settings.environments
    except ReleaseError:
        return []
    return [name for name in names if name.startswith(incomplete)]


@contextlib.contextmanager
def system(options: Common) -> Iterator[System]:
    """The machine, with the store that the environment names and the progress that the options ask for."""
    from platformdirs import user_cache_path

    from buildonce.system import System, console
    from buildonce.system.net import Net
    from buildonce.system.run import HostRunner
    from buildonce.system.store import Store

    place = os.environ.get("BUILDONCE_STORE")
    store = Store(Path(place) if place else user_cache_path("buildonce"))
    display = console.progress(
        stream_isatty=sys.stderr.isatty(),
        verbose=options.verbosity > 0,
        quiet=options.verbosity < 0,
        color=options.color,
    )
    host = HostRunner()
    with _interruptible(host), display as progress, contextlib.closing(Net()) as net:
        yield System(store=store, net=net, host=host, progress=progress)


@contextlib.contextmanager
def _interruptible(host: HostRunner) -> Iterator[None]:
    """Ctrl-C, and what CI systems send instead, end the work in all threads; again, only faster."""
    begun = False

    def interrupt(*_: object) -> None:
        nonlocal begun
        host.stop()
        if not begun:  # a second time would disturb the cleaning up
            begun = True
            raise KeyboardInterrupt

    # Who started this may have set a signal to be ignored, as shells do for what runs in the background.
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: found for one in wanted if (found := signal.getsignal(one)) != signal.SIG_IGN}
    for one in before:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one, found in before.items():
            signal.signal(one, found)
