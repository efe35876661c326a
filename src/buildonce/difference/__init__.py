"""Explains why two files that should be the same are not: which member, how, and from what cause.

Pure: reads the two files and a scratch file of its own, runs nothing that is in them. The verdict says how much it
matters, the cause what to mend; neither ever makes "nearly the same" the same.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buildonce.difference import hints, leaves, showing, words
from buildonce.difference.blob import Blob, Scratch
from buildonce.difference.causes import Cause, Evidence
from buildonce.difference.verdicts import SEVERITY, Verdict
from buildonce.difference.walk import Finding, Leaf, Walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Cause", "Difference", "Verdict", "compare"]

_MOST_LOOKED_AT: Final = 20
_MOST_NAMES: Final = 20
_LONGEST: Final = 1000  # of a line or a path


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How two files differ.

    ``verdict`` is the worst of all their differences: ``container-only`` (the same members with the same bytes in
    another order, of another time, mode, owner or compression), ``metadata-only`` (what is said about files, such as
    ``RECORD``), ``bytecode-only`` (``.pyc``), ``content``.
    """

    verdict: Verdict
    member: str  # the first member of that verdict: ``data.tar.zst!/opt/venvs/x/a.py``; "" for the file itself
    lines: tuple[str, ...]  # a unified diff, a hexdump, or what the container says; 40 at most
    causes: tuple[Cause, ...]  # that of the member first; ("unknown",) when none is recognised
    hint: str  # a line for each cause: its name, the evidence, the next step
    further: tuple[str, ...] = ()  # other members that differ, the first twenty
    more: int = 0  # how many others there are beside these

    @property
    def cause(self) -> Cause:
        """The first cause."""
        return self.causes[0]


def compare(expected: Path, found: Path, *, known: Mapping[str, Cause] | None = None) -> Difference | None:
    """How *found* differs from *expected*; None when every byte is the same.

    *known* names values of the two machines, such as ``{"ada-laptop": "hostname", "ada": "user"}``, that the shape of
    a text does not tell. Raises :class:`OSError` when a file cannot be read; whatever is in them raises nothing.
    """
    with contextlib.ExitStack() as stack:
        one, two = (Blob.of(stack.enter_context(path.open("rb"))) for path in (expected, found))
        walk = Walk(stack.enter_context(Scratch()))
        if not walk.compare(expected.name, one, two, outer=""):
            return None
        return _summary(walk, expected.name, known or {})


def _summary(walk: Walk, name: str, known: Mapping[str, Cause]) -> Difference:
    kept = [one for one in walk.findings if not _follows(one, walk)] or walk.findings
    worst = max(kept, key=lambda one: SEVERITY[one.verdict]).verdict
    first = [one for one in kept if one.verdict == worst]
    seen = [_looked_at(one, known) for one in first[:_MOST_LOOKED_AT]]
    seen.sort(key=lambda one: {cause for cause, _ in one.causes} == {"digest"})  # what they are digests of comes first
    causes = _causes(seen)
    others = list(dict.fromkeys(one.member for one in (*first, *kept) if one.member != seen[0].member))
    return Difference(
        verdict=worst,
        member=words.shown(seen[0].member, _LONGEST) if seen[0].member != name else "",
        lines=_all_lines(seen, worst),
        causes=tuple(cause for cause, _ in causes),
        hint=hints.of(causes),
        further=tuple(words.shown(other, _LONGEST) for other in others[:_MOST_NAMES]),
        more=max(0, len(others) - _MOST_NAMES),
    )


def _follows(one: Finding | Leaf, walk: Walk) -> bool:
    return isinstance(one, Leaf) and one.verdict == "metadata-only" and walk.pairs.explain(one.expected, one.found)


def _looked_at(one: Finding | Leaf, known: Mapping[str, Cause]) -> Finding:
    if isinstance(one, Finding):
        return one
    lines, causes = leaves.describe(one.member, one.expected, one.found, known)
    return Finding(verdict=one.verdict, member=one.member, lines=lines, causes=causes)


def _all_lines(seen: Sequence[Finding], worst: Verdict) -> tuple[str, ...]:
    """The picture of the first; of containers, which say little, of all."""
    lines = [line for one in (seen if worst == "container-only" else seen[:1]) for line in one.lines]
    short = lines if len(lines) <= showing.MOST_LINES else [*lines[: showing.MOST_LINES], "…"]
    return tuple(words.shown(line, _LONGEST) for line in short)


def _causes(seen: Sequence[Finding]) -> tuple[Evidence, ...]:
    """One evidence for each cause, that of the first member first; another member's says where it is."""
    found: dict[Cause, Evidence] = {}
    for number, one in enumerate(seen):
        for cause, shown in one.causes:
            if cause not in ("unknown", "digest"):
                found.setdefault(cause, Evidence(cause, shown if number == 0 else f"{one.member}: {shown}"))
    fallback = next(iter(seen[0].causes), Evidence("unknown", ""))
    return tuple(found.values()) or (fallback,)
