"""Makes the stage: the project's own wheel, once if it fits all, then for every target the wheelhouse and the Tree."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING

from buildonce import compile, entrypoints, sbom, tree, version, wheels, workbench  # noqa: A004 - named for what it does
from buildonce import source as sources
from buildonce import target as targets
from buildonce.model import Digest, Wheel, Wheelhouse
from buildonce.oci import packages
from buildonce.stage import Stage, prefix
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from buildonce.lock import Lock
    from buildonce.model import Source, Target, Tree, Version
    from buildonce.project import Project
    from buildonce.system import System
    from buildonce.workbench import Workbench

__all__ = ["Own", "assemble", "fitted", "own"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """What the project's own source became: once, but for a wheel that does not fit every target."""

    project: Project
    source: Source
    version: Version
    wheel: Wheel
    sdist: Path
    scripts: tuple[str, ...]  # its console scripts, sorted


def own(project: Project, source: Source, bench: Workbench, lock: Lock, system: System, *, work: Path) -> Own:
    """Settle the version on a clean clone of the commit, and build the project's sdist and, from it, its wheel."""
    logs, into = work / "log", work / "own"
    repository = work / "checkout"
    clone = sources.export(project.root, source, repository, system.host)
    env = bench.environment(lock.build(bench.target, "project"), system)
    settled, sdist = _versioned(
        project,
        source,
        clone,
        lambda: compile.project_sdist(
            clone,
            repository=repository,
            env=env,
            runner=bench.runner,
            epoch=source.epoch,
            into=into,
            log=logs / "sdist.log",
        ),
    )
    path = compile.project_wheel(
        sdist, env=env, runner=bench.runner, epoch=source.epoch, into=into, log=logs / "wheel.log"
    )
    wheel, facts = _admitted(path)
    return Own(
        project=project,
        source=source,
        version=settled,
        wheel=wheel,
        sdist=sdist,
        scripts=tuple(sorted(facts.scripts)),
    )


def fitted(made: Own, bench: Workbench, lock: Lock, system: System, *, work: Path) -> Own:
    """*made*, with a wheel of its own for the bench's target when the first is compiled for another Python.

    From the same sdist. A target that is built on another one can have no such wheel: :func:`assemble` says so.
    """
    target = bench.target
    if not wheels.facts(made.wheel.path).tags.isdisjoint(targets.tags(target)) or target.build_on:
        return made
    path = compile.project_wheel(
        made.sdist,
        env=bench.environment(lock.build(target, "project"), system),
        runner=bench.runner,
        epoch=made.source.epoch,
        into=work / "own" / target.name,
        log=work / "log" / f"wheel-{target.name}.log",
    )
    return replace(made, wheel=_admitted(path)[0])


def _admitted(path: Path) -> tuple[Wheel, wheels.WheelFacts]:
    facts = wheels.admit(path)
    size, digest = path.stat().st_size, files.sha256_file(path)
    return Wheel(name=facts.name, version=facts.version, path=path, sha256=digest, size=size), facts


def _versioned(project: Project, source: Source, clone: Path, build: Callable[[], Path]) -> tuple[Version, Path]:
    """The settled version and the sdist that has it, made by *build* from *clone*.

    The backend says its version in the sdist: asking first, by itself, would take as long again.
    """
    said: list[Path] = []

    def backend_version(_: Path) -> str:
        said.append(build())
        return compile.sdist_version(said[0])

    settled = version.settle(project, source, clone, backend_version)
    if said and compile.sdist_version(said[0]) == settled.pep440:
        return settled, said[0]
    return settled, build()  # the version was written into the clone


def assemble(made: Own, bench: Workbench, locked: Sequence[Wheel], system: System, *, work: Path, alone: bool) -> Stage:
    """Install the *locked* wheels of one target and the project's own into the Tree.

    Nothing after this reads anything else. The locked ones are those of :func:`buildonce.workbench.wheelhouse`. With
    *alone* the project's own is for this target, and other targets have another.
    """
    path, target = work / f"stage-{bench.target.name}", bench.target
    house = _wheelhouse(target, (*locked, made.wheel), path / "wheels")
    workbench.check([made.wheel], target, made.project, system.store)
    workbench.check_closure(house.wheels, target)
    system.progress.step(f"Tree of {target.name}: install and byte-compile {len(house.wheels)} wheels")
    planted = tree.plant(
        house.wheels,
        target=target,
        prefix=prefix(made.project),
        runner=bench.runner,
        store=system.store,
        into=path / "tree",
        root_key=bench.root_key,
    )
    runtime = packages.runtime(
        target, bench.debs, bench.deb_files, tree=planted, root=path / "tree", store=system.store
    )
    stage = Stage(
        path=path,
        project=made.project,
        source=made.source,
        version=made.version,
        target=target,
        wheelhouse=house,
        own=next(w for w in house.wheels if w.sha256 == made.wheel.sha256),
        own_target=target.name if alone else "",
        sdist=made.sdist,
        tools=_linked(bench.tools, path / "tools"),
        tree=planted,
        debs=bench.debs,
        deb_files=bench.deb_files,
        runtime=runtime,
        scripts=made.scripts,
        store=system.store,
        digest=_digest(made, house, planted, bench.root_key),
        build_debs=bench.build_debs,
    )
    (path / sbom.FILE).write_bytes(sbom.make([stage], tool_version=metadata.version("buildonce")))
    return stage


def check(stage: Stage, bench: Workbench, system: System) -> None:
    """Raise :class:`buildonce.errors.BuildError` when a console script of the project cannot start from the Tree."""
    imported = entrypoints.check(
        stage.own,
        target=stage.target,
        prefix=stage.prefix,
        tree_root=stage.tree_root,
        runner=bench.runner,
        project_root=stage.project.root,
    )
    if not imported:
        system.progress.note(
            f"{stage.target.name} is not this machine's: its console scripts are looked up, not imported"
        )


def _wheelhouse(target: Target, found: Sequence[Wheel], into: Path) -> Wheelhouse:
    return Wheelhouse(target=target, wheels=tuple(sorted(_linked(found, into), key=lambda wheel: wheel.name)))


def _linked(found: Sequence[Wheel], into: Path) -> tuple[Wheel, ...]:
    """The same wheels below *into*: hard links where the store is on the same file system. Builders only read them."""
    into.mkdir(parents=True)
    return tuple(_relink(wheel, into / wheel.filename) for wheel in found)


def _relink(wheel: Wheel, place: Path) -> Wheel:
    try:
        os.link(wheel.path, place)
    except OSError:
        files.copy_file(wheel.path, place, mode=0o644)
    return replace(wheel, path=place)


def _digest(made: Own, house: Wheelhouse, planted: Tree, root_key: str) -> Digest:
    facts = {
        "name": made.project.name,
        "version": made.version.pep440,
        "commit": made.source.commit,
        "settings": made.project.settings.model_dump(mode="json"),
        "target": dataclasses.asdict(house.target),
        "wheels": [wheel.sha256 for wheel in house.wheels],
        "sdist": files.sha256_file(made.sdist),
        "tree": planted.digest,
        "root": root_key,
    }
    return Digest(hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest())
