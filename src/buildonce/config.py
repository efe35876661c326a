"""``[tool.release]`` of pyproject.toml, or release.toml: the model behind it and its JSON Schema.

Every value that later stands in a unit file, a control file or a command line is checked here, once, so that
nothing further down has to ask whether a name holds a newline. All problems are reported at once.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Final

from packaging.utils import canonicalize_name
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, WithJsonSchema

from buildonce import definition
from buildonce.definition import TargetTable
from buildonce.destinations import Destination  # noqa: TC001 - pydantic reads it
from buildonce.environments import Balancer, Environment, Hooks
from buildonce.errors import ConfigurationError, Problem
from buildonce.model import FORMATS, Format
from buildonce.needs import Need, UpSettings
from buildonce.service import CommandLine, Resources, Service
from buildonce.tables import Matching, Package, Table, schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

__all__ = [
    "BuildSettings",
    "Image",
    "Service",
    "Settings",
    "Sign",
    "json_schema",
    "problems_of",
    "read",
    "read_toml",
]


# A name has to be good for PyPA (PEP 503), for Debian (policy 5.6.1) and for /opt/venvs/<name>.
NAME: Final = r"[a-z0-9]+(?:-[a-z0-9]+)+|[a-z0-9]{2,}"
_BASE: Final = r"[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}|[^\x00-\x1f\x7f]+\.tar"

_Name = Annotated[
    str,
    Matching(NAME, "a name for Python, Debian and a path alike: two or more of a-z, 0-9 and single hyphens"),
]
_Maintainer = Annotated[
    str,
    Matching(r"[^\s<>\x00-\x1f\x7f][^<>\x00-\x1f\x7f]* <[^\s<>@]+@[^\s<>@]+>", "written as Name <mail@host>"),
]
_BaseImage = Annotated[str, Matching(_BASE, "pinned: name@sha256:<64 digits>, or the path of an OCI archive (.tar)")]
_VAULT: Final = (
    r"oci(?:\+http)?://[^\s@:/]+(?::\d+)?/[^\s@:]+|https?://[^\s@]+|file://[^\s@]+"
    r"|(?![A-Za-z0-9+.-]+://)[^\x00-\x1f\x7f]+"
)
_Vault = Annotated[
    str, Matching(_VAULT, "a folder, a bundle (.tar), https://host/path or oci://host/name, without credentials")
]
_Vaults = Annotated[
    tuple[_Vault, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    WithJsonSchema({"anyOf": [schema(_VAULT), {"type": "array", "items": schema(_VAULT)}]}),
]
_Key = Annotated[str, Matching(r"[^\x00-\x1f\x7f]+", "a path or a URI")]


class BuildSettings(Table):
    """What one dependency needs: to be compiled, or to be accepted."""

    apt: tuple[Package, ...] = ()
    """Debian packages for the build root, such as `libpq-dev`."""

    startup: bool = False
    """Accept that its wheel runs code whenever Python starts (a `.pth` file), as `coverage` does."""


class Image(Table):
    """The container image."""

    base: _BaseImage = ""
    """A base image pinned by digest, or an OCI archive; made from locked Debian packages when not given."""


class Sign(Table):
    """How the release is signed."""

    key: _Key = ""
    """The path or URI of the private key; a workstation key when not given."""


_Names = Annotated[tuple[str, ...], Field(min_length=1)]
_NAMES: Final = TypeAdapter[tuple[str, ...]](_Names)


def _as_tables(value: object) -> object:
    """A list of names is short for tables that say nothing: TOML cannot have both under one key."""
    return value if isinstance(value, dict) else dict.fromkeys(_NAMES.validate_python(value), TargetTable())


_Tables = Annotated[dict[str, TargetTable], Field(min_length=1)]
_Targets = Annotated[_Tables, BeforeValidator(_as_tables, json_schema_input_type=_Names | _Tables)]


class Settings(Table):
    """All of `[tool.release]`. Every key is optional."""

    name: _Name = ""
    """The name of the release, its deb and its folder below /opt/venvs; the project's when not given."""
    targets: _Targets = Field(default={"debian-12": TargetTable()})
    """Where the artifacts run: names of shipped targets, or a table for each, with what is different there."""
    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = FORMATS
    """What to make."""
    command: CommandLine = ""
    """What the pex and the image run when nothing else is said; the only console script when not given."""
    maintainer: _Maintainer = ""
    """Who answers for the deb: _Name <mail@host>; the project's first author when not given."""
    service: Service | None = None
    """Set when the application runs as a service."""
    image: Image = Image()
    """The container image."""
    sign: Sign = Sign()
    """How the release is signed."""
    vault: _Vaults = Field(default=())
    """Where every input is kept by its sha256: a folder, https://host/path or oci://host/name, or a list of these."""
    publish: dict[_Name, Destination] = Field(default={})
    """Where releases are published to, by the name that `release publish --to` takes."""
    environments: dict[_Name, Environment] = Field(default={})
    """Where releases are deployed to, by the name that `release deploy` takes."""
    up: UpSettings = UpSettings()
    """What `release up` starts beside the application, on the machine of who develops it."""
    build: dict[str, BuildSettings] = Field(default={})
    """What compiling a dependency needs, by the name of its distribution."""


_TABLES: Final[Mapping[str, type[Table]]] = {
    "service": Service,
    "resources": Resources,
    "build": BuildSettings,
    "image": Image,
    "sign": Sign,
    "targets": TargetTable,
    "environments": Environment,
    "balancer": Balancer,
    "hooks": Hooks,
    "up": UpSettings,
    "needs": Need,
}


def read(root: Path, *, targets: Collection[str] | None = None) -> Settings:
    """The settings of the project in *root*; defaults when it has none. *targets* are the known ones.

    Raises :class:`ConfigurationError` with every problem found.
    """
    own = root / "release.toml"
    pyproject = root / "pyproject.toml"
    tool = read_toml(pyproject).get("tool", {}) if pyproject.is_file() else {}
    inside = tool.get("release") if isinstance(tool, dict) else None
    if own.is_file():
        if inside is not None:
            raise ConfigurationError(
                "the release is configured twice: in pyproject.toml and in release.toml",
                where="pyproject.toml: [tool.release]",
                hint="keep one of the two",
            )
        return _validate(read_toml(own), "release.toml: ", targets)
    return _validate({} if inside is None else inside, "pyproject.toml: tool.release", targets)


def read_toml(path: Path) -> dict[str, Any]:
    """The parsed file. Raises :class:`ConfigurationError` with line and column when it is not TOML."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path.name} is not UTF-8 text", where=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        what, line, column = found.groups() if found else (str(error), None, None)
        place = f"{path}:{line}:{column}" if line else f"{path}: at its end"
        raise ConfigurationError(f"{path.name} is not valid TOML: {what}", where=place) from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``[tool.release]``, for editors and for the reference page."""
    found = Settings.model_json_schema()
    names = list(definition.shipped())
    found["properties"]["targets"]["anyOf"][0]["items"]["enum"] = names
    found["$defs"]["TargetTable"]["properties"]["like"]["enum"] = names
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def problems_of(error: ConfigurationError, more: Collection[Problem]) -> ConfigurationError:
    """*error* with *more* problems behind its own."""
    first, *rest = error.problems
    return ConfigurationError(first.message, where=first.where, hint=first.hint, more=(*rest, *more))


def _validate(table: Any, where: str, targets: Collection[str] | None) -> Settings:
    problems: list[Problem] = []
    settings = None
    try:
        settings = Settings.model_validate(table)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A list of wrong entries only counts as too short as well.
        problems += [_problem(d, where) for d in found if d["type"] != "too_short" or not d["input"]]
    problems += _problems_of_targets(table, settings, where, known=targets or definition.shipped())
    if problems or settings is None:
        first, *rest = problems
        raise ConfigurationError(first.message, where=first.where, hint=first.hint, more=tuple(rest))
    return settings.model_copy(update={"build": {canonicalize_name(k): v for k, v in settings.build.items()}})


def _problems_of_targets(
    table: Any, settings: Settings | None, where: str, *, known: Collection[str]
) -> Iterator[Problem]:
    """Names in a list even where other keys are wrong; what tables say only when each key is right by itself."""
    wanted = table.get("targets") if isinstance(table, dict) else None
    if isinstance(wanted, dict):
        yield from definition.problems(settings.targets, _join(where, ("targets",))) if settings else ()
    elif isinstance(wanted, list):
        for index, name in enumerate(wanted):
            if isinstance(name, str) and name not in known:
                yield definition.unknown(name, known, _join(where, ("targets", index)))


def _problem(detail: ErrorDetails, where: str) -> Problem:
    location = tuple(part for part in detail["loc"] if part != "[key]")
    kind, value, place = detail["type"], detail["input"], _join(where, location)
    hint = ""
    if kind == "extra_forbidden":
        tables = [found for part in location[:-1] if (found := _TABLES.get(str(part)))]
        known = (tables[-1] if tables else Settings).model_fields
        message = f"unknown key {location[-1]!r}"
        hint = _did_you_mean(location[-1], known) or f"known keys: {', '.join(sorted(known))}"
    elif kind == "missing":
        message, hint = f"{location[-1]!r} is missing", f"add it to {_join(where, location[:-1])}"
    elif kind == "literal_error" and location[0] != "formats":
        message = f"expected {detail['ctx']['expected']}, found {_plain(value)}"
    elif kind == "literal_error":
        message = f"unknown format {value!r}"
        hint = _did_you_mean(value, FORMATS) or f"known formats: {', '.join(FORMATS)}"
    elif kind in _BOUNDS:
        bound = "a port from 1 to 65535" if location[-1] == "port" else _BOUNDS[kind].format(**detail["ctx"])
        message = f"expected {bound}, found {_plain(value)}"
    elif kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind]}, found {_plain(value)}"
    elif kind == "value_error":
        error = detail["ctx"]["error"]
        message = f"{value!r} {error}" if isinstance(value, str) else str(error)
    else:
        message = f"{value!r}: {detail['msg']}"
    return Problem(message=message, where=place, hint=hint)


_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "too_short": "at least one entry",
    "bool_type": "true or false",
}
_BOUNDS: Final = {
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number from {ge:g} up",
    "less_than_equal": "a number up to {le:g}",
}


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return "a table" if isinstance(value, dict) else f"a {type(value).__name__}"


def _did_you_mean(word: object, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1) if isinstance(word, str) else ()
    return f"did you mean {close[0]!r}?" if close else ""


def _join(where: str, location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return where + (path.removeprefix(".") if where.endswith(": ") else path)
