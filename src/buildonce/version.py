"""One version, unique per commit, in the spelling of every format.

The map from PEP 440 to Debian keeps the total order of public versions and puts a local version between its
public one and the next; a property test proves it against dpkg. Different versions are spelled differently, but
dpkg itself takes some different local parts for equal (``+l.a`` and ``+l.a0``: no digits count as 0). The map to
OCI tags can be undone.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from packaging import version as pep440
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from buildonce import source as sources
from buildonce.errors import ConfigurationError, ReleaseError, SourceError
from buildonce.model import Version
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.model import Source
    from buildonce.project import Project

__all__ = ["publishable", "settle", "spell"]

_LONGEST_TAG = 128  # OCI distribution specification 1.1, "Pulling manifests"
_SHORT = 9  # hexadecimal digits of a commit in a version, as setuptools-scm has them

# Backends and plug-ins that make the version from tags.
_FROM_TAGS: Final = frozenset({
    "dunamai", "flit-scm", "hatch-vcs", "miniver", "pbr", "poetry-dynamic-versioning",
    "setuptools-git-versioning", "setuptools-scm", "uv-dynamic-versioning", "vcs-versioning",
    "versioneer", "versioningit",
})  # fmt: skip


def spell(version: str) -> Version:
    """*version* (PEP 440, any spelling) for every format.

    Debian: the release padded to three numbers; ``~aN ~bN ~rcN``, ``+postN``, ``~devN`` (``~~devN`` after a
    bare release, to sort before its ``~a``); a local part that starts with a commit or is of numbers as
    ``+local``, any other as ``+l.local``, to sort before ``+post``. Raises :class:`ConfigurationError` when
    it is no version.
    """
    parsed = _parse(version)
    tag = str(parsed).replace("!", "-").replace("+", "_")
    if len(tag) > _LONGEST_TAG:
        raise ConfigurationError(
            f"the version {parsed} is too long: {len(tag)} characters, an image's tag has at most 128"
        )
    return Version(pep440=str(parsed), debian=_debian(parsed), oci=tag)


def publishable(version: str) -> bool:
    """Whether *version* (PEP 440) names a commit, and not local changes built with ``--allow-dirty``."""
    return re.search(r"(?:^|\.)d[0-9a-f]{8}$", _parse(version).local or "") is None


def settle(project: Project, source: Source, clone: Path, backend_version: Callable[[Path], str]) -> Version:
    """The version of *source*, unique per commit. *clone* is the project's folder in the clean clone.

    A static version stands as it is on its own tag. The backend's answer stands when the commit is in it or
    tagged with it. Otherwise, and for local changes, pyproject.toml of the clone (never the user's) gets a
    version of its own. Raises :class:`SourceError` when the backend needs a tag and there is none.
    """
    seen = sources.history(clone) or sources.History(
        tags=(source.tag,) if source.tag else (), height=len(source.changes), tagged=bool(source.tag)
    )
    if not project.static_version and not seen.tagged and _needs_tags(project, clone):
        raise SourceError(
            "there is no tag where a tag is needed: the version is made from tags",
            where=f"{project.root}: commit {source.commit[:_SHORT]}",
            hint="git tag v0.1.0",
        )
    said = _parse(project.static_version or backend_version(clone))
    own = _is_unique(said, source.commit) if not project.static_version else False
    if source.dirty is None and (own or any(_names(tag, said, project.distribution) for tag in seen.tags)):
        return spell(str(said))
    unique = spell(_unique(said, source, seen.height))
    _patch(clone / "pyproject.toml", unique.pep440, source.epoch)
    return unique


def _parse(version: str) -> pep440.Version:
    try:
        return pep440.Version(version)
    except pep440.InvalidVersion as error:
        raise ConfigurationError(
            f"{version!r} is not a version",
            where="pyproject.toml: project.version",
            hint="versions are written as in PEP 440: 1.2.3, 1.3.0rc1, 2.0.post1",
        ) from error


def _debian(version: pep440.Version) -> str:
    release = list(version.release)
    while len(release) > 3 and release[-1] == 0:
        release.pop()
    text = ".".join(str(number) for number in (*release, *(0,) * (3 - len(release))))
    if version.pre:
        text += f"~{version.pre[0]}{version.pre[1]}"
    if version.post is not None:
        text += f"+post{version.post}"
    if version.dev is not None:
        text += f"{'~' if version.pre or version.post is not None else '~~'}dev{version.dev}"
    if version.local:
        plain = re.match(r"g[0-9a-f]+(?:\.|$)|\d+(?:\.\d+)*$", version.local)
        text += f"+{version.local}" if plain else f"+l.{version.local}"
    return f"{version.epoch}:{text}" if version.epoch else text


def _needs_tags(project: Project, clone: Path) -> bool:
    required = {canonicalize_name(Requirement(text).name) for text in project.build_requires}
    tool = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    if "version" in tool.get("setuptools", {}).get("dynamic", {}) or "path" in tool.get("hatch", {}).get("version", {}):
        return False  # from a file: the plug-in is there for something else
    pdm = tool.get("pdm", {}).get("version", {})
    return bool(required & _FROM_TAGS) or pdm.get("source") == "scm" or (clone / "versioneer.py").is_file()


def _is_unique(version: pep440.Version, commit: str) -> bool:
    """Whether seven digits of the commit or more, with or without a g, are in the local part."""
    segments = (version.local or "").split(".")
    return any(len(s.removeprefix("g")) >= 7 and commit.startswith(s.removeprefix("g")) for s in segments)


def _names(tag: str, version: pep440.Version, name: str) -> bool:
    """Whether *tag* says that this is *version*: 1.0, v1.0, name-1.0, name-v1.0, name/v1.0, name@1.0."""
    own = re.match(rf"{re.escape(name).replace('-', '[-_.]')}[-_/@]", tag, re.IGNORECASE)
    number = (tag[own.end() :] if own else tag).removeprefix("v")
    try:
        return pep440.Version(number) == version
    except pep440.InvalidVersion:
        return False


def _unique(version: pep440.Version, source: Source, height: int) -> str:
    local = [] if version.local is None or _is_unique(version, source.commit) else [version.local]
    local.append(f"g{source.commit[:_SHORT]}")
    if source.dirty is not None:
        local = [local[-1], f"d{source.dirty[:8]}"]
    public = version.public if version.dev is not None else f"{version.public}.dev{height}"
    return f"{public}+{'.'.join(local)}"


def _patch(pyproject: Path, version: str, epoch: int) -> None:
    """Make the version static, touching nothing else of the file."""
    import tomlkit

    document: Any = tomlkit.parse(pyproject.read_text(encoding="utf-8"))
    table = document["project"] if "project" in document else document["tool"]["poetry"]
    if "version" in table.get("dynamic", ()):
        table["dynamic"].remove("version")
        if not table["dynamic"]:
            del table["dynamic"]  # no remove(): tables that stand in several places have none
    table["version"] = version
    text = tomlkit.dumps(document)
    written = tomllib.loads(text)
    if (written.get("project") or written["tool"]["poetry"])["version"] != version:
        raise ReleaseError("the version could not be written into the clone's pyproject.toml", where=str(pyproject))
    files.write_atomically(pyproject, text.encode())
    os.utime(pyproject, (epoch, epoch))
