"""How a fleet is cut into batches. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["split"]

_ALL = 100


def split(hosts: Sequence[str], batches: Sequence[int | str]) -> tuple[tuple[str, ...], ...]:
    """*hosts* in batches: entry for entry of *batches*, so many of them in all are done (``2`` hosts, or ``"10%"``).

    A share is rounded up; an entry that adds no host is left out; what the last entry leaves is a batch of its own.
    """
    marks = [0]
    for wanted in (*batches, f"{_ALL}%"):
        count = -(-len(hosts) * int(wanted[:-1]) // _ALL) if isinstance(wanted, str) else wanted
        marks.append(max(marks[-1], min(count, len(hosts))))
    return tuple(tuple(hosts[start:end]) for start, end in pairwise(marks) if start < end)
