"""Tells a difference of its own from one that only follows: a RECORD, a manifest or a lock that holds the digest and
the size of another file that differs.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from buildonce.difference.leaves import lines_of

if TYPE_CHECKING:
    from buildonce.difference.blob import Blob

__all__ = ["Pairs"]

_ALGORITHMS: Final = ("sha256", "md5")  # RECORD, locks and images; md5sums of a deb
_DIGEST: Final = re.compile(r"[A-Za-z0-9_-]{22,128}")
_SIZE: Final = re.compile(r"(\"(?:size|length)\": |,)\d+(?=,?$)")


@dataclass(slots=True)
class Pairs:
    """Every pair of files that differ, whatever is inside them."""

    found: list[tuple[Blob, Blob]] = field(default_factory=list)
    _tables: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))
    _known: int = 0

    def add(self, expected: Blob, found: Blob) -> None:
        """Remember that these two are the same file on the two sides."""
        self.found.append((expected, found))

    def explain(self, expected: Blob, found: Blob) -> bool:
        """Whether two texts differ in nothing but digests and sizes of pairs."""
        one, two = lines_of(expected), lines_of(found)
        if one is None or two is None:
            return False
        self._digest()
        return self._masked(one, 0) == self._masked(two, 1)

    def _digest(self) -> None:
        for number, pair in enumerate(self.found[self._known :], start=self._known):
            for side, blob in enumerate(pair):
                for algorithm in _ALGORITHMS:
                    digest = blob.digest(algorithm)
                    for text in (digest.hex(), base64.urlsafe_b64encode(digest).decode().rstrip("=")):
                        self._tables[side].setdefault(text, f"\0{algorithm}{number}")
        self._known = len(self.found)

    def _masked(self, lines: list[str], side: int) -> list[str]:
        table = self._tables[side]
        found = []
        for line in lines:
            masked = _DIGEST.sub(lambda match: table.get(match[0], match[0]), line)
            # A size stands on the line of its digest (RECORD), or has its own (JSON).
            found.append(_SIZE.sub(r"\1#", masked) if masked != line or line.lstrip().startswith('"size"') else line)
        return found
