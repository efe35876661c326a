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
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from buildonce.buildroot import DockerRunner, RootRunner
    from buildonce.lock import Lock
    from buildonce.model import Chosen, DebPin, Digest, RemoteFile, RunnerName, Target
    from buildonce.project import Project
    from buildonce.system import System
    from buildonce.system.store import Store
    from buildonce.wheels import WheelFacts

__all__ = ["Workbench", "locked_files", "prepare", "refuse_compiling", "wheelhouse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Workbench:
    """A target's build root with the tools that run in it, and every locked file of the target at hand.

    The root is that of ``target.builder``; ``debs`` are the target's own OS packages, ``build_debs`` those of the
    root where that is another target's.
    """

    target: Target
    root: Path
    root_key: str  # names the content of the build root
    runner: RootRunner | DockerRunner  # runs programs in the build root, without network
    debs: tuple[DebPin, ...]
    deb_files: tuple[Path, ...]
    build_debs: tuple[DebPin, ...]
    tools: tuple[Wheel, ...]
    files: dict[Digest, Path]  # every locked Python file of the target, verified

    def environment(self, chosen: Sequence[Chosen], system: System) -> Path:
        """A build environment that holds the locked build requirements *chosen*."""
        builder = self.target.builder
        return buildenv.make(_taken(chosen, self.files), target=builder, store=system.store, runner=self.runner)


def locked_files(target: Target, lock: Lock) -> tuple[RemoteFile, ...]:
    """Everything that is fetched for *target*, with what its build root is made of; each file once."""
    files = (
        *(one.file for one in (*lock.select(target), *lock.build(target))),
        *(pin.file for pin in (*lock.debs(target), *lock.debs(target.builder))),
    )
    return tuple({(file.filename, file.sha256): file for file in files}.values())


def prepare(
    target: Target,
    lock: Lock,
    system: System,
    way: RunnerName = "auto",
    *,
    limit: float = buildroot.LIMIT,
) -> Workbench:
    """Fetch everything that is locked for *target*, check every hash, and unpack its build root.

    *way* is how programs are run in it, each for at most *limit* seconds. Raises :class:`LockError` when something
    would have to be compiled and cannot be for this target, and :class:`MissingToolError` when this machine has no
    such way, before anything is fetched.
    """
    refuse_compiling(target, lock)
    way = buildroot.choose(way, system.host)
    debs = lock.debs(target)
    build_debs = lock.debs(target.build_on) if target.build_on else ()
    found = _fetched(target, lock, {pin.file.sha256 for pin in (*debs, *build_debs)}, system)
    root_pins = build_debs or debs
    system.progress.step(f"build root of {target.builder.name}")
    tools = _taken(lock.build(target, "tools"), found)
    for tool in tools:
        wheels.admit(tool.path)
    root = buildroot.ensure(
        target.builder,
        root_pins,
        tuple(found[pin.file.sha256] for pin in root_pins),
        system.store,
        progress=system.progress,
        host=system.host,
        way=way,
    )
    return Workbench(
        target=target,
        root=root,
        root_key=root.name,
        runner=buildroot.runner(way, root, system.host, limit=limit),
        debs=debs,
        deb_files=tuple(found[pin.file.sha256] for pin in debs),
        build_debs=build_debs,
        tools=tools,
        files=found,
    )


def _fetched(target: Target, lock: Lock, packages: Collection[Digest], system: System) -> dict[Digest, Path]:
    """All locked files for *target*, *packages* among them, by their sha256."""
    wanted = locked_files(target, lock)
    count = len(packages)
    system.progress.step(f"fetch {len(wanted) - count} Python files and {count} OS packages of {target.name}")
    return fetch.fetch(
        wanted,
        store=system.store,
        net=system.net,
        progress=system.progress,
        vaults=system.vaults,
        offline=system.offline,
    )


def refuse_compiling(target: Target, lock: Lock) -> None:
    """Raise :class:`LockError` for every locked sdist that *target* takes and that nothing can compile for it."""
    if target.build_on is None:
        return
    problems = tuple(
        Problem(
            message=f"{one.name} {one.version} has no wheel for {target.name} and cannot be compiled for it:"
            f" that needs {target.machine} programs to run, and {target.name} is built on {target.build_on.name}",
            where=f"pylock.toml: {one.file.filename}",
            hint=f"depend on a version that has a wheel for {target.machine}, or build with a target that has a"
            f" {target.machine} build root, on such a machine or with qemu (how-to: Several architectures)",
        )
        for one in lock.select(target)
        if one.compiles
    )
    if problems:
        raise LockError.of(problems)


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
    own = project.distribution if target.build_on else ""

    def wrong(wheel: Wheel) -> list[dict[str, str]]:
        fact = wheels.admit(wheel.path, allow_pth=allowed)
        found = _own(fact, target) if fact.name == own else wheels.fits(fact, target)
        if not found:
            elf.check(wheel.path, target)
        return [asdict(problem) for problem in found]

    # The answer for the same bytes by the same rules is the same: nine wheels of ten were checked before.
    rules = [version("buildonce"), sorted(allowed), own, repr(target)]
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


def _own(fact: WheelFacts, target: Target) -> tuple[Problem, ...]:
    """The project's own wheel was made in a build root of another architecture: it must not depend on one."""
    if not wheels.fits(fact, target):
        return ()
    problem = Problem(
        message=f"the project's own wheel {fact.filename} holds compiled code, and cannot be compiled for"
        f" {target.name}: that needs {target.machine} programs to run",
        where="pyproject.toml: build-system",
        hint=f"leave {target.name} out of `targets`, or build with a target that has a {target.machine} build root"
        " (how-to: Several architectures)",
    )
    return (problem,)


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
