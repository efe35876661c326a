"""One target, made ready: its build root and its locked wheels. The network ends here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from buildonce import buildenv, buildroot, compile, elf, fetch, wheels  # noqa: A004 - the module is named for what it does
from buildonce import target as targets
from buildonce.errors import LockError, Problem
from buildonce.model import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from buildonce.buildroot import DockerRunner, RootRunner
    from buildonce.lock import Lock
    from buildonce.model import Chosen, DebPin, Digest, RunnerName, Target
    from buildonce.project import Project
    from buildonce.system import System
    from buildonce.system.store import Store

__all__ = ["Workbench", "prepare", "wheelhouse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Workbench:
    """A target's build root with the tools that run in it, and every locked file of the target at hand."""

    target: Target
    root: Path
    root_key: str  # names the content of the build root
    runner: RootRunner | DockerRunner  # runs programs in the build root, without network
    debs: tuple[DebPin, ...]
    deb_files: tuple[Path, ...]
    tools: tuple[Wheel, ...]
    files: dict[Digest, Path]  # every locked Python file of the target, verified

    def environment(self, chosen: Sequence[Chosen], system: System) -> Path:
        """A build environment that holds the locked build requirements *chosen*."""
        return buildenv.make(_taken(chosen, self.files), target=self.target, store=system.store, runner=self.runner)


def prepare(
    target: Target,
    lock: Lock,
    system: System,
    way: RunnerName = "auto",
    *,
    limit: float = buildroot.LIMIT,
) -> Workbench:
    """Fetch everything that is locked for *target*, check every hash, and unpack its build root.

    *way* is how programs are run in it, each for at most *limit* seconds. Raises :class:`MissingToolError` when
    this machine has no such way, before anything is fetched.
    """
    way = buildroot.choose(way, system.host)
    debs = lock.debs(target)
    chosen = (*lock.select(target), *lock.build(target))
    system.progress.step(f"fetch {len(chosen)} Python files and {len(debs)} OS packages of {target.name}")
    found = fetch.fetch(
        [*(one.file for one in chosen), *(pin.file for pin in debs)],
        store=system.store,
        net=system.net,
        progress=system.progress,
        vaults=system.vaults,
        offline=system.offline,
    )
    deb_files = tuple(found[pin.file.sha256] for pin in debs)
    system.progress.step(f"build root of {target.name}")
    tools = _taken(lock.build(target, "tools"), found)
    for tool in tools:
        wheels.admit(tool.path)
    root = buildroot.ensure(target, debs, deb_files, system.store, progress=system.progress, host=system.host, way=way)
    return Workbench(
        target=target,
        root=root,
        root_key=root.name,
        runner=buildroot.runner(way, root, system.host, limit=limit),
        debs=debs,
        deb_files=deb_files,
        tools=tools,
        files=found,
    )


def wheelhouse(bench: Workbench, lock: Lock, project: Project, system: System, *, logs: Path) -> tuple[Wheel, ...]:
    """The locked wheels of the target, fetched, or compiled in the build root; each is checked."""
    chosen = lock.select(bench.target)
    made = tuple(
        _compiled(one, bench, lock, project, system, logs=logs) if one.compiles else wheel
        for one, wheel in ((one, _wheel(one, bench.files)) for one in chosen)
    )
    check(made, bench.target, project, system.store)
    return made


def check(made: Iterable[Wheel], target: Target, project: Project, store: Store) -> None:
    """Raise what is wrong with wheels: that they lie, or do not fit the target."""
    allowed = frozenset(name for name, settings in project.settings.build.items() if settings.startup)

    def wrong(wheel: Wheel) -> list[dict[str, str]]:
        found = wheels.fits(wheels.admit(wheel.path, allow_pth=allowed), target)
        elf.check(wheel.path, target)
        return [asdict(problem) for problem in found]

    # The answer for the same bytes by the same rules is the same: nine wheels of ten were checked before.
    rules = [version("buildonce"), sorted(allowed), repr(target)]
    problems = [
        Problem(**problem)
        for wheel in made
        for problem in store.value("checked", [*rules, wheel.filename, wheel.sha256], partial(wrong, wheel))
    ]
    if problems:
        raise LockError.of(tuple(problems))


def check_closure(made: Iterable[Wheel], target: Target) -> None:
    """Raise :class:`LockError` when a wheel requires what is not among them."""
    problems = wheels.closure([wheels.facts(wheel.path) for wheel in made], targets.markers(target))
    if problems:
        raise LockError.of(tuple(problems))


def _taken(chosen: Iterable[Chosen], found: dict[Digest, Path]) -> tuple[Wheel, ...]:
    return tuple(_wheel(one, found) for one in chosen)


def _wheel(one: Chosen, found: dict[Digest, Path]) -> Wheel:
    path = found[one.file.sha256]
    return Wheel(
        name=one.name,
        version=one.version,
        path=path,
        sha256=one.file.sha256,
        size=path.stat().st_size,
        url=one.file.url,
    )


def _compiled(one: Chosen, bench: Workbench, lock: Lock, project: Project, system: System, *, logs: Path) -> Wheel:
    system.progress.note(f"{one.name} {one.version} has no wheel for {bench.target.name}: compiling its sdist")
    settings = project.settings.build.get(one.name)
    return compile.sdist(
        one,
        bench.files[one.file.sha256],
        env=bench.environment(lock.build(bench.target, one.name), system),
        runner=bench.runner,
        store=system.store,
        target=bench.target,
        root_key=bench.root_key,
        apt=settings.apt if settings else (),
        log=logs / f"compile-{one.name}-{bench.target.name}.log",
    )
