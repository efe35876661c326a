"""The plan: what is to be brought to hosts. Read once, every value checked, before any of it reaches a command line."""

from __future__ import annotations

import base64
import json
import platform
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import versions
from problems import Refused
from record import NAME

FORMS = ("deb", "pex", "wheelhouse", "oci")
# Where units may be: what a deployment writes, it can also take away.
FOLDERS = ("etc/systemd/system/", "etc/sysusers.d/", "etc/tmpfiles.d/", "etc/containers/systemd/")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "ppc64le": "ppc64el", "i686": "i386"}

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~!=@-]{0,250}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DEBIAN = re.compile(r"([0-9]+:)?[0-9][A-Za-z0-9.+~-]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"[^\x00-\x1f\x7f]*")


@dataclass(frozen=True)
class Artifact:
    """What is installed on hosts of one target."""

    file: str  # "" when only an apt repository knows it
    sha256: str
    package: str
    image: str
    distribution: str
    release: str
    codename: str
    architecture: str
    interpreter: str
    size: int
    units: dict[str, str]  # the files, by path from the root
    packages: dict[str, str]  # of the distribution, that the deb needs and the parcel has: file name → sha256


@dataclass(frozen=True)
class Service:
    """The service that the release is."""

    user: str
    port: int
    health: str
    migrate: tuple[str, ...]
    environment: dict[str, str]
    writable: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """When a service counts as healthy."""

    timeout: float
    successes: int
    interval: float
    settle: float


@dataclass(frozen=True)
class Repository:
    """Where apt has it from."""

    uri: str
    suite: str
    component: str


@dataclass(frozen=True)
class Plan:
    """See the module."""

    deployment: str
    who: str
    name: str
    mode: str
    format: str
    source: str
    version: str
    artifacts: dict[str, Artifact]
    apt: Repository | None
    service: Service
    engine: str
    check: Check
    guard: float
    lease: float
    keep: int
    floor: str
    downgrade: str
    data: dict[str, Any]  # as it came

    @property
    def units(self) -> dict[str, str]:
        """The unit files for this host, by path from the root."""
        artifact = self.artifact()
        return artifact.units if artifact else {}

    @property
    def shape(self) -> tuple[object, ...]:
        """What decides how a version runs, beside its bytes."""
        return self.format, self.service, self.units, self.engine

    def artifact(self, root: Path = Path("/")) -> Artifact | None:
        """The one for this host."""
        facts = host(root)
        for one in self.artifacts.values():
            if one.architecture != facts["architecture"]:
                continue
            if self.format == "oci" or (one.distribution, one.release) == (facts["distribution"], facts["release"]):
                return one
        return None


def read(source: str) -> Plan:
    """The plan in a file; ``-`` is standard input."""
    try:
        return of(json.loads(sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()))
    except OSError as error:
        raise Refused(f"the plan cannot be read: {error}") from error
    except ValueError as error:
        raise Refused(f"the plan is not a JSON document: {error}") from error


def decoded(text: str) -> Plan:
    """The plan in a word of a command line: JSON in base64."""
    try:
        return of(json.loads(base64.b64decode(text, validate=True)))
    except ValueError as error:
        raise Refused(f"the plan is not a JSON document in base64: {error}") from error


def of(fields: Any) -> Plan:
    """The plan in a JSON document. Raises :class:`Refused` that names the value which is wrong."""
    if not isinstance(fields, dict) or fields.get("schema") != 1:
        raise Refused("the plan is not of schema 1", "the host program and the plan have to be of the same release")
    at = _Fields(fields)
    apt = at.fields("apt") if fields.get("apt") else None
    check = at.fields("check")
    return Plan(
        deployment=at.text("deployment", _WORD),
        who=at.text("who", _LINE),
        name=at.text("name", NAME),
        mode=at.one_of("mode", "deploy", "rollback"),
        format=at.one_of("format", *FORMS),
        source=at.one_of("source", "bundle", "apt"),
        version=_version(at.text("version", _LINE), needed=fields["mode"] == "deploy"),
        artifacts={key: _artifact(at.fields("artifacts").fields(key)) for key in at.fields("artifacts").data},
        apt=Repository(*(apt.text(key, _LINE) for key in ("uri", "suite", "component"))) if apt else None,
        service=_service(at.fields("service")),
        engine=at.one_of("engine", "", "docker", "podman"),
        check=Check(
            check.number("timeout"),
            int(check.number("successes")),
            check.number("interval"),
            check.number("settle"),
        ),
        guard=at.number("guard"),
        lease=at.number("lease"),
        keep=int(at.number("keep")),
        floor=_version(at.text("floor", _LINE)),
        downgrade=at.text("downgrade", _LINE),
        data=fields,
    )


def host(root: Path = Path("/")) -> dict[str, str]:
    """What this host is: distribution, release, codename, architecture."""
    try:
        lines = (root / "etc/os-release").read_text("utf-8").splitlines()
    except OSError as error:
        raise Refused(f"nobody can tell which distribution this is: {error}") from error
    facts = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    words = {key: "".join(shlex.split(value)) for key, value in facts.items()}
    machine = platform.machine()
    return {
        "distribution": words.get("ID", ""),
        "release": words.get("VERSION_ID", ""),
        "codename": words.get("VERSION_CODENAME", ""),
        "architecture": MACHINES.get(machine, machine),
    }


class _Fields:
    """Values of an object; whoever takes one says what it has to be."""

    def __init__(self, data: dict[str, Any], where: str = "") -> None:
        self.data, self.where = data, where

    def kind(self, key: str, *kinds: type) -> Any:
        value = self.data.get(key)
        if type(value) not in kinds:
            raise Refused(f"the plan's {self.where}{key} is not as it should be: {value!r}")
        return value

    def text(self, key: str, pattern: re.Pattern[str]) -> str:
        value = str(self.kind(key, str))
        if not pattern.fullmatch(value):
            raise Refused(f"the plan's {self.where}{key} is not as it should be: {value!r}")
        return value

    def maybe(self, key: str, pattern: re.Pattern[str]) -> str:
        return self.text(key, pattern) if self.kind(key, str) else ""

    def one_of(self, key: str, *values: str) -> str:
        return self.text(key, re.compile("|".join(map(re.escape, values))))

    def number(self, key: str) -> float:
        value = self.kind(key, int, float)
        if not 0 <= value < 1e16:
            raise Refused(f"the plan's {self.where}{key} is not as it should be: {value!r}")
        return float(value)

    def fields(self, key: str) -> _Fields:
        return _Fields(self.kind(key, dict), f"{self.where}{key}.")

    def texts(self, key: str) -> dict[str, str]:
        found = self.fields(key)
        return {one: found.kind(one, str) for one in found.data}


def _version(text: str, *, needed: bool = False) -> str:
    if text or needed:
        versions.key(text)
    return text


def _artifact(at: _Fields) -> Artifact:
    return Artifact(
        file=at.maybe("file", _FILE),
        sha256=at.maybe("sha256", _DIGEST),
        package=at.maybe("package", _DEBIAN),
        image=at.maybe("image", re.compile(rf"sha256:{_DIGEST.pattern}")),
        distribution=at.text("distribution", _WORD),
        release=at.text("release", _WORD),
        codename=at.text("codename", _WORD),
        architecture=at.text("architecture", _WORD),
        interpreter=at.text("interpreter", re.compile(r"(/[\w.+-]+)+")),
        size=int(at.number("size")),
        units=_units(at),
        packages=_packages(at.fields("packages")) if "packages" in at.data else {},
    )


def _packages(at: _Fields) -> dict[str, str]:
    for name in at.data:
        if not _FILE.fullmatch(name) or not name.endswith(".deb"):
            raise Refused(f"the plan's {at.where}{name} is not the file of a Debian package")
    return {name: at.text(name, _DIGEST) for name in at.data}


def _service(at: _Fields) -> Service:
    environment = at.texts("environment")
    for key in environment:
        if not _VARIABLE.fullmatch(key) or not _LINE.fullmatch(environment[key]):
            raise Refused(f"the plan's service.environment is not as it should be: {key!r}")
    return Service(
        user=at.text("user", _USER),
        port=int(at.number("port")),
        health=at.text("health", re.compile(r"/[!-~]*")),
        migrate=tuple(shlex.split(at.text("migrate", _LINE))),
        environment=environment,
        writable=tuple(str(one) for one in at.kind("writable", list)),
    )


def _units(at: _Fields) -> dict[str, str]:
    return {_unit(path): text for path, text in at.texts("units").items()}


def _unit(path: str) -> str:
    """*path*, without the first slash, when it is in a folder for units."""
    relative = path.lstrip("/")
    inside = all(part not in ("", ".", "..") for part in relative.split("/"))
    if path[:1] != "/" or not inside or not relative.startswith(FOLDERS):
        raise Refused(f"the plan wants to write {path!r}, which is in none of /{', /'.join(FOLDERS)}")
    return relative
