"""Paragraphs of ``Name: value`` (deb822(5)): Debian's control files, apt's indexes and ``.sources``."""

from __future__ import annotations

__all__ = ["paragraphs"]


def paragraphs(text: str) -> list[dict[str, str]]:
    """The paragraphs of *text*, names as written. The lines of a longer value keep their breaks.

    Comment lines (``#`` in the first column) and lines that are no field are left out.
    """
    found: list[dict[str, str]] = []
    current: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if current:
                found.append(current)
            current, name = {}, ""
        elif line[0] in " \t":
            if name:
                current[name] += "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            current[name] = value.strip()
    return found
