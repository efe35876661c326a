"""Which wheel needs which, on one target: the requirements in their metadata, under the target's markers."""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from buildonce.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.metadata import RawMetadata

    from buildonce.model import Wheel

__all__ = ["Facts", "edges", "facts"]

_MOST_BYTES: Final = 4 << 20
_METADATA: Final = re.compile(r"[^/]+\.dist-info/METADATA")  # not one that is bundled deeper down


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """A wheel and what its METADATA says (core metadata, PEP 643)."""

    wheel: Wheel
    metadata: RawMetadata
    requires: tuple[Requirement, ...]


def facts(wheel: Wheel) -> Facts:
    """Read *wheel*'s METADATA. Raises :class:`VerificationError` when there is none that can be read."""
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            name = next(filter(_METADATA.fullmatch, archive.namelist()))
            with archive.open(name) as stream:
                metadata, _ = parse_email(stream.read(_MOST_BYTES))
        requires = tuple(Requirement(text) for text in metadata.get("requires_dist", []))
    except (OSError, StopIteration, zipfile.BadZipFile, zlib.error, InvalidRequirement) as error:
        raise VerificationError(f"its metadata cannot be read: {error}", where=wheel.filename) from error
    return Facts(wheel=wheel, metadata=metadata, requires=requires)


def edges(wheels: Iterable[Facts], environment: Mapping[str, str]) -> dict[str, set[str]]:
    """Name → names it needs among *wheels*. An extra counts where somebody asks for it, so this walks until
    nothing is new.
    """
    by_name = {one.wheel.name: one for one in wheels}
    extras: dict[str, set[str]] = {name: {""} for name in by_name}
    needs: dict[str, set[str]] = {name: set() for name in by_name}
    waiting = set(by_name)
    while waiting:
        name = waiting.pop()
        for requirement in by_name[name].requires:
            needed = canonicalize_name(requirement.name)
            if needed in by_name and _applies(requirement, environment, extras[name]):
                needs[name].add(needed)
                asked = {canonicalize_name(extra) for extra in requirement.extras}
                if not asked <= extras[needed]:
                    extras[needed] |= asked
                    waiting.add(needed)
    return needs


def _applies(requirement: Requirement, environment: Mapping[str, str], extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in extras)
