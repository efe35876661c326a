"""The fenced blocks of the documentation, for the tests that run and check them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["PAGES", "ROOT", "Block", "blocks", "name"]

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])


@dataclass(frozen=True)
class Block:
    """A fenced block. A ``text`` block below an ``sh`` block is what that prints."""

    language: str
    text: str
    heading: str  # the nearest one of level 2 above; "" when there is none
    line: int  # of its first line in the page


def blocks(page: Path) -> tuple[Block, ...]:
    """All blocks of *page*, in order."""
    found, heading = [], ""
    language: str | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = re.match(r"\s*```(.*)", line)
        if language is not None:
            if fence:
                text = "".join(f"{one}\n" for one in lines)
                found.append(Block(language, text, heading, number - len(lines)))
                language, lines = None, []
            else:
                lines.append(line)
        elif fence:
            language = fence[1]
        elif line.startswith("## "):
            heading = line[3:]
    assert language is None, f"{page}: the last block has no end"
    return tuple(found)


def name(page: Path) -> str:
    """The page's path in the repository."""
    return page.relative_to(ROOT).as_posix()
