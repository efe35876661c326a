"""Shapes of the values that machines put into files, and what the words before them mean."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from buildonce.difference.causes import Cause

__all__ = [
    "ADDRESS", "DIGEST", "HEX", "HOST", "LOCALE", "MODE", "NUMBER", "PATH", "TIME", "TOKEN", "UUID",
    "collated", "is_file", "meant", "random", "same_but_for_accents", "same_digits", "same_length", "shown",
    "translated", "umask",
]  # fmt: skip

_MONTH: Final = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:tember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\b"
)
_DAY: Final = r"\b(?:Mon|Tue(?:s)?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?\b"
_CLOCK: Final = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?:[ ]?(?:AM|PM|am|pm))?"
_ZONE: Final = r"(?:[ ]?(?:Z\b|UTC\b|GMT(?:[+-]\d+)?\b|[+-]\d\d:?\d\d\b|[A-Z]{3,5}\b))?"

# A date, a date with a time, a time, and seconds since 1970 (or their thousandths, …) between 2001 and 2100.
TIME: Final = re.compile(
    rf"""(?: (?:{_DAY},?\ )?(?:{_MONTH}\ {{1,2}}\d{{1,2}}|\d{{1,2}}[\ -]{_MONTH})(?:,?[\ -]\d{{4}})?
             (?:,?\ {_CLOCK}{_ZONE}(?:\ (?:19|20)\d\d)?)?
           | (?<!\d)(?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])(?:[T_\ -]?{_CLOCK}{_ZONE})?(?!\d)
           | (?<!\d)(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[T_-]?\d{{4}}(?:\d\d)?Z?)?(?!\d)
           | (?<!\d)(?:0?[1-9]|[12]\d|3[01])([./])(?:0?[1-9]|1[0-2])\2(?:19|20)\d\d(?:,?\ {_CLOCK}{_ZONE})?
           | (?<!\d){_CLOCK}{_ZONE}
           | (?<![\d.])(?:9[89]\d{{7}}|[1-3]\d{{9}})(?:\d{{3}}|\d{{6}}|\d{{9}})?(?:\.\d+)?(?!\d)
         )""",
    re.VERBOSE,
)
UUID: Final = re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
ADDRESS: Final = re.compile(r"\b0x[0-9a-f]{8,16}\b")
# Of SHA-1 and of SHA-2 in hexadecimal; shorter ones are rather random.
DIGEST: Final = re.compile(
    r"(?i)(?<![0-9a-z])(?:[0-9a-f]{128}|[0-9a-f]{96}|[0-9a-f]{64}|[0-9a-f]{56}|[0-9a-f]{40})(?![0-9a-z])"
)
HEX: Final = re.compile(r"(?i)(?<![0-9a-z])(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,128}(?![0-9a-z])")
PATH: Final = re.compile(r"(?:(?<=file://)|(?<![\w:/.~-]))/[\w.+@~=-]+(?:/[\w.+@~=-]*)+")
MODE: Final = re.compile(r"\b0o?\d{3,6}\b|[-dl][r-][w-][xsS-][r-][w-][xsS-][r-][w-][xtT-]|\b10[04]\d{3}\b")
NUMBER: Final = re.compile(r"(?<![\w.,])[+-]?\d+(?:[.,'\u00a0\u2009\u202f]\d+)+(?![\w])")
LOCALE: Final = re.compile(r"C|POSIX|[a-z]{2,3}_[A-Z]{2}(?:\.[\w-]+)?(?:@\w+)?|C\.[Uu][Tt][Ff]-?8|UTF-?8|ASCII|"
                           r"ANSI_X3\.4-1968|ascii|utf-?8|ISO-8859-\d+")  # fmt: skip
HOST: Final = re.compile(r"(?=.*[a-z])[a-z0-9][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*)*\.(?:local|lan|internal|localdomain|"
                         r"home|corp|example|invalid|test|arpa|com|net|org|io|de|eu)")  # fmt: skip
TOKEN: Final = re.compile(r"[\w.+-]+|\s+|.", re.DOTALL)

# What a value is, from the words before it; more than one may be in a line, the nearest counts.
_BUILT: Final = r"(?:built|build|building|compiled|packaged)[ _-]"
_NAMES: Final[tuple[tuple[Cause, str], ...]] = (
    ("hash seed", r"hash(?:[ _-]?(?:seed|of))?"),
    ("umask", r"umask"),
    ("locale", r"locale|lang|language|lc_[a-z]+|encoding|charset|codeset"),
    ("hostname", rf"(?:host|node)[ _-]?(?:name)?|domain|fqdn|{_BUILT}(?:on|host)"),
    ("user", rf"user[ _-]?(?:name)?|login|logname|[ug]id|owner|author|packager|builder|maintainer|{_BUILT}by"),
    ("machine", r"(?:n|num_)?cpus?(?:_count)?|cores?|nproc|jobs|threads|processors?|kernel|uname|linux[ _]version"),
    ("machine", r"memory|mem(?:info|total)|mhz|bogomips"),
    ("timestamp", r"time(?:stamp)?|date|clock|epoch|age|year|seconds|time[ _-]?zone|tz|duration|elapsed"),
    ("random id", r"pid|process[ _-]id|token|nonce|salt|random|uuid|guid|seed|rand|id"),
)
_MEANT: Final = tuple((cause, re.compile(rf"(?i)(?<![a-z])(?:{shape})(?![a-z])")) for cause, shape in _NAMES)

# "may" is left out: it is another word too.
_ENGLISH: Final = re.compile(
    r"(?i)monday|tuesday|wednesday|thursday|friday|saturday|sunday|mon|tue|wed|thu|fri|sat|sun|january|february|march"
    r"|april|june|july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec"
)


def shown(text: str, most: int = 60) -> str:
    """*text* on one line without what a terminal would obey, cut in its middle."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return plain if len(plain) <= most else f"{plain[: most // 2]}…{plain[-(most // 2) + 1 :]}"


def collated(text: str) -> str:
    """A key that sorts as locales do: letters before their case, accents and punctuation."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if c.isalnum())
    return plain.casefold()


def is_file(text: str) -> bool:
    """Whether *text* is the name of a file, with a suffix or in a folder."""
    return bool(re.fullmatch(r"[\w./+~-]*(?:/[\w.+~-]+|\w\.[A-Za-z]\w{0,4})", text))


def same_length(one: str, two: str) -> bool:
    """Whether two random values are of one kind."""
    return len(one) == len(two)


def same_digits(one: str, two: str) -> bool:
    """Whether it is one number, with other marks between its digits."""
    digits = [re.sub(r"\D", "", text) for text in (one, two)]
    marks = [re.sub(r"\d", "", text) for text in (one, two)]
    other = set(marks[0]) != set(marks[1]) or (len(marks[0]) == len(marks[1]) and marks[0] != marks[1])
    return digits[0] == digits[1] and other


def umask(one: str, two: str) -> bool:
    """Whether two modes, in octal or as ``ls`` writes them, differ only in what others may."""
    if one[0] in "-dl" or two[0] in "-dl":
        return one[:4] == two[:4]
    found = [int(text.removeprefix("0o"), 8) if set(text[2:]) <= set("01234567") else -1 for text in (one, two)]
    return -1 not in found and not (found[0] ^ found[1]) & ~0o077


def same_but_for_accents(one: str, two: str) -> bool:
    """Whether one is the other in an encoding that lacks its letters."""
    plain = [re.sub(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\[0-7]{3}|[^\x00-\x7f]|\?", "?", text) for text in (one, two)]
    return one.isascii() != two.isascii() and re.sub(r"\?+", "?", plain[0]) == re.sub(r"\?+", "?", plain[1])


def translated(one: str, two: str) -> bool:
    """Whether the one is a name of the English calendar and the other is a word, but none of it."""
    words = [text.rstrip(".") for text in (one, two)]
    return sum(bool(_ENGLISH.fullmatch(word)) for word in words) == 1 and all(word.isalpha() for word in words)


def meant(before: str) -> Cause | None:
    """What the words *before* a value say that it is: those that stand nearest count."""
    found = [(match.end(), cause) for cause, shape in _MEANT for match in shape.finditer(before)]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def random(one: str, two: str) -> bool:
    """Whether both look drawn: long, of one length (nearly, for numbers), of mixed letters and digits."""
    if re.fullmatch(r"-?\d+(?:\.\d+)?", one) and re.fullmatch(r"-?\d+(?:\.\d+)?", two):
        return min(len(one), len(two)) >= 12 and abs(len(one) - len(two)) <= 4
    mixed = all(re.search(r"\d", t) or (re.search(r"[a-z]", t) and re.search(r"[A-Z]", t[1:])) for t in (one, two))
    return len(one) == len(two) >= 8 and mixed and bool(re.fullmatch(r"[\w+/=-]+", one + two))
