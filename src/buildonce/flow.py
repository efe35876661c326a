"""The pipeline.

Read top to bottom, this is what ``release build`` does; every line is one function that returns one value.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from buildonce import buildroot, inputs, joining, proof, seal, staging, vault, workbench, workplace
from buildonce import lock as locks
from buildonce import project as projects
from buildonce import source as sources
from buildonce import target as targets
from buildonce.builders.oci import joined
from buildonce.builders.registry import BUILDERS
from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.model import FORMATS, Release
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from buildonce.lock import Lock
    from buildonce.model import Artifact, Format, RunnerName, Source, Target
    from buildonce.project import Project
    from buildonce.provenance import Mode
    from buildonce.signing import Key
    from buildonce.stage import Stage
    from buildonce.system import System
    from buildonce.workbench import Workbench

__all__ = ["Order", "build"]

_LONGEST_FIRST: Final[tuple[Format, ...]] = ("deb", "oci", "pex", "wheel")  # so that none is left alone at the end


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What the user asked to build."""

    root: Path  # the project
    out: Path  # where releases go
    targets: tuple[str, ...] = ()  # () for all that the project names
    formats: tuple[Format, ...] = ()  # () for all that the project names
    allow_dirty: bool = False
    key: str  # the signing key's file; "" for the configured one, or this machine's own
    keys: Path  # where this user's keys are
    passphrase: Callable[[], bytes]  # asked only for a protected key
    runner: RunnerName = "auto"  # how programs are run in the build root
    limit: float = buildroot.LIMIT  # seconds that a step in it may take
    offline: bool = False  # nothing but the store and the vaults is asked for inputs
    mode: Mode = "workstation"  # the kind of machine this is, as the provenance tells


def build(order: Order, system: System) -> Release:
    """Build, prove and sign a release; its folder appears under its final name when all of that is done.

    Raises :class:`buildonce.errors.ReleaseError`; nothing half-written stays behind.
    """
    system.store.make_sure_it_can_be_written()
    project = projects.read(order.root)  # pyproject.toml and [tool.release]: all problems at once
    lock = locks.read(project)  # refused when missing or stale; never resolves
    wanted = _wanted(order, project, system)
    system = replace(system, vaults=vault.configured(project, system.net), offline=order.offline)
    source = _source(order, project, system)  # the commit: clean, not shallow
    key = _key(order, project, system)  # before the long work: a wrong passphrase is told at once
    with workplace.opened(order.out, project.name, system.store) as work:
        inputs.require(project, lock, wanted.targets, system)  # offline: all that is missing is told at once
        logs, into = work / workplace.LOGS, work / "release"
        benches = [  # the network ends here
            workbench.prepare(target, lock, system, order.runner, limit=order.limit) for target in wanted.targets
        ]
        made = _stages(project, source, benches, lock, system, work=work)  # version, wheel, wheelhouse, Tree
        artifacts = _build_all(made, benches, wanted.formats, into, system)  # and prove that each holds the Tree
        artifacts = _join(artifacts, made, into, system)  # images of several architectures: one index, proved too
        facts = seal.Facts(project=project, source=source, lock=lock, stages=tuple(made), artifacts=artifacts)
        seal.write(facts, key, into, mode=order.mode)  # manifest, SHA256SUMS, SBOM, provenance, signatures
        logs.replace(into / "log")
        version = made[0].version.pep440
        final = order.out / f"{project.name}-{version}"
        files.replace_folder(into, final)
    if order.mode == "ci" and not order.offline:
        _keep_inputs(project, lock, final, system)
    return Release(name=project.name, version=version, commit=source.commit, folder=final, artifacts=artifacts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    targets: tuple[Target, ...]
    formats: tuple[Format, ...]


def _wanted(order: Order, project: Project, system: System) -> _Wanted:
    formats = order.formats or project.settings.formats
    wanted = _Wanted(
        targets=targets.chosen(project.settings, order.targets), formats=tuple(f for f in FORMATS if f in formats)
    )
    _make_sure_something_comes_out(wanted, order, system)
    return wanted


def _make_sure_something_comes_out(wanted: _Wanted, order: Order, system: System) -> None:
    """A format that a target cannot have is left out with a note, unless it was asked for and no target has it."""
    for format_ in wanted.formats:
        without = [target for target in wanted.targets if format_ not in target.formats]
        names = ", ".join(target.name for target in without)
        why = f"no {format_} for {names}: a Debian package is made by programs of its architecture"
        if without == list(wanted.targets) and (order.formats or wanted.formats == (format_,)):
            raise ConfigurationError(
                why,
                where="--format" if order.formats else "[tool.release] formats",
                hint="install the wheelhouse, the pex or the image there, or build with a target that has a build root"
                " of that architecture (how-to: Several architectures)",
            )
        if without:
            system.progress.note(why)


def _source(order: Order, project: Project, system: System) -> Source:
    found = sources.inspect(project.root, system.host, allow_dirty=order.allow_dirty, progress=system.progress)
    return replace(found, url=project.repository)


def _key(order: Order, project: Project, system: System) -> Key:
    return seal.key(order.key, project, home=order.keys, passphrase=order.passphrase, system=system)


def _stages(
    project: Project, source: Source, benches: Sequence[Workbench], lock: Lock, system: System, *, work: Path
) -> list[Stage]:
    """One stage a target. The project's own wheel is built while their wheelhouses are made: once, if it fits all."""
    system.progress.step("version, sdist and wheel of the project; wheelhouse")
    with _pool() as pool:
        houses = [
            pool.submit(workbench.wheelhouse, bench, lock, project, system, logs=work / "log") for bench in benches
        ]
        first = staging.own(project, source, benches[0], lock, system, work=work)
        owns = [staging.fitted(first, bench, lock, system, work=work) for bench in benches]
    alone = len({own.wheel.sha256 for own in owns}) > 1
    return [
        staging.assemble(own, bench, house.result(), system, work=work, alone=alone)
        for own, bench, house in zip(owns, benches, houses, strict=True)
    ]


def _keep_inputs(project: Project, lock: Lock, made: Path, system: System) -> None:
    """Put the inputs into the vaults that this user may write: mirrors rotate."""
    for one in vault.writable(system.vaults):
        try:
            inputs.keep(project, lock, [one], system, thorough=False)
        except vault.DeniedError as error:
            system.progress.note(f"inputs are not kept in {one.name}: {error}")
        except ReleaseError as error:
            problem = error.problems[0]
            raise ReleaseError(
                f"the release is made, but its inputs are not kept in {one.name}: {problem.message}",
                where=problem.where or str(made),
                hint=problem.hint or f"run `{inputs.KEEP}` when the vault is there again",
            ) from error


def _build_all(
    made: Sequence[Stage], benches: Sequence[Workbench], formats: Sequence[Format], into: Path, system: System
) -> tuple[Artifact, ...]:
    """Every format of every target, several at a time; each is opened and compared with the Tree when it is made."""
    into.mkdir()
    system.progress.step(f"build {', '.join(formats)}; compare each with the Tree")

    def build(format_: Format, stage: Stage, bench: Workbench) -> tuple[Artifact, ...]:
        artifacts = BUILDERS[format_].build(stage, into, bench.runner)
        for artifact in artifacts:
            proof.check(artifact, _expected(artifact, stage), system.store)
        return artifacts

    with _pool() as pool:
        both = list(zip(made, benches, strict=True))
        checks = [pool.submit(staging.check, stage, bench, system) for stage, bench in both]
        jobs = [
            pool.submit(build, format_, stage, bench)
            for stage, bench in both
            for format_ in sorted(set(formats) & set(stage.target.formats), key=_LONGEST_FIRST.index)
        ]
        for check in checks:
            check.result()
        found = {artifact.file: artifact for job in jobs for artifact in job.result()}
    return tuple(found[name] for name in sorted(found))


def _join(artifacts: Sequence[Artifact], made: Sequence[Stage], into: Path, system: System) -> tuple[Artifact, ...]:
    """The *artifacts* and the indexes over their images; each of these is opened and compared with what it joins."""
    found = joining.join(artifacts, made, into, system)
    trees = {stage.target.name: stage.tree for stage in made}
    for artifact in found:
        if artifact.kind == "oci-index":
            expected = replace(_expected(artifact, made[0]), tree=joined(artifact, artifacts, trees))
            proof.check(artifact, expected, system.store)
    return found


def _expected(artifact: Artifact, stage: Stage) -> proof.Expectation:
    return proof.Expectation(
        name=stage.project.name,
        distribution=stage.project.distribution,
        version=proof.spelled(artifact, stage.version, stage.version.deb(stage.target)),
        tree=stage.tree,
        interpreter=str(stage.target.interpreter),
    )


@contextlib.contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that mostly wait for programs; after an error no other job is begun."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
