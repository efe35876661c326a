"""Wheels that are made here: the project's own, and those of locked sdists that have no wheel for a target.

All of it happens in the target's build root, without network, from a locked build environment, at fixed
paths, and the result is normalised: the same inputs give the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Final

from packaging.metadata import parse_email
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from buildonce import buildenv, missing, normalise, sdists, wheels
from buildonce.errors import BuildError, RootFullError, TimeLimitError
from buildonce.model import Wheel
from buildonce.system import compress, files, zipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from packaging.version import Version

    from buildonce.model import Chosen, Digest, Target
    from buildonce.protocols import Runner
    from buildonce.system.store import Store

__all__ = ["project_sdist", "project_wheel", "sdist", "sdist_version"]

_RECIPE: Final = 1  # another number when anything that decides a compiled wheel's bytes changes here
_CLOCK: Final = 315532800  # 1980: an sdist has no commit; a constant keeps compiled wheels free of time
_LOG_END: Final = 256 << 10


def project_sdist(
    clone: Path,
    *,
    env: Path,
    runner: Runner,
    epoch: int,
    into: Path,
    log: Path | None = None,
    repository: Path | None = None,
) -> Path:
    """Build the sdist of the project in *clone*, a folder of the clean clone *repository* (which it is itself when
    not given), into *into*.

    *epoch* is the commit's time. Raises :class:`BuildError` when the backend fails.
    """
    with _own_explained(log), files.scratch(into, "sdist") as aside:
        raw = _built(
            "sdist",
            clone,
            aside / "raw",
            env=env,
            runner=runner,
            environment={"SOURCE_DATE_EPOCH": str(epoch)},
            log=log,
            repository=repository,
        )
        made = normalise.sdist(raw, aside / "normal", epoch=epoch)
        return made.replace(into / made.name)


def sdist_version(source: Path) -> str:
    """The version that the sdist *source* is named with, as PEP 440 spells it.

    Raises :class:`BuildError` when it is named otherwise than PEP 625 says.
    """
    return str(_named(source)[1])


def project_wheel(source: Path, *, env: Path, runner: Runner, epoch: int, into: Path, log: Path | None = None) -> Path:
    """Build the project's wheel from *source*, its sdist of :func:`project_sdist`, into *into*.

    Raises :class:`BuildError` when the backend fails or the two disagree about name or version.
    """
    environment = {"SOURCE_DATE_EPOCH": str(epoch)}
    with _own_explained(log), files.scratch(into, "wheel") as aside:
        top = sdists.unpack(source, aside / "unpacked")
        raw = _built("wheel", top, aside / "raw", env=env, runner=runner, environment=environment, log=log)
        made = normalise.wheel(raw, aside / "normal")
        _same_version(made, source, top)
        return made.replace(into / made.name)


def _built(
    kind: buildenv.Distribution,
    source: Path,
    out: Path,
    *,
    env: Path,
    runner: Runner,
    environment: dict[str, str],
    log: Path | None,
    repository: Path | None = None,
) -> Path:
    answer = buildenv.call(
        kind,
        env=env,
        source=source,
        out=out,
        runner=runner,
        environment=environment,
        log=log,
        repository=repository,
    )
    name = json.loads(answer)
    if not isinstance(name, str) or "/" in name or not (out / name).is_file():
        raise BuildError(f"the build backend says that it made {name!r}, which is not there", log_path=str(log or ""))
    return out / name


def _named(source: Path) -> tuple[str, Version]:
    try:
        return parse_sdist_filename(source.name)
    except InvalidSdistFilename as error:
        raise _misnamed(error) from error


def _misnamed(error: Exception) -> BuildError:
    return BuildError(f"the build backend gave a wrong file name: {error}")


def _same_version(wheel: Path, source: Path, unpacked: Path) -> None:
    """Raise unless both artifacts say one name and one version, in their names and in their metadata."""
    try:
        by_wheel = parse_wheel_filename(wheel.name)[:2]
    except InvalidWheelFilename as error:
        raise _misnamed(error) from error
    by_sdist = _named(source)
    facts = wheels.admit(wheel)
    raw, _ = parse_email((unpacked / "PKG-INFO").read_bytes()) if (unpacked / "PKG-INFO").is_file() else ({}, {})
    told = {
        "the wheel's name": (str(by_wheel[0]), str(by_wheel[1])),
        "the wheel's metadata": (canonicalize_name(facts.name), facts.version),
        "the sdist's name": (str(by_sdist[0]), str(by_sdist[1])),
        "the sdist's metadata": (canonicalize_name(raw.get("name", "")), raw.get("version", "")),
    }
    if len(set(told.values())) > 1:
        raise BuildError(
            "the wheel and the sdist disagree: "
            + ", ".join(f"{who} is {' '.join(what)}" for who, what in told.items()),
            hint="the version has to come from the sdist's PKG-INFO when there is no git repository",
        )


def sdist(
    chosen: Chosen,
    path: Path,
    *,
    env: Path,
    runner: Runner,
    store: Store,
    target: Target,
    root_key: str,
    apt: Sequence[str] = (),
    log: Path | None = None,
) -> Wheel:
    """Compile the locked sdist *path* for *target*, or take the wheel that was made of the same inputs.

    *env* comes from :func:`buildenv.make`, *root_key* names the content of the build root, *apt* are the OS
    packages that the project names for this sdist. The wheel's build tag names the target (``1deb12``), so
    that wheels of two targets never share a file name. Raises :class:`BuildError` with the end of the log
    and, where the compiler says it, the package that is missing.
    """

    def make(into: Path) -> None:
        with files.scratch(into.parent, "compile") as aside:
            source = sdists.unpack(path, aside / "source")
            clock = {"SOURCE_DATE_EPOCH": str(_CLOCK)}
            try:
                raw = _built("wheel", source, aside / "raw", env=env, runner=runner, environment=clock, log=log)
            except BuildError as error:
                raise _explained(error, chosen, target, apt, log) from error
            made = normalise.wheel(raw, into, build_tag=_build_tag(target))
            _is(made, chosen)

    key = _inputs(chosen, env=env, root_key=root_key, target=target, apt=apt)
    (made,) = store.folder("compiled", key, make).glob("*.whl")
    return Wheel(
        name=chosen.name,
        version=chosen.version,
        path=made,
        sha256=files.sha256_file(made),
        size=made.stat().st_size,
        sdist=chosen.file,
    )


def _inputs(chosen: Chosen, *, env: Path, root_key: str, target: Target, apt: Sequence[str]) -> Digest:
    """The digest of all that a compiled wheel is made from."""
    facts = {
        "recipe": _RECIPE,
        "sdist": chosen.file.sha256,
        "environment": buildenv.key(env),
        "hook": files.sha256_file(buildenv.hook_script()),
        "root": root_key,
        "build-tag": _build_tag(target),
        "apt": sorted(apt),
        "compressor": [compress.COMPRESSOR, zipped.LEVEL],
    }
    return files.sha256_bytes(json.dumps(facts, sort_keys=True).encode())


def _build_tag(target: Target) -> str:
    """``1deb12`` for the revision ``+deb12``: a build tag begins with a digit and has no hyphen (PEP 491)."""
    return "1" + re.sub(r"[^a-z0-9.]", "", target.revision.lower())


def _is(made: Path, chosen: Chosen) -> None:
    facts = wheels.admit(made)
    if (canonicalize_name(facts.name), facts.version) != (chosen.name, chosen.version):
        raise BuildError(
            f"the sdist of {chosen.name} {chosen.version} built {facts.name} {facts.version}",
            where=chosen.file.filename,
        )


def _explained(error: BuildError, chosen: Chosen, target: Target, apt: Sequence[str], log: Path | None) -> BuildError:
    """The same error with what the compiler missed as its headline, and the next step."""
    output, what = _said(error, log), f"{chosen.name} {chosen.version} does not compile for {target.name}"
    message, hint = f"{what}: {error}", error.problems[0].hint
    if isinstance(error, TimeLimitError | RootFullError):
        pass  # whatever it said before
    elif found := missing.find(output):
        message, hint = f"{what}: {found[0].what} is missing", missing.hint(chosen.name, found, apt)
    elif forbidden := missing.forbidden(output):
        message, hint = f"{what}: {forbidden.what}", forbidden.hint
    return type(error)(message, where=chosen.file.filename, hint=hint, log=error.log, log_path=error.log_path)


@contextlib.contextmanager
def _own_explained(log: Path | None) -> Iterator[None]:
    """The same for the project itself."""
    try:
        yield
    except (TimeLimitError, RootFullError):
        raise
    except BuildError as error:
        forbidden = missing.forbidden(_said(error, log))
        if forbidden is None:
            raise
        raise BuildError(
            f"{error}: {forbidden.what}", hint=forbidden.hint, log=error.log, log_path=error.log_path
        ) from error


def _said(error: BuildError, log: Path | None) -> str:
    if log is not None and log.is_file():
        return log.read_bytes()[-_LOG_END:].decode(errors="replace")
    return error.log
