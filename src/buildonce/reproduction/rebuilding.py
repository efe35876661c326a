"""Builds the cloned commit: in a place where nothing was built before, or under hostile circumstances."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from buildonce import flow, inputs, variation, vault
from buildonce import lock as locks
from buildonce import project as projects
from buildonce import target as targets
from buildonce.errors import BuildError, ReleaseError
from buildonce.model import FORMATS, Format
from buildonce.signing import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.manifest import Manifest
    from buildonce.model import RunnerName
    from buildonce.system import System
    from buildonce.system.store import Store
    from buildonce.variation import Start

__all__ = ["Job", "Rebuilt", "build"]

_FORMAT_OF: Final = {"sdist": "wheel", "wheelhouse": "wheel"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is to be built, and where: ``work`` is a folder of this job's own."""

    name: str
    folder: str  # the project's, in the clone
    clone: Path
    work: Path
    targets: tuple[str, ...]
    formats: tuple[Format, ...]
    runner: RunnerName  # how programs are run in the build root
    limit: float  # seconds that a step in it may take

    @classmethod
    def of(cls, said: Manifest, *, clone: Path, work: Path, runner: RunnerName, limit: float) -> Job:
        """What the manifest *said* that there is, in *clone*."""
        made = {_FORMAT_OF.get(artifact.kind, artifact.kind) for artifact in said.artifacts}
        work.mkdir()
        return cls(
            name=said.name,
            folder=said.source.folder,
            clone=clone,
            work=work,
            targets=tuple(built.target.name for built in said.targets),
            formats=tuple(format_ for format_ in FORMATS if format_ in made),
            runner=runner,
            limit=limit,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """The rebuilt release, and what was different while it was built."""

    folder: Path
    varied: tuple[str, ...] = ()
    not_varied: tuple[str, ...] = ()


def build(job: Job, system: System, *, vary: bool, quick: bool) -> Rebuilt:
    """Build all of *job*.

    Fetched files come from the store, their sha256 checked; everything made of them (build roots, compiled
    wheels, Trees, layers) is made anew, unless *quick*. Raises what :func:`flow.build` raises.
    """
    if vary:
        return _varied(job, system)
    if quick:
        return Rebuilt(folder=_built(job, system))
    fresh = system.store.fetched_only(job.work / "store")
    with _keeping_logs(job, fresh, system.store):
        return Rebuilt(folder=_built(job, replace(system, store=fresh)))


def _built(job: Job, system: System) -> Path:
    order = flow.Order(
        root=job.clone / job.folder,
        out=job.work / "out",
        targets=job.targets,
        formats=job.formats,
        key=str(_key(job)),
        keys=job.work,
        passphrase=bytes,
        runner=job.runner,
        limit=job.limit,
    )
    return flow.build(order, system).folder


def _key(job: Job) -> Path:
    """A key for this build alone: a rebuilt release is compared, never published."""
    path = job.work / "rebuild.key"
    keys.new(path, None)
    return path


def _varied(job: Job, system: System) -> Rebuilt:
    """Build with our own command, started as strangely as this machine allows."""
    usable = [one for one in variation.VARIATIONS if variation.usable(one, system.host, job.work)]
    rest = [one for one in variation.VARIATIONS if one not in usable]
    _fetch_all(job, system)  # a variation is without network
    (job.work / "varied").mkdir()
    start = variation.all_of(variation.Start(place=job.work / "varied"), usable)
    start.place.mkdir(parents=True, exist_ok=True)
    job.clone.replace(start.place / "source")
    fresh = system.store.fetched_only(start.place / "store")
    system.progress.step(f"build under {len(usable)} variations: {', '.join(one.name for one in usable)}")
    with _keeping_logs(job, fresh, system.store):
        folder = _in_a_process(job, start, fresh, system)
    return Rebuilt(
        folder=folder,
        varied=tuple(f"{one.name}: {one.says}" for one in usable),
        not_varied=tuple(f"{one.name}: {one.says}" for one in rest),
    )


def _in_a_process(job: Job, start: Start, fresh: Store, system: System) -> Path:
    arguments = ["build", "--json", "--quiet", "-C", str(start.place / "source" / job.folder)]
    arguments += ["--out", str(start.place / "out"), "--key", str(_key(job))]
    arguments += ["--runner", job.runner, "--time-limit", str(job.limit / 60)]
    for name, values in (("--target", job.targets), ("--format", job.formats)):
        arguments += [part for value in values for part in (name, value)]
    started = start.setting({"BUILDONCE_STORE": str(fresh.root)})
    command = started.command(sys.executable, "-m", "buildonce", *arguments, capture=True)
    outcome = system.host.run(command, check=False)
    if outcome.returncode != 0:
        raise _failure(outcome.stdout, outcome.tail, fresh)
    (folder,) = (path for path in (start.place / "out").iterdir() if not path.name.startswith("."))
    return folder


def _failure(said: bytes, tail: str, fresh: Store) -> BuildError:
    """What the command said was wrong."""
    problem: dict[str, Any] = {}
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        problem = json.loads(said)["error"]["problems"][0]
    log = next(iter(sorted((fresh.root / "logs").glob("*/*"))), None)
    return BuildError(
        f"the varied build failed: {problem.get('message', 'it said nothing')}",
        where=str(problem.get("where", "")),
        hint=str(problem.get("hint", "") or "reproduce without --vary tells whether it is a variation that breaks it"),
        log=tail,
        log_path=str(log or ""),
    )


def _fetch_all(job: Job, system: System) -> None:
    project = projects.read(job.clone / job.folder)
    wanted = inputs.of(locks.read(project), targets.chosen(project.settings, job.targets))
    inputs.bring(wanted, replace(system, vaults=vault.configured(project, system.net)))


@contextlib.contextmanager
def _keeping_logs(job: Job, fresh: Store, usual: Store) -> Iterator[None]:
    """Let the logs of a build that fails outlive its store *fresh*: below ``logs/`` of the *usual* one."""
    try:
        yield
    except ReleaseError as error:
        kept = usual.root / "logs" / f"{job.name}-reproduce"
        if (fresh.root / "logs").is_dir():
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(fresh.root / "logs", kept)
            if error.log_path and Path(error.log_path).is_relative_to(fresh.root / "logs"):
                error.log_path = str(kept / Path(error.log_path).relative_to(fresh.root / "logs"))
        raise
