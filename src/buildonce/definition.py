"""What a target's table may say: ``builders/targets/<name>.toml`` and ``[tool.release.targets.<name>]`` alike.

A project's table starts from a shipped target, its namesake or the one that ``like`` names, and says what differs;
without either it says everything. Described key by key in ``docs/reference/targets.md``.
"""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Final

from buildonce.errors import Problem
from buildonce.system import share
from buildonce.tables import AbsolutePath, Matching, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["TargetTable", "facts", "problems", "shipped", "unknown"]

_LISTS: Final = ("toolchain", "runtime", "libraries")
# What a table that starts from nothing may leave out.
_DEFAULTS: Final = {
    "units": "/usr/lib/systemd/system",
    "glibcxx": "",
    "cxxabi": "",
    "toolchain": (),  # where it is built on another one; else it says that too
    "alternatives": {},
    "libraries": (),
    "build_on": "",
}
_OPTIONAL: Final = frozenset({"like", "revision", *_DEFAULTS}) - {"toolchain"}
# It stands in file names; a hyphen keeps it apart from the keys beside it in debs.lock.toml.
_NAME: Final = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+"

_Name = Annotated[str, Matching(_NAME, "the name of a target, such as debian-12")]
_Word = Annotated[str, Matching(r"[a-z][a-z0-9]*", "a word of small letters and digits")]
_Release = Annotated[str, Matching(r"[A-Za-z0-9.]+", "the number of a release, such as 12 or 24.04")]
_Machine = Annotated[str, Matching(r"x86_64|aarch64|i686|armv7l|ppc64le", "a machine that wheels are made for")]
_Multiarch = Annotated[str, Matching(r"[a-z0-9_]+-linux-[a-z0-9]+", "a multiarch name, such as x86_64-linux-gnu")]
_Glibc = Annotated[str, Matching(r"2\.[0-9]+", "a version of glibc, such as 2.36")]
_Symbols = Annotated[str, Matching(r"[0-9]+(?:\.[0-9]+)+", "a version, such as 3.4.30")]
_Python = Annotated[str, Matching(r"3\.[0-9]+\.[0-9]+", "a full version of CPython, such as 3.11.2")]
_Link = Annotated[str, Matching(r"/?[A-Za-z0-9._+-]+(?:/[A-Za-z0-9._+-]+)*", "where a link leads")]
_Package = Annotated[str, Matching(r"-?[a-z0-9][a-z0-9+.-]+", "the name of a Debian package, or - and such a name")]
# It goes into the version of a deb and, without its first character, into the build tag of a wheel.
_Revision = Annotated[str, Matching(r"[+~][a-z0-9]+(?:\.[a-z0-9]+)*", "a suffix of a Debian version, such as +deb12")]


class TargetTable(Table):
    """A target. Keys that are not given are those of the target that it starts from."""

    like: str = ""
    """The shipped target to start from; its namesake when not given."""
    distribution: _Word | None = None
    """The distribution's ID in os-release, such as `debian`."""
    release: _Release | None = None
    """The number of its release, such as `12`."""
    codename: _Word | None = None
    """The release's name in apt's sources, such as `bookworm`."""
    architecture: _Word | None = None
    """Debian's name of the architecture, such as `amd64`."""
    machine: _Machine | None = None
    """The kernel's name of it, such as `x86_64`."""
    multiarch: _Multiarch | None = None
    """Its name in folders of libraries, such as `x86_64-linux-gnu`."""
    glibc: _Glibc | None = None
    """The version of glibc: wheels that need a newer one do not fit."""
    glibcxx: _Symbols | None = None
    """The newest `GLIBCXX` symbols of libstdc++.so.6; wheels are not judged by them when not given."""
    cxxabi: _Symbols | None = None
    """The newest `CXXABI` symbols of libstdc++.so.6; likewise."""
    python: _Python | None = None
    """The full version of its CPython, such as `3.11.2`."""
    interpreter: AbsolutePath | None = None
    """The place of that CPython; its name has the version: `/usr/bin/python3.11`."""
    revision: _Revision | None = None
    """The end of a deb's version and of a compiled wheel's build tag; `+` and the target's name when not given."""
    units: AbsolutePath | None = None
    """Where its debhelper looks for systemd units; `/usr/lib/systemd/system` when not given."""
    toolchain: tuple[_Package, ...] | None = None
    """Debian packages of the build root; added to those it starts from, `-name` takes one away."""
    runtime: tuple[_Package, ...] | None = None
    """Debian packages of every image; likewise."""
    alternatives: dict[AbsolutePath, _Link] | None = None
    """Links that maintainer scripts would make, such as `"/usr/bin/awk" = "mawk"`; added likewise."""
    libraries: tuple[_Package, ...] | None = None
    """Debian packages whose libraries wheels may need, for a target without a toolchain; added likewise."""
    build_on: _Name | None = None
    """The target in whose build root the tools run, where they cannot run for its own architecture."""


def shipped() -> tuple[str, ...]:
    """The names of the targets that ship with the tool, sorted."""
    return tuple(sorted(path.stem for path in share.path("builders", "targets").glob("*.toml")))


def unknown(name: str, known: Collection[str], where: str) -> Problem:
    """Says that there is no target *name*, with the nearest of the *known* ones."""
    near = difflib.get_close_matches(name, known, n=1)
    listed = f"known targets: {', '.join(known)}; define another one in [tool.release.targets.NAME]"
    return Problem(
        message=f"unknown target {name!r}", where=where, hint=f"did you mean {near[0]!r}?" if near else listed
    )


def facts(name: str, table: TargetTable) -> dict[str, Any]:
    """Everything about the target *name*, whose project says *table*. The table has no :func:`problems`."""
    said = table.model_dump(exclude_none=True, exclude={"like"})
    base = _base(name, table.like)
    if not base:
        return {**_DEFAULTS, "revision": _revision(name), **said}
    start = _shipped(base)
    lists = {key: _changed(start[key], said.get(key, ())) for key in _LISTS}
    links = {"alternatives": {**start["alternatives"], **said.get("alternatives", {})}}
    revision = {"revision": start["revision"] if base == name else _revision(name)}
    return {**start, **revision, **said, **lists, **links}


def problems(tables: Mapping[str, TargetTable], where: str) -> Iterator[Problem]:
    """Everything that is wrong with the targets of a project; *where* is the path of their table."""
    sound: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        found = tuple(_incomplete(name, table, f"{where}.{name}"))
        if not found:
            sound[name] = facts(name, table)
            found = tuple(_contradictions(sound[name], f"{where}.{name}"))
        yield from found
    yield from _clashes(sound, where)
    yield from _builders(sound, tables, where)


def _incomplete(name: str, table: TargetTable, where: str) -> Iterator[Problem]:
    """What keeps the facts of a target from being put together."""
    said = table.model_dump(exclude_none=True, exclude_defaults=True)
    if not re.fullmatch(_NAME, name):
        hint = "two or more words of small letters and digits with hyphens between them, such as corporate-12"
        yield Problem(message=f"{name!r} is not a name for a target", where=where, hint=hint)
    elif table.like and table.like not in shipped():
        yield unknown(table.like, shipped(), f"{where}.like")
    elif not said and name not in shipped():
        problem = unknown(name, shipped(), where)
        yield problem
    elif base := _base(name, table.like):
        yield from _not_there(table, _shipped(base), base, where)
    else:
        optional = _OPTIONAL | {"toolchain"} if table.build_on else _OPTIONAL
        missing = [key for key in TargetTable.model_fields if key not in said.keys() | optional]
        if missing:
            hint = f'add them, or start from a shipped target: like = "{shipped()[0]}"'
            yield Problem(message=f"the target says nothing of {', '.join(missing)}", where=where, hint=hint)
        yield from _not_there(table, dict.fromkeys(_LISTS, ()), "nothing", where)


def _not_there(table: TargetTable, start: Mapping[str, Any], base: str, where: str) -> Iterator[Problem]:
    for key in _LISTS:
        for package in getattr(table, key) or ():
            if package.startswith("-") and package[1:] not in start[key]:
                near = difflib.get_close_matches(package[1:], start[key], n=1)
                yield Problem(
                    message=f"{package!r} takes away what is not in the {key} of {base}",
                    where=f"{where}.{key}",
                    hint=f"did you mean '-{near[0]}'?" if near else "leave it out",
                )


def _contradictions(merged: Mapping[str, Any], where: str) -> Iterator[Problem]:
    minor = ".".join(merged["python"].split(".")[:2])
    name = PurePosixPath(merged["interpreter"]).name
    if name != f"python{minor}":
        yield Problem(
            message=f"the interpreter {merged['interpreter']} is not of Python {merged['python']}",
            where=f"{where}.interpreter",
            hint=f"its name has to be python{minor}: give both `python` and `interpreter`",
        )
    elif name not in merged["runtime"] or not (merged["build_on"] or name in merged["toolchain"]):
        yield Problem(
            message=f"no OS package brings the interpreter {name}",
            where=where,
            hint=f'add "{name}" to `toolchain` and `runtime`, "{name}-dev" and "{name}-venv" to `toolchain`',
        )


def _clashes(sound: Mapping[str, Mapping[str, Any]], where: str) -> Iterator[Problem]:
    """Two debs of one version and architecture, and two wheels compiled of one sdist, would have one file name."""
    owners: dict[tuple[str, str], str] = {}
    for name, merged in sound.items():
        other = owners.setdefault((merged["revision"], merged["architecture"]), name)
        if other != name:
            yield Problem(
                message=f"{other} and {name} both have the revision {merged['revision']}: "
                "their files would have the same names",
                where=f"{where}.{name}.revision",
                hint=f'give it one of its own, such as revision = "{_revision(name)}"',
            )


def _builders(
    sound: Mapping[str, Mapping[str, Any]], tables: Mapping[str, TargetTable], where: str
) -> Iterator[Problem]:
    """A target that another is built on runs the tools, and its interpreter makes the bytecode, at the same place."""
    for name, merged in sound.items():
        other, place = merged["build_on"], f"{where}.{name}.build_on"
        if other and other not in tables and other not in shipped():
            yield unknown(other, (*tables, *shipped()), place)
        elif other and (other in sound or other not in tables):
            builder = sound[other] if other in sound else _shipped(other)
            if builder["build_on"] or _python(builder) != _python(merged):
                yield Problem(
                    message=f"{name} cannot be built on {other}: that has to have a build root of its own, "
                    "and the same Python",
                    where=place,
                    hint="name a target of the same distribution release whose architecture the building machine has",
                )


def _python(merged: Mapping[str, Any]) -> tuple[str, str]:
    """The minor version, which decides the bytecode, and the interpreter's place."""
    return ".".join(merged["python"].split(".")[:2]), merged["interpreter"]


def _base(name: str, like: str) -> str:
    """The shipped target that *name* starts from, or ``""``."""
    return like or (name if name in shipped() else "")


@functools.cache
def _shipped(name: str) -> dict[str, Any]:
    text = share.path("builders", "targets", f"{name}.toml").read_text("utf-8")
    table = TargetTable.model_validate(tomllib.loads(text))
    return {**_DEFAULTS, **table.model_dump(exclude_none=True, exclude={"like"})}


def _changed(start: Collection[str], said: Collection[str]) -> tuple[str, ...]:
    gone = {name.removeprefix("-") for name in said if name.startswith("-")}
    added = (name for name in said if not name.startswith("-"))
    return tuple(dict.fromkeys((*(name for name in start if name not in gone), *added)))


def _revision(name: str) -> str:
    return f"+{name.replace('-', '')}"
