"""What is different in two files that should be the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Difference", "Verdict", "compare"]

Verdict = Literal["container-only", "metadata-only", "bytecode-only", "content"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How two files differ, and what is likely to be the cause."""

    verdict: Verdict
    member: str  # the first differing member; "" when it is the file itself
    lines: tuple[str, ...]  # a short diff
    hint: str


def compare(expected: Path, found: Path) -> Difference | None:
    """The difference of two files; None when there is none."""
    left, right = expected.read_bytes(), found.read_bytes()
    if left == right:
        return None
    at = next((at for at, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), len(left))
    return Difference(verdict="content", member="", lines=(f"first differing byte: {at}",), hint="")
