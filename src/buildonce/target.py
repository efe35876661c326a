"""Reads the targets that ship with the tool (``builders/targets/<name>.toml``); says which wheels fit them.

Tags and markers are synthesised, so that a target's files can be selected on any machine; tests compare both
with the real interpreter's. Formats: wheel tags (PEP 425, PEP 600), environment markers (PEP 508).
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from packaging.tags import compatible_tags, cpython_tags

from buildonce.errors import ConfigurationError
from buildonce.model import Target
from buildonce.system import share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.tags import Tag

__all__ = ["load", "markers", "names", "tags"]

# PEP 600: the older names of three glibc versions, each listed directly after the name it stands for.
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST_GLIBC: Final = {"x86_64": 5, "i686": 5}
_OLDEST_GLIBC_ELSEWHERE: Final = 17


def names() -> tuple[str, ...]:
    """The names of all targets, sorted."""
    return tuple(sorted(path.stem for path in share.path("builders", "targets").glob("*.toml")))


def load(name: str) -> Target:
    """The target *name*.

    Raises :class:`ConfigurationError`, with the nearest name, when there is none.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        raise ConfigurationError(
            f"there is no target {name!r}",
            where="[tool.release] targets",
            hint=f"did you mean {near[0]!r}?" if near else f"the targets are: {', '.join(names())}",
        )
    values = tomllib.loads(share.path("builders", "targets", f"{name}.toml").read_text("utf-8"))
    return _target(name, values)


def _target(name: str, values: dict[str, Any]) -> Target:
    major, minor = values["glibc"].split(".")
    return Target(
        name=name,
        distribution=values["distribution"],
        release=values["release"],
        codename=values["codename"],
        architecture=values["architecture"],
        machine=values["machine"],
        multiarch=values["multiarch"],
        glibc=(int(major), int(minor)),
        python=values["python"],
        interpreter=PurePosixPath(values["interpreter"]),
        toolchain=tuple(values["toolchain"]),
        runtime=tuple(values["runtime"]),
        revision=values["revision"],
        alternatives=tuple(sorted(values.get("alternatives", {}).items())),
    )


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
