"""Whether wheels fit a target and each other: ``pip check`` without running the target's Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from buildonce import target as targets
from buildonce.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from buildonce.model import Target
    from buildonce.wheels.facts import WheelFacts

__all__ = ["closure", "fits"]


def fits(facts: WheelFacts, target: Target) -> tuple[Problem, ...]:
    """Why the wheel cannot be installed on *target*: its tags or its Requires-Python."""
    problems = []
    if facts.tags.isdisjoint(targets.tags(target)):
        problems.append(
            Problem(
                message=f"{facts.filename} does not fit {target.name}",
                where=", ".join(sorted(map(str, facts.tags))),
                hint=f"run `release lock` again, so that {facts.name} is chosen for {target.name}",
            )
        )
    if not SpecifierSet(facts.requires_python).contains(target.python, prereleases=True):
        problems.append(
            Problem(
                message=f"{facts.filename} needs Python {facts.requires_python}, not {target.python}",
                where=facts.filename,
                hint=f"lock a version of {facts.name} that supports Python {target.python_minor}",
            )
        )
    return tuple(problems)


def closure(found: Iterable[WheelFacts], markers: Mapping[str, str]) -> tuple[Problem, ...]:
    """Every requirement of *found*, under the target's *markers*, that none of *found* meets.

    Extras that one wheel asks of another count; extras that nobody asks for do not.
    """
    by_name = {facts.name: facts for facts in found}
    extras = _extras(by_name, markers)
    return tuple(
        problem
        for name, facts in sorted(by_name.items())
        for requirement in _active(facts, markers, extras[name])
        if (problem := _unmet(facts, requirement, by_name)) is not None
    )


def _extras(by_name: Mapping[str, WheelFacts], markers: Mapping[str, str]) -> dict[str, set[str]]:
    """The extras that are asked of every distribution; asking grows until nothing new is asked."""
    extras: dict[str, set[str]] = {name: set() for name in by_name}
    waiting = list(by_name)
    while waiting:
        name = waiting.pop()
        for requirement in _active(by_name[name], markers, extras[name]):
            other = canonicalize_name(requirement.name)
            asked = {canonicalize_name(extra) for extra in requirement.extras}
            if other in extras and not asked <= extras[other]:
                extras[other] |= asked
                waiting.append(other)
    return extras


def _active(facts: WheelFacts, markers: Mapping[str, str], extras: Iterable[str]) -> Iterator[Requirement]:
    environments: Sequence[dict[str, str]] = [{**markers, "extra": extra} for extra in ("", *sorted(extras))]
    for text in facts.requires_dist:
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate(dict(one)) for one in environments):
            yield requirement


def _unmet(facts: WheelFacts, requirement: Requirement, by_name: Mapping[str, WheelFacts]) -> Problem | None:
    name = canonicalize_name(requirement.name)
    there = by_name.get(name)
    if there is not None and requirement.specifier.contains(there.version, prereleases=True):
        return None
    has = f"the lock has {there.version}" if there else "the lock does not have it"
    return Problem(
        message=f"{facts.name} {facts.version} needs {requirement}, {has}",
        where=facts.filename,
        hint="run `release lock` again",
    )
