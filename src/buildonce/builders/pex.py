"""The format "pex": one executable file, made by pex in the build root, that holds the wheels byte for byte.

No resolving, no network, no pip: every wheel is handed to pex as a file. What pex leaves open (hashes, empty
results that count as success) is checked here, member by member. Reference: the pinned pex
(``builders/tools.toml``) and PEX-INFO as it writes it.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from zipfile import ZipFile

from packaging.utils import parse_wheel_filename

from buildonce import target as targets
from buildonce.builders import _pex_archive as pex_archive
from buildonce.builders._carried import carried as carried_by_wheel
from buildonce.errors import BuildError, ConfigurationError
from buildonce.model import Artifact, ArtifactKind, Bind, Command, Contents, Digest, Entry, Format
from buildonce.system import canonical, files, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.model import Wheel
    from buildonce.protocols import Runner
    from buildonce.stage import Stage
    from buildonce.system.store import Store

__all__ = ["PexBuilder"]

_BUILD: Final = PurePosixPath("/build/work")
_TOOL: Final = PurePosixPath("/build/tool")
_CACHE: Final = PurePosixPath("/build/bytecode")
_WHEELS: Final = PurePosixPath("/build/wheels")
_PLATFORM: Final = PurePosixPath("/build/platform.json")
_COMPILE: Final = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
_CODE, _BYTECODE = "code", "bytecode"

_PEX_FOLDER: Final = ".bootstrap/"
_MAIN, _BOOT = "__main__.py", "__pex__/__init__.py"
_BOOT_SOURCE: Final = "pex/pex_boot.py"
# PEX-INFO's code_hash when there are no loose files.
_NO_CODE: Final = hashlib.sha1(b"", usedforsecurity=False).hexdigest()


class PexBuilder:
    """Makes and reads ``<name>-<version>-<target>.pex``."""

    format: Format = "pex"
    kinds: tuple[ArtifactKind, ...] = ("pex",)

    def build(self, stage: Stage, into: Path, runner: Runner) -> tuple[Artifact, ...]:
        """Write the pex into *into*. Its bytes depend on wheels, command and pex alone; its times are 1980.

        Raises :class:`ConfigurationError` when it is open which command to run, and :class:`BuildError`
        when pex fails or what it made does not follow from its inputs.
        """
        command, tool = _command_of(stage), _tool(stage, runner)
        final = into / f"{stage.project.name}-{stage.version.pep440}-{stage.target.name}.pex"
        with files.scratch(into, "pex") as work:
            (work / _PLATFORM.name).write_bytes(_platform(stage))
            made = work / final.name
            runner.run(
                _command(stage, command, work, tool, made.name),
                log=stage.path.parent / "log" / f"pex-{stage.target.name}.log",
            )
            made.chmod(0o755)  # pex leaves what the umask gives
            extras = tuple(sorted(_checked(stage, command, made, tool / _CODE)))
            made.replace(final)
        return (
            Artifact(
                kind="pex",
                path=final,
                sha256=files.sha256_file(final),
                size=final.stat().st_size,
                target=stage.target.name,
                extras=extras,
            ),
        )

    def read(
        self,
        artifact: Path,
        kind: ArtifactKind,  # noqa: ARG002
        *,
        name: str,
        interpreter: str,
        store: Store | None = None,
    ) -> Contents:
        """What the embedded wheels install, and every member of the archive.

        Raises :class:`VerificationError` when it is no pex, or PEX-INFO tells of other wheels than it has.
        """
        minor = PurePosixPath(interpreter).name.removeprefix("python")
        prefix = PurePosixPath("/opt/venvs") / name
        with pex_archive.opened(artifact) as archive:
            info = pex_archive.info(archive, artifact)
            found = list(pex_archive.members(archive, artifact))
            pex_archive.check_wheels(info, found, artifact)
            for wheel, sha256 in info["distributions"].items():
                read = partial(pex_archive.carried, archive, wheel, prefix=prefix, python_minor=minor)
                found += carried_by_wheel(store, sha256, read, prefix=prefix, python=minor)
        facts = info.get("build_properties", {})
        return Contents(
            name=str(facts.get("name", "")),
            version=str(facts.get("version", "")),
            entries=tuple(sorted(found)),
        )


def _command_of(stage: Stage) -> tuple[str, ...]:
    """The console script to run and its first arguments; () for a library, whose pex is a Python."""
    if stage.project.settings.command:
        return tuple(shlex.split(stage.project.settings.command))
    named = [script for script in stage.scripts if script in (stage.project.name, stage.project.distribution)]
    if len(stage.scripts) > 1 and not named:
        raise ConfigurationError(
            f"a pex runs one command, and the project has {len(stage.scripts)}: {', '.join(stage.scripts)}",
            where="pyproject.toml: tool.release",
            hint=f'say which one: command = "{stage.scripts[0]}"',
        )
    return tuple(named[:1] or stage.scripts)


def _tool(stage: Stage, runner: Runner) -> Path:
    """A folder with pex's code, as its locked wheel has it, and beside that its bytecode: a third of a run's time."""
    wheel = next((wheel for wheel in stage.tools if wheel.name == "pex"), None)
    if wheel is None:
        raise BuildError(
            "pex is not among the locked tools",
            where="pylock.build.toml",
            hint="run `release lock` and commit the result",
        )

    def lay(into: Path) -> None:
        (into / _BYTECODE).mkdir()
        with ZipFile(wheel.path) as archive:
            archive.extractall(into / _CODE)
        runner.run(
            Command(
                argv=(str(stage.target.interpreter), *_COMPILE, str(_TOOL)),
                environment=(("PYTHONPYCACHEPREFIX", str(_CACHE)),),
                binds=(
                    Bind(source=into / _CODE, target=_TOOL),
                    Bind(source=into / _BYTECODE, target=_CACHE, writable=True),
                ),
            ),
            check=False,  # it carries code for other Pythons
        )

    made_from = ["pex 1", wheel.sha256, str(stage.target.interpreter), stage.target.builder.python]
    return stage.store.folder("pex-tool", files.sha256_bytes(canonical.dump(made_from)), lay)


def _command(stage: Stage, command: tuple[str, ...], work: Path, tool: Path, file: str) -> Command:
    wheels = stage.wheelhouse.wheels
    options = [
        *_fixed_options(),
        *([f"--complete-platform={_PLATFORM}"] if _is_foreign(stage) else ()),
        *(f"--interpreter-constraint={constraint}" for constraint in _constraints(stage)),
        f"--python-path={stage.target.interpreter}",
        f"--python-shebang={_shebang(stage)}",
        f"--build-property=name={stage.project.name}",
        f"--build-property=version={stage.version.pep440}",
        *(f"--pre-resolved-dist={_WHEELS / wheel.filename}" for wheel in wheels),
        *(f"--console-script={script}" for script in command[:1]),
        *(f"--inject-args={shlex.quote(argument)}" for argument in command[1:]),
        f"--output-file={_BUILD / file}",
    ]
    return Command(
        # Requirements stand before options: without them, or behind "--", pex makes an empty pex.
        argv=(str(stage.target.interpreter), "-m", "pex", *_requirements(stage), *options),
        cwd=str(_BUILD),
        environment=(
            ("PYTHONPATH", str(_TOOL)),
            ("PYTHONPYCACHEPREFIX", str(_CACHE)),
            ("PEX_IGNORE_RCFILES", "true"),
            ("HOME", str(_BUILD / "home")),
        ),
        binds=(
            Bind(source=work, target=_BUILD, writable=True),
            Bind(source=tool / _CODE, target=_TOOL),
            Bind(source=tool / _BYTECODE, target=_CACHE),
            Bind(source=work / _PLATFORM.name, target=_PLATFORM),
            *(Bind(source=wheel.path, target=_WHEELS / wheel.filename) for wheel in wheels),
        ),
    )


def _fixed_options() -> list[str]:
    lines = share.path("builders", "pex", "options.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("--")]


def _requirements(stage: Stage) -> tuple[str, ...]:
    return tuple(sorted(f"{wheel.name}=={wheel.version}" for wheel in stage.wheelhouse.wheels))


def _is_foreign(stage: Stage) -> bool:
    """Whether pex has to be told of the target, since the Python it runs in cannot stand for it."""
    return stage.target.build_on is not None and any(not _is_pure(wheel) for wheel in stage.wheelhouse.wheels)


def _is_pure(wheel: Wheel) -> bool:
    return all(tag.platform == "any" for tag in parse_wheel_filename(wheel.filename)[-1])


def _platform(stage: Stage) -> bytes:
    """The target as pex reads it (``--complete-platform``): its wheel tags and its markers."""
    facts = {"marker_environment": targets.markers(stage.target), "compatible_tags": targets.tags(stage.target)}
    return json.dumps(facts, default=str).encode()


def _constraints(stage: Stage) -> list[str]:
    """Which Python starts the pex. For pex a constraint asks for wheels that fit an interpreter of this machine too:
    for a foreign target, the tags of the wheels alone have to say it.
    """
    return [] if _is_foreign(stage) else [f"CPython=={stage.target.python_minor}.*"]


def _shebang(stage: Stage) -> str:
    return f"/usr/bin/env python{stage.target.python_minor}"


def _checked(stage: Stage, command: tuple[str, ...], made: Path, code: Path) -> Iterator[Entry]:
    """The members of the finished pex, each compared with what it has to be made from.

    Wheels come from the wheelhouse, pex's code from its wheel, the program's start from that and the shebang.
    """
    wheels = {wheel.filename: wheel.sha256 for wheel in stage.wheelhouse.wheels}
    with pex_archive.opened(made) as archive:
        _check_info(stage, command, pex_archive.info(archive, made), wheels)
        start, boot = archive.read(_BOOT), (code / _BOOT_SOURCE).read_bytes()
        expected = {
            pex_archive.SHEBANG: files.sha256_bytes(_first_line(stage)),
            _MAIN: files.sha256_bytes(_first_line(stage) + b"\n" + start),
            _BOOT: files.sha256_bytes(start) if start.startswith(boot) else Digest(""),
            pex_archive.INFO: files.sha256_bytes(archive.read(pex_archive.INFO)),
        }
        for entry in pex_archive.members(archive, made):
            if entry.path.startswith(pex_archive.WHEELS):
                right = wheels.get(entry.path.removeprefix(pex_archive.WHEELS), Digest(""))
            elif entry.path.startswith(_PEX_FOLDER):
                source = code / entry.path.removeprefix(_PEX_FOLDER)
                right = files.sha256_file(source) if source.is_file() else Digest("")
            else:
                right = expected.get(entry.path, Digest(""))
            if entry.sha256 != right:
                raise BuildError(
                    f"pex put something into the pex that was not given to it: {entry.path}", where=made.name
                )
            yield entry


def _first_line(stage: Stage) -> bytes:
    return f"#!{_shebang(stage)}\n".encode()


def _check_info(stage: Stage, command: tuple[str, ...], info: dict[str, Any], wheels: dict[str, Digest]) -> None:
    meant = {
        "distributions": wheels,
        "deps_are_wheel_files": True,
        "code_hash": _NO_CODE,
        "interpreter_constraints": _constraints(stage),
        "inherit_path": "false",
        "inject_args": list(command[1:]),
        "requirements": list(_requirements(stage)),
        "venv": True,
    }
    found = {key: info.get(key) for key in meant} | {"requirements": sorted(info.get("requirements", ()))}
    wrong = [key for key in meant if meant[key] != found[key]]
    if command and not info.get("entry_point"):
        wrong.append("entry_point")
    if wrong:
        raise BuildError(
            f"pex did not make what it was asked for: {', '.join(wrong)} in PEX-INFO",
            where=stage.project.name,
        )
