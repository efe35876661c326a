"""Why two texts differ, from their shapes alone: what was put in is recognised, masked, and what is left is compared.

A cause is named only with evidence: the pair of values that shows it. The classes are those that reprotest and the
reproducible-builds project vary (https://reproducible-builds.org/docs/).
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from buildonce.difference import words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Cause", "Evidence", "blocks", "of_lines", "of_order"]

Cause = Literal[
    "timestamp", "path", "hostname", "user", "umask", "order", "locale", "hash seed", "random id", "address", "machine",
    "compressor", "digest", "damage", "unknown",
]  # fmt: skip

_MOST_LINES: Final = 2000  # of each side that are aligned; difflib is quadratic
_MOST_PAIRS: Final = 200
_MOST_TEXT: Final = 1 << 17  # of all pairs
_LONGEST_PAIR: Final = 1 << 14
_BEFORE: Final = 200  # longer than whatever is recognised
_MOST_TOKENS: Final = 500


class Evidence(NamedTuple):
    """A cause and what shows it."""

    cause: Cause
    shown: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Neighbouring lines that differ; ``start`` is the place of the first in what was expected, from 0."""

    expected: Sequence[str]
    found: Sequence[str]
    start: int


def blocks(expected: Sequence[str], found: Sequence[str]) -> Iterator[Block]:
    """The places where two texts differ; beyond two thousand lines the rest is one."""
    low, high = 0, 0
    short = min(len(expected), len(found))
    while low < short and expected[low] == found[low]:
        low += 1
    while high < short - low and expected[-1 - high] == found[-1 - high]:
        high += 1
    one, two = expected[low : len(expected) - high], found[low : len(found) - high]
    if max(len(one), len(two)) > _MOST_LINES:
        yield Block(expected=one[:_MOST_LINES], found=two[:_MOST_LINES], start=low)
        return
    for tag, a, b, c, d in difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if tag != "equal":
            yield Block(expected=one[a:b], found=two[c:d], start=low + a)


def of_lines(expected: Sequence[str], found: Sequence[str], known: Mapping[str, Cause]) -> tuple[Evidence, ...]:
    """The causes of all differences between two texts, the most frequent first; ``()`` when none is recognised.

    *known* names values of the two machines: a host's name, a user's, a folder.
    """
    if permuted := of_order(expected, found):
        return (permuted,)
    seen: Counter[Cause] = Counter()
    first: dict[Cause, Evidence] = {}
    pairs = (pair for block in blocks(expected, found) for pair in _pairs(block))
    left = _MOST_TEXT
    for one, two in itertools.islice(pairs, _MOST_PAIRS):
        one, two = _cut(one, two)
        left -= max(len(one), len(two))
        if left < 0:
            break
        for evidence in _of_pair(one, two, known):
            seen[evidence.cause] += 1
            first.setdefault(evidence.cause, evidence)
    return tuple(first[cause] for cause, _ in seen.most_common())


def _pairs(block: Block) -> Iterator[tuple[str, str]]:
    """Line by line where both have as many; else all at once."""
    if len(block.expected) != len(block.found):
        yield "\n".join(block.expected), "\n".join(block.found)
        return
    yield from ((one, two) for one, two in zip(block.expected, block.found, strict=True) if one != two)


def _cut(one: str, two: str) -> tuple[str, str]:
    """The part of two long texts that begins shortly before they differ."""
    if max(len(one), len(two)) <= _LONGEST_PAIR:
        return one, two
    first = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    start = max(0, first - _BEFORE)
    return one[start : start + _LONGEST_PAIR], two[start : start + _LONGEST_PAIR]


def of_order(expected: Sequence[str], found: Sequence[str]) -> Evidence | None:
    """The cause when both have the same items in another order."""
    if list(expected) == list(found) or Counter(expected) != Counter(found):
        return None
    one, two = next((a, b) for a, b in zip(expected, found, strict=True) if a != b)
    shown = f"the same {len(expected)} lines, {words.shown(one)} is where {words.shown(two)} was"[:200]
    return Evidence("locale" if _sorted_differently(*_the_permuted(expected, found)) else "order", shown)


def _sorted_differently(expected: Sequence[str], found: Sequence[str]) -> bool:
    """Whether both are sorted, the one by bytes, the other as a dictionary is."""
    by_bytes, by_words = sorted(expected), sorted(expected, key=words.collated)
    return by_bytes != by_words and {tuple(by_bytes), tuple(by_words)} == {
        tuple(_canonical(expected)),
        tuple(_canonical(found)),
    }


def _canonical(items: Sequence[str]) -> Sequence[str]:
    """*items* as they are; those that a dictionary does not tell apart in the order of their bytes."""
    keys = [words.collated(item) for item in items]
    return sorted(items, key=words.collated) if keys == sorted(keys) else items


def _of_pair(one: str, two: str, known: Mapping[str, Cause]) -> list[Evidence]:
    if permuted := _permuted_within(one, two):
        return [permuted]
    found: list[Evidence] = []
    for cause, mask in _MASKS:
        if one == two:
            break
        one, two, shown = mask(one, two)
        if shown:
            found.append(Evidence(cause, shown))
    return found if one == two else [*found, *_of_words(one, two, known)]


def _permuted_within(one: str, two: str) -> Evidence | None:
    """A set or dict whose items changed places; a list of files that did."""
    parts = [re.split(r"[][(){},;\s'\"]+", text) for text in (one, two)]
    if one == two or Counter(parts[0]) != Counter(parts[1]) or len(parts[0]) < 2:
        return None
    moved = [(a, b) for a, b in zip(*parts, strict=True) if a != b]
    if not moved:
        return None
    shown = f"{words.shown(moved[0][0])} is where {words.shown(moved[0][1])} was, {len(moved)} items changed places"
    if _sorted_differently(*_the_permuted(*parts)):
        return Evidence("locale", shown)
    files = all(words.is_file(item) for pair in moved for item in pair)
    return Evidence("order" if files else "hash seed", shown)


def _the_permuted(one: Sequence[str], two: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Without the same beginning and end, which are of the text around the items."""
    places = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
    return one[places[0] : places[-1] + 1], two[places[0] : places[-1] + 1]


Masked = tuple[str, str, str]  # both texts with the shape taken out, and the first pair of values that differs


def _mask(
    shape: re.Pattern[str], plausible: Callable[[str, str], bool] = lambda _a, _b: True
) -> Callable[[str, str], Masked]:
    """Takes what has *shape* out of both texts, when each has as many of it and each pair that differs is plausible."""

    def mask(one: str, two: str) -> Masked:
        values = [[match[0] for match in shape.finditer(text)] for text in (one, two)]
        if len(values[0]) != len(values[1]):
            return one, two, ""
        pairs = [(a, b) for a, b in zip(*values, strict=True) if a != b]
        if not pairs or not all(plausible(a, b) for a, b in pairs):
            return one, two, ""
        shown = f"{words.shown(pairs[0][0])} → {words.shown(pairs[0][1])}"
        return shape.sub("\0", one), shape.sub("\0", two), shown

    return mask


# In this order: a path may hold a time and a number, a time may look like a number with a decimal comma.
_MASKS: Final[tuple[tuple[Cause, Callable[[str, str], Masked]], ...]] = (
    ("path", _mask(words.PATH)),
    ("timestamp", _mask(words.TIME)),
    ("random id", _mask(words.UUID)),
    ("address", _mask(words.ADDRESS)),
    ("digest", _mask(words.DIGEST)),
    ("random id", _mask(words.HEX, words.same_length)),
    ("umask", _mask(words.MODE, words.umask)),
    ("locale", _mask(words.NUMBER, words.same_digits)),
)


def _of_words(one: str, two: str, known: Mapping[str, Cause]) -> Iterator[Evidence]:
    """What single words that differ tell, with the words before them."""
    if words.same_but_for_accents(one, two):
        yield Evidence("locale", f"{words.shown(one)} → {words.shown(two)}")
        return
    tokens: list[list[str]] = [words.TOKEN.findall(text)[:_MOST_TOKENS] for text in (one, two)]
    for tag, a, b, c, d in difflib.SequenceMatcher(None, tokens[0], tokens[1], autojunk=False).get_opcodes():
        if tag != "replace":
            continue
        before = "".join(tokens[0][:a])[-60:]
        after = "".join(tokens[0][b:])[:80]
        old, new = "".join(tokens[0][a:b]), "".join(tokens[1][c:d])
        if cause := _of_word(old, new, before, after, known):
            yield Evidence(cause, f"{words.shown(old)} → {words.shown(new)}")


def _of_word(old: str, new: str, before: str, after: str, known: Mapping[str, Cause]) -> Cause | None:
    for value in (old, new):
        if value in known:
            return known[value]
    if words.translated(old, new) or (words.LOCALE.fullmatch(old) and words.LOCALE.fullmatch(new)):
        return "locale"
    if (re.search(r"\w@$", before) and old[0].isalpha() and new[0].isalpha()) or (
        words.HOST.fullmatch(old) and words.HOST.fullmatch(new)
    ):
        return "hostname"
    if re.match(r"@\w", after):
        return "user"
    cause = words.meant(before)
    if cause is not None:
        return cause
    return "random id" if words.random(old, new) else None
