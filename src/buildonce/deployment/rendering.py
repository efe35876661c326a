"""The recipe "ansible" as files: the playbooks, and all that they bring to hosts, for use without this tool."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce import project as projects
from buildonce.deployment import cargo, orders
from buildonce.deployment.controller import balancer
from buildonce.errors import ConfigurationError
from buildonce.system import share
from buildonce.system.archive import Member

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.publishers import Means

__all__ = ["Wanted", "rendered"]

VARIABLES: Final = "release.json"
_CARGO: Final = "release"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to render; the same words as for a deployment."""

    environment: str  # "": the only one
    release: str  # a version, or the folder of a release; "": the newest
    keys: tuple[Path, ...] = ()


@contextlib.contextmanager
def rendered(root: Path, wanted: Wanted, means: Means, home: Path) -> Iterator[tuple[Member, ...]]:
    """The files, there as long as the context is. Raises what :func:`buildonce.deployment.orders.make` does."""
    wish = orders.Wish(
        environment=wanted.environment or _only(root),
        what=wanted.release,
        keys=wanted.keys,
    )
    order = orders.make(root, wish, means, home)
    values = {"release_files": f"{{{{ playbook_dir }}}}/{_CARGO}", "release_balancer": balancer(order.settings)}
    with tempfile.TemporaryDirectory() as scratch:
        cargo.load(order, Path(scratch))
        brought = [Member(path=f"{_CARGO}/{one.name}", source=one) for one in Path(scratch).iterdir()]
        variables = Member(path=VARIABLES, source=json.dumps(values, indent=2).encode() + b"\n")
        yield tuple(sorted((*_playbooks(), *brought, variables), key=lambda one: one.path))


def _only(root: Path) -> str:
    known = tuple(projects.read(root).settings.environments)
    if len(known) == 1:
        return known[0]
    raise ConfigurationError(
        f"there are {len(known)} environments" if known else "the project has no environment",
        where="[tool.release.environments]",
        hint=f"say which one is meant: --environment {known[0]}" if known else "add [tool.release.environments.NAME]",
    )


def _playbooks() -> Iterator[Member]:
    source = share.path("recipes", "ansible")
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            mode = 0o755 if path.read_bytes().startswith(b"#!") else 0o644
            yield Member(path=path.relative_to(source).as_posix(), source=path, mode=mode)
