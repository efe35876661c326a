"""What a wheel says about itself: file name, METADATA, WHEEL and entry_points.txt have to tell one story.

Sources: the binary distribution format, core metadata and entry points specifications of
packaging.python.org.
"""

from __future__ import annotations

import configparser
import keyword
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from packaging.metadata import RawMetadata, parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, parse_tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from buildonce.wheels.zips import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.wheels.zips import Archive

__all__ = ["Script", "WheelFacts", "gather"]

_METADATA_LIMIT: Final = 16 << 20
_RECORD_LIMIT: Final = 64 << 20
_SCRIPT_NAME = re.compile(r"\w[\w.+ -]*", re.ASCII)
_REFERENCE = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<attribute>[\w.]+)\s*(?:\[[^\]]*\])?")


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Script:
    """A console script: the command *name* calls *attribute* of *module*."""

    name: str
    module: str  # "orders.cli"
    attribute: str  # "main" or "App.run"


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelFacts:
    """What an admitted wheel says about itself."""

    name: str  # normalised (PEP 503)
    version: str  # normalised (PEP 440)
    filename: str
    tags: frozenset[Tag]
    root_is_purelib: bool
    requires_python: str  # "" when it does not say
    requires_dist: tuple[str, ...]  # PEP 508, as written
    scripts: tuple[str, ...]  # names of console and GUI scripts, sorted
    entry_points: tuple[Script, ...]  # the same with what they call, sorted
    dist_info: str  # "Orders-1.0.dist-info"
    metadata: RawMetadata = field(hash=False)  # all of METADATA but the description
    startup: tuple[str, ...] = ()  # members that run code at every start of the interpreter

    @property
    def data(self) -> str:
        """The folder of files for other places than site-packages."""
        return self.dist_info.removesuffix(".dist-info") + ".data"


def gather(archive: Archive) -> tuple[WheelFacts, bytes]:
    """The facts of an opened wheel, and the bytes of its RECORD.

    Raises :class:`buildonce.errors.VerificationError` when file name, METADATA, WHEEL and folder names
    contradict each other.
    """
    wheel = archive.name
    try:
        name, version, _, tags = parse_wheel_filename(wheel)
    except InvalidWheelFilename as error:
        raise refusal(wheel, "", str(error)) from error
    dist_info = _dist_info(archive, name, version)
    metadata = _metadata(_text(archive, f"{dist_info}/METADATA"), f"{dist_info}/METADATA", wheel, name, version)
    purelib = _wheel_file(_text(archive, f"{dist_info}/WHEEL"), f"{dist_info}/WHEEL", wheel, tags)
    entry_points = tuple(sorted(_scripts(archive, f"{dist_info}/entry_points.txt")))
    facts = WheelFacts(
        name=name,
        version=str(version),
        filename=wheel,
        tags=tags,
        root_is_purelib=purelib,
        requires_python=metadata.get("requires_python", ""),
        requires_dist=tuple(metadata.get("requires_dist", ())),
        scripts=tuple(script.name for script in entry_points),
        entry_points=entry_points,
        dist_info=dist_info,
        metadata=metadata,
    )
    return facts, _bytes(archive, f"{dist_info}/RECORD", _RECORD_LIMIT)


def _dist_info(archive: Archive, name: str, version: Version) -> str:
    tops = sorted({member.name.split("/", 1)[0] for member in archive.members if "/" in member.name})
    found = [top for top in tops if top.endswith(".dist-info")]
    if len(found) != 1:
        raise refusal(archive.name, "", f"it has {len(found)} .dist-info folders instead of one: {', '.join(found)}")
    (dist_info,) = found
    stem = dist_info.removesuffix(".dist-info")
    said_name, _, said_version = stem.rpartition("-")
    if canonicalize_name(said_name) != name or _version(said_version) != version:
        raise refusal(archive.name, dist_info, "this folder belongs to another distribution or version")
    for top in tops:
        # pip takes every *.data folder for one, others only the one named like the wheel.
        if top.endswith(".data") and top != f"{stem}.data":
            raise refusal(archive.name, top, f"tools disagree about this folder: it is not {stem}.data")
    return dist_info


def _metadata(text: str, member: str, wheel: str, name: str, version: Version) -> RawMetadata:
    metadata, _ = parse_email(text)
    said = metadata.get("name", ""), metadata.get("version", "")
    if canonicalize_name(said[0]) != name or _version(said[1]) != version:
        raise refusal(wheel, member, f"it is about {said[0]} {said[1]}, not about {name} {version}")
    for requirement in metadata.get("requires_dist", ()):
        try:
            Requirement(requirement)
        except InvalidRequirement as error:
            raise refusal(wheel, member, f"Requires-Dist {requirement!r} cannot be understood") from error
    try:
        SpecifierSet(metadata.get("requires_python", ""))
    except InvalidSpecifier as error:
        raise refusal(
            wheel, member, f"Requires-Python {metadata.get('requires_python')!r} cannot be understood"
        ) from error
    metadata.pop("description", None)
    return metadata


def _wheel_file(text: str, member: str, wheel: str, tags: frozenset[Tag]) -> bool:
    """Whether the root is purelib. The format has headers of which only these matter to an installer."""
    rows = [
        (key.strip().lower(), value.strip()) for key, _, value in (line.partition(":") for line in text.splitlines())
    ]
    headers = dict(rows)
    if headers.get("wheel-version", "").split(".")[0] != "1":
        raise refusal(wheel, member, f"Wheel-Version {headers.get('wheel-version')!r} is not 1.x")
    if headers.get("root-is-purelib", "").lower() not in ("true", "false"):
        raise refusal(wheel, member, "Root-Is-Purelib is neither true nor false")
    said: set[Tag] = set()
    for key, value in rows:
        if key == "tag":
            said |= _tags(value)
    if said != tags:
        raise refusal(
            wheel,
            member,
            f"its tags ({', '.join(sorted(map(str, said))) or 'none'}) are not those of the file name",
        )
    return headers["root-is-purelib"].lower() == "true"


def _scripts(archive: Archive, member: str) -> Iterator[Script]:
    if all(found.name != member for found in archive.members):
        return
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are case-sensitive
    try:
        parser.read_string(_text(archive, member))
    except configparser.Error as error:
        raise refusal(archive.name, member, f"it cannot be understood ({error.message.splitlines()[0]})") from error
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            reference = _REFERENCE.fullmatch(value)
            if (
                not _SCRIPT_NAME.fullmatch(name)
                or reference is None
                or not _names(*reference.group("module", "attribute"))
            ):
                raise refusal(archive.name, member, f"the script {name!r} = {value!r} names no function")
            yield Script(name=name, module=reference["module"], attribute=reference["attribute"])


def _names(*dotted: str) -> bool:
    """Whether all parts can be written in an import statement: installing writes them into a program."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for path in dotted for part in path.split("."))


def _tags(text: str) -> frozenset[Tag]:
    try:
        return parse_tag(text)
    except ValueError:
        return frozenset()


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _text(archive: Archive, member: str) -> str:
    data = _bytes(archive, member, _METADATA_LIMIT)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise refusal(archive.name, member, "it is not UTF-8") from error


def _bytes(archive: Archive, member: str, limit: int) -> bytes:
    for found in archive.members:
        if found.name == member:
            return archive.read(found, limit)
    raise refusal(archive.name, member, "it is missing")
