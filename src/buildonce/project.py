"""Facts of the user's project, from its pyproject.toml (PEP 518, 621, 639; poetry's own older table too)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from buildonce.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.config import Settings

__all__ = ["Project", "read"]

# What PEP 518 and PEP 517 prescribe for a project that names no build system.
LEGACY_REQUIRES: Final = ("setuptools>=40.8.0",)
LEGACY_BACKEND: Final = "setuptools.build_meta:__legacy__"

_SPELLED: Final[dict[Callable[[str], object], str]] = {
    Version: "1.2.3, 1.3.0rc1 or 2.0.post1",
    SpecifierSet: ">=3.11 or >=3.11,<4",
    Requirement: "click>=8.1 or uvicorn[standard]==0.30.*",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """What pyproject.toml says, parsed. ``name`` is normalised (PEP 503).

    ``name`` is the release's: it names the artifacts and ``/opt/venvs/<name>``. ``distribution`` is that of
    the project's own wheel; the two differ only when ``[tool.release] name`` says so.
    """

    root: Path
    name: str
    summary: str
    static_version: str  # "" when the backend computes it
    requires_python: str
    dependencies: tuple[str, ...]  # PEP 508; () when dynamic
    dynamic: tuple[str, ...]
    build_requires: tuple[str, ...]
    build_backend: str
    license: str  # SPDX expression or ""
    authors: tuple[str, ...]  # "Name <mail>"
    urls: tuple[tuple[str, str], ...]
    settings: Settings
    distribution: str = ""  # the same as name when not given

    def __post_init__(self) -> None:
        if not self.distribution:
            object.__setattr__(self, "distribution", self.name)

    @property
    def repository(self) -> str:
        """Where the project says that its source is (``[project.urls]``, by the well-known labels), or ``""``."""
        labelled = {re.sub(r"[^a-z]", "", label.lower()): url for label, url in self.urls}  # as PyPA normalises labels
        return next(
            (labelled[name] for name in ("source", "repository", "sourcecode", "github") if name in labelled), ""
        )


def read(root: Path) -> Project:
    """The project in the folder *root*, with its settings.

    Raises :class:`ConfigurationError` with every problem of pyproject.toml and of the settings at once.
    """
    from buildonce import config  # pydantic takes longer to import than `release --help` may take

    path = root / "pyproject.toml"
    if not path.is_file():
        raise ConfigurationError("there is no pyproject.toml", where=str(root), hint=_hint_for(root))
    document = config.read_toml(path)
    facts = _Facts(document)
    settings = None
    try:
        settings = config.read(root)
    except ConfigurationError as error:
        raise config.problems_of(error, facts.problems) from error
    name = settings.name or facts.name
    facts.check_name(name, settings)
    if facts.problems:
        first, *rest = facts.problems
        raise ConfigurationError(first.message, where=first.where, hint=first.hint, more=tuple(rest))
    return Project(
        root=root,
        name=name,
        distribution=facts.name,
        summary=facts.summary,
        static_version=facts.version,
        requires_python=facts.requires_python,
        dependencies=facts.dependencies,
        dynamic=facts.dynamic,
        build_requires=facts.build_requires,
        build_backend=facts.build_backend,
        license=facts.license,
        authors=facts.authors,
        urls=facts.urls,
        settings=settings,
    )


def _hint_for(root: Path) -> str:
    if (root / "setup.py").is_file() or (root / "setup.cfg").is_file():
        return "add a pyproject.toml with a [project] table (name, version); setup.py may stay"
    return "change to the project's folder or name it with -C DIR"


class _Facts:
    """pyproject.toml, taken apart; what is wrong with it gathers in ``problems``."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.problems: list[Problem] = []
        tool = self._table(document, "tool", "")
        poetry = self._table(tool, "poetry", "tool.")
        self.modern = "project" in document
        self.at = "project" if self.modern else "tool.poetry"
        self.table = self._table(document, "project", "") if self.modern else poetry
        if not self.modern and not poetry:
            self._add("pyproject.toml has no [project] table", "", "add [project] with name and version")
        self.name = self._name()
        self.dynamic = self._dynamic(tool)
        self.version = self._version()
        self.summary = " ".join(self._text("description").split())
        self.requires_python = self._requires_python()
        self.dependencies = self._requirements(self.table, "dependencies", self.at) if self.modern else ()
        self.license = self._license()
        self.authors = self._authors()
        self.urls = self._urls()
        self.build_requires, self.build_backend = self._build_system(document)

    def check_name(self, name: str, settings: Settings) -> None:
        """The name of the release must be good for a deb and, when it is a service's, for a user."""
        from buildonce.config import NAME
        from buildonce.tables import USER

        if self.name and re.fullmatch(NAME, name) is None:
            self._add(
                f"{name!r} is too short to name a Debian package",
                f"{self.at}.name",
                "set `name` in [tool.release]",
            )
        if settings.service and not settings.service.user and name and re.fullmatch(USER, name) is None:
            self._add(
                f"{name!r} cannot name the user of the service",
                f"{self.at}.name",
                "set `user` in [tool.release.service]",
            )

    def _add(self, message: str, key: str, hint: str = "") -> None:
        where = f"pyproject.toml: {key}" if key else "pyproject.toml"
        self.problems.append(Problem(message=message, where=where, hint=hint))

    def _table(self, parent: dict[str, Any], key: str, at: str) -> dict[str, Any]:
        found = parent.get(key, {})
        if isinstance(found, dict):
            return found
        self._add(f"expected a table, found {found!r}", at + key)
        return {}

    def _text(self, key: str) -> str:
        found = self.table.get(key, "")
        if isinstance(found, str):
            return found
        self._add(f"expected text, found {found!r}", f"{self.at}.{key}")
        return ""

    def _texts(self, table: dict[str, Any], key: str, at: str) -> tuple[str, ...]:
        found = table.get(key, [])
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return tuple(found)
        self._add(f"expected a list of texts, found {found!r}", f"{at}.{key}")
        return ()

    def _parsed(self, text: str, parse: Callable[[str], object], what: str, key: str) -> str:
        try:
            parse(text)
        except (InvalidVersion, InvalidSpecifier, InvalidRequirement):
            self._add(f"{text!r} is not {what}", key, f"written as in {_SPELLED[parse]}")
            return ""
        return text

    def _name(self) -> str:
        name = self._text("name")
        if not name and self.table:
            self._add("the project has no name", f"{self.at}.name", 'add name = "…"')
        elif name and re.fullmatch(r"[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]", name) is None:
            self._add(f"{name!r} is not a name: letters, digits, and . _ - between them", f"{self.at}.name")
        return canonicalize_name(name)

    def _dynamic(self, tool: dict[str, Any]) -> tuple[str, ...]:
        if self.modern:
            return self._texts(self.table, "dynamic", self.at)
        # poetry writes constraints in a language of its own; a plug-in may replace the version found here.
        plugin = tool.get("poetry-dynamic-versioning", {})
        enabled = isinstance(plugin, dict) and bool(plugin.get("enable"))
        return ("dependencies", "requires-python", *(["version"] if enabled else []))

    def _version(self) -> str:
        if "version" in self.dynamic:
            if self.modern and "version" in self.table:
                self._add("the version is both given and dynamic", f"{self.at}.dynamic", "keep one of the two")
            return ""
        version = self._text("version")
        if not version and self.table:
            hint = 'add version = "0.1.0"' + (' or dynamic = ["version"]' if self.modern else "")
            self._add("the project has no version", f"{self.at}.version", hint)
            return ""
        return self._parsed(version, Version, "a version (PEP 440)", f"{self.at}.version") if version else ""

    def _requires_python(self) -> str:
        key = "requires-python"
        return (
            self._parsed(self._text(key), SpecifierSet, "a version specifier", f"{self.at}.{key}")
            if self.modern
            else ""
        )

    def _requirements(self, table: dict[str, Any], key: str, at: str) -> tuple[str, ...]:
        found = self._texts(table, key, at)
        return tuple(
            self._parsed(text, Requirement, "a requirement (PEP 508)", f"{at}.{key}[{index}]")
            for index, text in enumerate(found)
        )

    def _license(self) -> str:
        found = self.table.get("license", "")
        text = found.get("text", "") if isinstance(found, dict) else found
        if not isinstance(text, str):
            self._add(f"expected text, found {text!r}", f"{self.at}.license")
            return ""
        try:
            return canonicalize_license_expression(text) if text else ""
        except InvalidLicenseExpression:
            return ""  # before PEP 639 this was free text, often all of the licence

    def _authors(self) -> tuple[str, ...]:
        found = self.table.get("authors", [])
        entries = found if isinstance(found, list) else [found]
        authors = []
        for index, entry in enumerate(entries):
            name, mail = (entry.get("name", ""), entry.get("email", "")) if isinstance(entry, dict) else (entry, "")
            if not isinstance(name, str) or not isinstance(mail, str) or isinstance(entry, dict) != self.modern:
                self._add(f"expected an author, found {entry!r}", f"{self.at}.authors[{index}]")
                continue
            shown = " ".join((f"{name or mail} <{mail}>" if mail else name).split())
            authors += [shown] if shown else []
        return tuple(authors)

    def _urls(self) -> tuple[tuple[str, str], ...]:
        found = dict(self._table(self.table, "urls", f"{self.at}."))
        if not self.modern:
            own = {
                key.title(): self.table[key] for key in ("homepage", "repository", "documentation") if key in self.table
            }
            found = own | found
        for label, url in found.items():
            if not isinstance(url, str) or re.fullmatch(r"https?://[^\s\x00-\x1f]+", url) is None:
                self._add(f"{url!r} is not an address", f"{self.at}.urls.{label}")
        return tuple((str(label), str(url)) for label, url in found.items())

    def _build_system(self, document: dict[str, Any]) -> tuple[tuple[str, ...], str]:
        if "build-system" not in document:
            return LEGACY_REQUIRES, LEGACY_BACKEND
        table = self._table(document, "build-system", "")
        if "requires" not in table:
            self._add("the build system requires nothing", "build-system.requires", "add requires = […] (PEP 518)")
        backend = table.get("build-backend", LEGACY_BACKEND)
        if not isinstance(backend, str):
            self._add(f"expected text, found {backend!r}", "build-system.build-backend")
            backend = LEGACY_BACKEND
        return self._requirements(table, "requires", "build-system"), backend
