"""Walks through two files side by side, into every archive in them, and writes down what differs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from buildonce.difference import archives, causes, facts, images, streams, verdicts
from buildonce.difference.causes import Evidence
from buildonce.difference.derived import Pairs
from buildonce.difference.showing import hexdump

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from buildonce.difference.archives import Archive, Member
    from buildonce.difference.blob import Blob, Scratch
    from buildonce.difference.facts import Label
    from buildonce.difference.verdicts import Verdict

__all__ = ["Finding", "Leaf", "Walk"]

_DEEPEST: Final = 8
_Opened = TypeVar("_Opened")
_COMPRESSED: Final = re.compile(r"\.(?:gz|xz|zst)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that differs and is understood where it was met."""

    verdict: Verdict
    member: str  # the path, with ``!/`` for each archive around it
    lines: tuple[str, ...]
    causes: tuple[Evidence, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """Two files that differ and are no archives; looked at more closely when they matter."""

    verdict: Verdict
    member: str
    expected: Blob
    found: Blob


@dataclass(slots=True)
class Walk:
    """What one comparison found so far, in the order of the expected side."""

    scratch: Scratch
    findings: list[Finding | Leaf] = field(default_factory=list)
    pairs: Pairs = field(default_factory=Pairs)

    def compare(self, path: str, expected: Blob, found: Blob, *, outer: str, depth: int = 0) -> bool:
        """Compare two blobs at *path*; *outer* is how members below it are prefixed. Answers whether they differ."""
        if expected.same(found):
            return False
        self.pairs.add(expected, found)
        if depth == _DEEPEST:
            self._leaf(path, expected, found)
            return True
        before = len(self.findings)
        packed = streams.kind(expected), streams.kind(found)
        if packed[0] and packed[1]:
            self._streams(path, (expected, found), (packed[0], packed[1]), outer=outer, depth=depth)
        else:
            kind = archives.kind(expected)
            if kind and kind == archives.kind(found):
                self._archives(path, (expected, found), kind, outer=outer, depth=depth)
            else:
                self._leaf(path, expected, found)
        if len(self.findings) == before:
            self._rest(path, expected, found)
        return True

    def _rest(self, path: str, expected: Blob, found: Blob) -> None:
        """Everything that is named is the same, but not what is between."""
        lines = ("all members and what is said about them are the same; other bytes are not", *hexdump(expected, found))
        self.findings.append(Finding(verdict="container-only", member=path, lines=lines))

    def _leaf(self, path: str, expected: Blob, found: Blob) -> None:
        self.findings.append(
            Leaf(verdict=verdicts.of(path, expected, found), member=path, expected=expected, found=found)
        )

    def _damaged(self, path: str, sides: Sequence[Blob], errors: Sequence[Exception | None]) -> None:
        lines = [
            f"{side} cannot be read: {type(error).__name__ if not str(error) else error}"[:300]
            for side, error in zip(("what was expected", "what was found"), errors, strict=True)
            if error is not None
        ]
        shown = Evidence("damage", lines[0])
        self.findings.append(Finding(verdict="content", member=path, lines=(*lines, *hexdump(*sides)), causes=(shown,)))

    def _both(
        self, path: str, sides: tuple[Blob, Blob], one: Callable[[], _Opened], two: Callable[[], _Opened]
    ) -> tuple[_Opened, _Opened] | None:
        """What both open; None, and written down, when one of *sides* cannot be read."""
        opened: list[_Opened] = []
        errors: list[Exception | None] = [None, None]
        for number, open_ in enumerate((one, two)):
            try:
                opened.append(open_())
            except archives.DAMAGE as error:
                errors[number] = error
        if len(opened) < len(sides):
            self._damaged(path, sides, errors)
            return None
        return opened[0], opened[1]

    def _streams(
        self,
        path: str,
        sides: tuple[Blob, Blob],
        kinds: tuple[streams.StreamKind, streams.StreamKind],
        *,
        outer: str,
        depth: int,
    ) -> None:
        both = self._both(
            path,
            sides,
            lambda: streams.unpack(sides[0], kinds[0], self.scratch),
            lambda: streams.unpack(sides[1], kinds[1], self.scratch),
        )
        if both is None:
            return
        one, two = both
        differ = self.compare(path, one.blob, two.blob, outer=outer, depth=depth + 1)
        said = _Said()
        said.add(path, one.facts, two.facts)
        if not said.found and not differ:
            said.note(path, "compressor", "the compressed bytes differ, what they unpack to is the same")
        self.findings += said.findings()

    def _archives(
        self, path: str, sides: tuple[Blob, Blob], kind: archives.ArchiveKind, *, outer: str, depth: int
    ) -> None:
        both = self._both(
            path,
            sides,
            lambda: images.named(archives.read(sides[0], kind)),
            lambda: images.named(archives.read(sides[1], kind)),
        )
        if both is not None:
            self._members(path, *both, outer=outer, depth=depth)

    def _members(self, path: str, expected: Archive, found: Archive, *, outer: str, depth: int) -> None:
        one, two = _by_key(expected.members), _by_key(found.members)
        said = _Said()
        said.add(path, expected.facts, found.facts)
        for key, member in one.items():
            if key in two:
                self._member(outer + member.name, member, two[key], said, depth=depth)
        self._one_sided(outer, [one[key] for key in one if key not in two], [two[key] for key in two if key not in one])
        self._order(outer, expected, found, one.keys() & two.keys(), said)
        self.findings += said.findings()

    def _member(self, path: str, expected: Member, found: Member, said: _Said, *, depth: int) -> None:
        if expected.kind != found.kind:
            lines = (f"-{expected.kind}", f"+{found.kind}")
            why = causes.of_lines([expected.kind], [found.kind], {})
            self.findings.append(Finding(verdict="content", member=path, lines=lines, causes=why))
            return
        said.add(path, expected.facts, found.facts)
        if facts.executes(expected.mode, found.mode):
            line = (
                f"mode {expected.mode:04o} → {found.mode:04o}: another program may run it, or it runs as another user"
            )
            self.findings.append(Finding(verdict="content", member=path, lines=(line,)))
        if expected.facts.get("compressor") == found.facts.get("compressor") and expected.packed.same(found.packed):
            return
        both = self._both(
            path,
            (expected.packed, found.packed),
            lambda: expected.open(self.scratch),
            lambda: found.open(self.scratch),
        )
        if both is None or self.compare(path, *both, outer=f"{path}!/", depth=depth + 1):
            return
        if expected.facts.get("compressor") == found.facts.get("compressor"):
            said.note(path, "compressor", "the deflated bytes differ, what they unpack to is the same")

    def _one_sided(self, outer: str, gone: Sequence[Member], new: Sequence[Member]) -> None:
        names = [member.name for member in gone], [member.name for member in new]
        why = causes.of_lines(sorted(names[0]), sorted(names[1]), {}) if names[0] and names[1] else ()
        for members, line in ((gone, "only in what was expected"), (new, "only in what was found")):
            for member in members:
                path = outer + member.name
                self.findings.append(Finding(verdict=verdicts.of(path), member=path, lines=(line,), causes=why))

    def _order(self, outer: str, expected: Archive, found: Archive, common: Iterable[str], said: _Said) -> None:
        both = set(common)
        orders = [
            [key for key, member in _by_key(side.members).items() if member.ordered and key in both]
            for side in (expected, found)
        ]
        if why := causes.of_order(*orders):
            first = next(a for a, b in zip(*orders, strict=True) if a != b)
            said.note(outer + first, "order", f"{why.shown.replace(' lines,', ' members,')}", why)


def _by_key(members: Sequence[Member]) -> dict[str, Member]:
    """Members by name; those of one name by their number too; ``data.tar`` however it is compressed."""
    seen: Counter[str] = Counter()
    found = {}
    for member in members:
        name = (
            _COMPRESSED.sub("", member.name) if member.name.startswith(("data.tar.", "control.tar.")) else member.name
        )
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name} (number {seen[name]})"] = member
    return found


@dataclass(slots=True)
class _Said:
    """What two containers say differently about the same members: one finding for each kind of it."""

    found: dict[Label, list[tuple[str, str, Evidence | None]]] = field(default_factory=dict)

    def add(self, path: str, expected: Mapping[Label, str], found: Mapping[Label, str]) -> None:
        for label in dict.fromkeys((*expected, *found)):
            old, new = expected.get(label, "none"), found.get(label, "none")
            if old != new:
                self.note(path, label, f"{old} → {new}", *facts.causes(label, old, new))

    def note(self, path: str, label: Label, line: str, why: Evidence | None = None) -> None:
        self.found.setdefault(label, []).append((path, line, why))

    def findings(self) -> list[Finding]:
        made = []
        for label, all_ in self.found.items():
            (path, line, why), more = all_[0], len(all_) - 1
            lines = [f"{label}: {line}"[:400], *([f"and {label} of {more} more members"] if more else [])]
            if why is None and label == "compressor":
                why = Evidence("compressor", line)
            made.append(
                Finding(verdict="container-only", member=path, lines=tuple(lines), causes=(why,) if why else ())
            )
        return made
