"""The order of versions (PEP 440), as much of it as a gate needs."""

from __future__ import annotations

import re

from problems import Refused

_VERSION = re.compile(
    r"(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)(?:(?P<pre>a|b|rc)(?P<number>\d+))?"
    r"(?:\.post(?P<post>\d+))?(?:\.dev(?P<dev>\d+))?(?:\+(?P<local>[a-z0-9]+(?:\.[a-z0-9]+)*))?"
)
_PRE = {"a": 0, "b": 1, "rc": 2}
_LAST = 9


def key(version: str) -> tuple[object, ...]:
    """What to sort *version* by, in its normal spelling. Raises :class:`Refused` for anything else."""
    found = _VERSION.fullmatch(version)
    if not found:
        raise Refused(f"{version!r} is not a version in its normal spelling (PEP 440)")
    release = tuple(int(part) for part in found["release"].split("."))
    while release[-1:] == (0,):
        release = release[:-1]
    post = int(found["post"]) if found["post"] else -1
    dev = int(found["dev"]) if found["dev"] else float("inf")
    if found["pre"]:
        pre = (_PRE[found["pre"]], int(found["number"]))
    else:  # 1.0.dev1 is before 1.0a1, 1.0 after 1.0rc1
        pre = (-1, 0) if found["dev"] and not found["post"] else (_LAST, 0)
    local = tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in (found["local"] or "").split("."))
    return int(found["epoch"] or 0), release, pre, post, dev, local if found["local"] else ()


def older(version: str, than: str) -> bool:
    """Whether *version* comes before *than*."""
    return key(version) < key(than)
