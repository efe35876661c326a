"""The targets that ship with the tool and those of a project; says which wheels fit them.

Tags and markers are synthesised, so that a target's files can be selected on any machine; tests compare both
with the real interpreter's. Formats: wheel tags (PEP 425, PEP 600), environment markers (PEP 508).
"""

from __future__ import annotations

import difflib
import functools
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, cast

from packaging.tags import compatible_tags, cpython_tags

from buildonce.errors import ConfigurationError, Problem
from buildonce.model import Target
from buildonce.system import share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from packaging.tags import Tag

    from buildonce.config import Settings
    from buildonce.definition import TargetTable

__all__ = ["chosen", "load", "markers", "names", "of", "tags"]

# PEP 600: the older names of three glibc versions, each listed directly after the name it stands for.
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST_GLIBC: Final = {"x86_64": 5, "i686": 5}
_OLDEST_GLIBC_ELSEWHERE: Final = 17


def names() -> tuple[str, ...]:
    """The names of the targets that ship with the tool, sorted."""
    return tuple(sorted(path.stem for path in share.path("builders", "targets").glob("*.toml")))


def load(name: str, tables: Mapping[str, TargetTable] | None = None) -> Target:
    """The target *name*: one of a project's own *tables*, or a shipped one.

    Raises :class:`ConfigurationError`, with the nearest name, when there is none.
    """
    from buildonce import definition  # pydantic takes longer to import than `release --help` may take

    tables = tables or {}
    if name not in tables and name not in names():
        problem = definition.unknown(name, (*tables, *names()), "[tool.release] targets")
        raise ConfigurationError.of((problem,))
    facts = definition.facts(name, tables.get(name) or definition.TargetTable())
    return _target(name, facts, load(facts["build_on"], tables) if facts["build_on"] else None)


def of(settings: Settings) -> tuple[Target, ...]:
    """All targets of a project, in the order in which it names them."""
    return tuple(load(name, settings.targets) for name in settings.targets)


def chosen(settings: Settings, wanted: Sequence[str], *, where: str = "--target") -> tuple[Target, ...]:
    """Those of a project's targets that are *wanted*, all of them for ``()``, in the order of the project.

    Raises :class:`ConfigurationError` for each of *wanted*, given at *where*, that the project does not have.
    """
    problems = tuple(
        _no_target(name, settings, where) for name in dict.fromkeys(wanted) if name not in settings.targets
    )
    if problems:
        raise ConfigurationError.of(problems)
    return tuple(target for target in of(settings) if not wanted or target.name in wanted)


def _no_target(name: str, settings: Settings, where: str) -> Problem:
    has = f"it has {', '.join(settings.targets)}"
    near = difflib.get_close_matches(name, settings.targets, n=1)
    if name in names():
        hint = f"{has}; add {name} to `targets` under [tool.release], then run `release lock`"
    else:
        hint = f"did you mean {near[0]!r}?" if near else has
    return Problem(message=f"the project has no target {name!r}", where=where, hint=hint)


def _target(name: str, values: dict[str, Any], builder: Target | None) -> Target:
    return Target(
        name=name,
        distribution=values["distribution"],
        release=values["release"],
        codename=values["codename"],
        architecture=values["architecture"],
        machine=values["machine"],
        multiarch=values["multiarch"],
        glibc=cast("tuple[int, int]", _numbers(values["glibc"])),
        glibcxx=_numbers(values["glibcxx"]),
        cxxabi=_numbers(values["cxxabi"]),
        python=values["python"],
        interpreter=PurePosixPath(values["interpreter"]),
        toolchain=tuple(values["toolchain"]),
        runtime=tuple(values["runtime"]),
        revision=values["revision"],
        units=PurePosixPath(values["units"]),
        alternatives=tuple(sorted(values["alternatives"].items())),
        libraries=tuple(values["libraries"]),
        build_on=builder,
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")) if version else ()


def tags(target: Target) -> list[Tag]:
    """The wheel tags that *target*'s interpreter takes, the best first: its ``packaging.tags.sys_tags()``."""
    return list(_tags(target))


@functools.cache
def _tags(target: Target) -> tuple[Tag, ...]:
    major, minor = (int(part) for part in target.python_minor.split("."))
    interpreter = f"cp{major}{minor}"
    platforms = list(_platforms(target))
    return (
        *cpython_tags((major, minor), abis=[interpreter], platforms=platforms),
        *compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
    )


def _platforms(target: Target) -> Iterator[str]:
    """Platform tags, newest first, in the order of ``packaging`` 26.3 (``linux_*`` before ``manylinux``)."""
    yield f"linux_{target.machine}"
    oldest = _OLDEST_GLIBC.get(target.machine, _OLDEST_GLIBC_ELSEWHERE)
    major, newest = target.glibc
    for minor in range(newest, oldest - 1, -1):
        yield f"manylinux_{major}_{minor}_{target.machine}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{target.machine}"


def markers(target: Target) -> dict[str, str]:
    """The PEP 508 environment of *target*; what only the running kernel knows is empty."""
    return {
        "implementation_name": "cpython",
        "implementation_version": target.python,
        "os_name": "posix",
        "platform_machine": target.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": target.python,
        "python_version": target.python_minor,
        "sys_platform": "linux",
    }
