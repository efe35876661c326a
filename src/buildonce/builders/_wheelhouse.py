"""What lies in a wheelhouse beside the wheels: the same set, for pip, uv, pex and our own installer."""

from __future__ import annotations

import json
import re
import string
import tomllib
from typing import TYPE_CHECKING, Any, Final

import tomli_w
from packaging.markers import Marker
from packaging.pylock import Package, PackageWheel, Pylock
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from buildonce import target as targets
from buildonce import wheels
from buildonce.errors import VerificationError
from buildonce.system import share
from buildonce.system.archive import Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from buildonce.model import Target, Wheel
    from buildonce.stage import Stage
    from buildonce.wheels import WheelFacts

__all__ = ["INDEXES", "check_indexes", "members"]

# The members that say which wheels there are; each must say the same.
INDEXES: Final = ("pylock.toml", "requirements.txt", "wheelhouse.json")

_MANYLINUX: Final = re.compile(r"manylinux_(\d+)_(\d+)_|manylinux(2014|2010|1)_")
_LEGACY: Final = {"2014": (2, 17), "2010": (2, 12), "1": (2, 5)}  # PEP 600
_REQUIREMENT: Final = re.compile(r"(?P<name>\S+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")


def members(stage: Stage) -> tuple[Member, ...]:
    """Everything that goes into the wheelhouse of *stage*, wheels included."""
    found = [(wheel, wheels.facts(wheel.path)) for wheel in stage.wheelhouse.wheels]
    facts = {
        "name": stage.project.name,
        "version": stage.version.pep440,
        "target": stage.target.name,
        "python": stage.target.python_minor,
        "interpreter": str(stage.target.interpreter),
    }
    readme = string.Template(share.path("builders", "wheel", "README.txt").read_text(encoding="utf-8")).substitute(
        facts
    )
    return (
        Member(path="README.txt", source=readme.encode()),
        Member(path="install.py", source=share.path("builders", "wheel", "install.py").read_bytes()),
        Member(path="install.sh", source=share.path("builders", "wheel", "install.sh").read_bytes(), mode=0o755),
        Member(path="pylock.toml", source=_pylock(found, stage.target)),
        Member(path="requirements.txt", source=_requirements(stage.wheelhouse.wheels)),
        Member(path="wheelhouse.json", source=_facts(facts, stage, [fact for _, fact in found])),
        *(Member(path=f"wheels/{wheel.filename}", source=wheel.path) for wheel in stage.wheelhouse.wheels),
    )


def _requirements(found: Iterable[Wheel]) -> bytes:
    return "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in found).encode()


def _pylock(found: Sequence[tuple[Wheel, WheelFacts]], target: Target) -> bytes:
    """The lock of exactly these wheels (PEP 751), with the dependencies that pex follows to miss none."""
    there = {wheel.name for wheel, _ in found}
    lock = Pylock(
        lock_version=Version("1.0"),
        created_by="buildonce",
        requires_python=SpecifierSet(f"=={target.python_minor}.*"),
        environments=[Marker(f"sys_platform == 'linux' and platform_machine == '{target.machine}'")],
        packages=[
            Package(
                name=canonicalize_name(wheel.name),
                version=Version(wheel.version),
                dependencies=[{"name": name} for name in _dependencies(facts, there, target)],
                wheels=[
                    PackageWheel(path=f"wheels/{wheel.filename}", size=wheel.size, hashes={"sha256": wheel.sha256})
                ],
            )
            for wheel, facts in found
        ],
    )
    lock.validate()
    return tomli_w.dumps(lock.to_dict()).encode()


def _dependencies(facts: WheelFacts, there: set[str], target: Target) -> list[str]:
    """What the wheel needs on *target*; of its extras that which is there, whoever asked for it."""
    markers = targets.markers(target)
    needed = set[str]()
    for requirement in map(Requirement, facts.requires_dist):
        name, marker = canonicalize_name(requirement.name), requirement.marker
        extras = _extras(facts) if name in there else ()
        if marker is None or any(marker.evaluate({**markers, "extra": extra}) for extra in ("", *extras)):
            needed.add(name)
    return sorted(needed - {facts.name})


def _extras(facts: WheelFacts) -> Sequence[str]:
    return facts.metadata.get("provides_extra", [])


def _facts(facts: Mapping[str, str], stage: Stage, found: Iterable[WheelFacts]) -> bytes:
    """What install.py has to know, one fact a line so that install.sh can read it too."""
    glibc = max((g for fact in found if (g := _glibc(fact, stage.target))), default=None)
    everything: dict[str, Any] = {
        **facts,
        "machine": stage.target.machine if glibc else "",
        "glibc": list(glibc) if glibc else None,
        "scripts": list(stage.scripts),
        "wheels": [{"file": wheel.filename, "sha256": wheel.sha256} for wheel in stage.wheelhouse.wheels],
    }
    return (json.dumps(everything, indent=1) + "\n").encode()


def _glibc(facts: WheelFacts, target: Target) -> tuple[int, int] | None:
    """The oldest glibc that the wheel installs on; None when it has no machine code."""
    fitting = [tag.platform for tag in facts.tags if tag in set(targets.tags(target))]
    if "any" in fitting:
        return None
    return min((_glibc_of(platform, target) for platform in fitting), default=target.glibc)


def _glibc_of(platform: str, target: Target) -> tuple[int, int]:
    found = _MANYLINUX.match(platform)
    if found is None:
        return target.glibc
    return _LEGACY[found[3]] if found[3] else (int(found[1]), int(found[2]))


def check_indexes(carried: Mapping[str, bytes], held: Mapping[str, str], *, where: str) -> tuple[str, str]:
    """Check that every index names exactly the wheels *held* (file → sha256); answers name and version.

    Raises :class:`VerificationError`.
    """
    try:
        facts = json.loads(carried["wheelhouse.json"])
        told = {
            "wheelhouse.json": {one["file"]: one["sha256"] for one in facts["wheels"]},
            "pylock.toml": {
                one["path"].removeprefix("wheels/"): one["hashes"]["sha256"]
                for package in tomllib.loads(carried["pylock.toml"].decode())["packages"]
                for one in package["wheels"]
            },
        }
        required = [_REQUIREMENT.fullmatch(line) for line in carried["requirements.txt"].decode().splitlines()]
        name, version = str(facts["name"]), str(facts["version"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(f"an index of the wheelhouse cannot be read: {error!r}", where=where) from error
    for index, wheels_told in told.items():
        if wheels_told != dict(held):
            differing = sorted({name for name, _ in wheels_told.items() ^ held.items()})
            raise VerificationError(
                f"{index} does not name the wheels that are there: {', '.join(differing)}", where=where
            )
    if sorted(match["sha256"] if match else "" for match in required) != sorted(held.values()):
        raise VerificationError("requirements.txt does not name the wheels that are there", where=where)
    return name, version
