"""The lock as the pipeline reads it: trusted, fresh, and able to say what each target takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from buildonce.debs import lock as debs
from buildonce.errors import LockError, Problem
from buildonce.lock import inputs, python, selection, trust
from buildonce.lock.toml import parse
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from packaging.pylock import Pylock

    from buildonce.model import Chosen, DebPin, Digest, Target
    from buildonce.project import Project

__all__ = ["BUILD", "DEBS", "FILES", "HINT", "PYTHON", "TOOL", "Lock", "read"]

PYTHON: Final = "pylock.toml"
BUILD: Final = "pylock.build.toml"
DEBS: Final = "debs.lock.toml"
FILES: Final = (PYTHON, BUILD, DEBS)

TOOL: Final = "buildonce"  # the table [tool.buildonce] of pylock.toml
HINT: Final = "run `release lock` and commit the result"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """A read lock. ``files`` names its files with their digests, in a fixed order."""

    root: Path
    files: dict[str, Digest]
    targets: tuple[str, ...]  # what it was made for
    builders: tuple[str, ...]  # targets beside them, in whose build roots the tools run
    python: Pylock
    building: Pylock

    def select(self, target: Target) -> tuple[Chosen, ...]:
        """What *target* takes of every locked package, sorted by name; sdists are to be compiled there.

        Raises :class:`LockError` for each that fits with nothing, naming it, the target and the tags there
        are.
        """
        self._covers(target)
        return selection.select(self.python, target, root=self.root, where=PYTHON)

    def build(self, target: Target, group: str | None = None) -> tuple[Chosen, ...]:
        """The build requirements of *group*: an sdist's name, ``"project"`` or ``"tools"``. Sorted by name.

        Without *group*, of all; one name may come in several versions: groups are environments of their own.
        They are for the build root that *target* uses.
        """
        self._covers(target)
        if group is not None and group not in self.groups:
            raise LockError(f"no build requirements are locked for {group}", where=BUILD, hint=HINT)
        wanted = self.groups if group is None else (group,)
        chosen = {
            (one.name, one.file.sha256): one
            for name in wanted
            for one in selection.select(self.building, target.builder, root=self.root, where=BUILD, group=name)
        }
        return tuple(chosen[key] for key in sorted(chosen))

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of build requirements: the sdists' names, ``"project"`` and ``"tools"``."""
        return tuple(self.building.dependency_groups or ())

    def debs(self, target: Target) -> tuple[DebPin, ...]:
        """The locked OS packages of *target*."""
        self._covers(target)
        return debs.read(self.root / DEBS, target)

    def _covers(self, target: Target) -> None:
        if target.name not in (*self.targets, *self.builders):
            raise LockError(
                f"the lock is not made for {target.name}, only for {', '.join(self.targets)}",
                where=PYTHON,
                hint=f'add "{target.name}" to targets under [tool.release], then {HINT}',
            )


def read(project: Project) -> Lock:
    """The lock of *project*, checked.

    Raises :class:`LockError` when a file is missing, was made by another tool, is stale, or holds anything
    that has no sha256.
    """
    missing = [name for name in FILES if not (project.root / name).is_file()]
    if missing:
        raise LockError(f"there is no lock: {', '.join(missing)} missing", where=str(project.root), hint=HINT)
    contents = {name: (project.root / name).read_bytes() for name in FILES}
    digests = {name: files.sha256_bytes(data) for name, data in contents.items()}
    data = parse(contents[PYTHON], PYTHON)
    facts = _facts(data)
    _require_fresh(project, facts, digests)
    return Lock(
        root=project.root,
        files=digests,
        targets=tuple(facts["targets"]),
        builders=tuple(facts.get("builders", ())),
        python=_pylock(data, PYTHON),
        building=_pylock(parse(contents[BUILD], BUILD), BUILD),
    )


def _facts(data: Mapping[str, Any]) -> Mapping[str, Any]:
    tool = data.get("tool")
    facts = tool.get(TOOL) if isinstance(tool, dict) else None
    if not isinstance(facts, dict) or not {"targets", "inputs", "files"} <= facts.keys():
        maker = data.get("created-by", "another tool")
        raise LockError(
            f"{PYTHON} was made by {maker}: it does not say what it was made from, nor what compiles",
            where=PYTHON,
            hint="run `release lock`: it keeps every pin and hash of that file and adds what is missing",
        )
    if not (
        _lines(facts["targets"])
        and _lines(facts.get("builders", []))
        and _table_of(facts["inputs"], _lines)
        and _table_of(facts["files"], _text)
    ):
        raise LockError(f"the table [tool.{TOOL}] of {PYTHON} is damaged", where=PYTHON, hint=HINT)
    return facts


def _text(value: object) -> bool:
    return isinstance(value, str)


def _lines(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _table_of(value: object, kind: Callable[[object], bool]) -> bool:
    return isinstance(value, dict) and all(map(kind, value.values()))


def _require_fresh(project: Project, facts: Mapping[str, Any], digests: Mapping[str, Digest]) -> None:
    found = [
        Problem(message=f"the lock is stale: {line}", where=PYTHON, hint=HINT)
        for line in inputs.changes(facts["inputs"], inputs.of(project))
    ]
    found += [
        Problem(message=f"{name} is not the file that this {PYTHON} was made with", where=name, hint=HINT)
        for name, digest in sorted(facts["files"].items())
        if digests.get(name) != digest
    ]
    if found:
        raise LockError.of(tuple(found))


def _pylock(data: Mapping[str, Any], where: str) -> Pylock:
    trust.require(data, where)
    return python.pylock(data, where)
