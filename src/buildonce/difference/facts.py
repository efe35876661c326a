"""What a container says about a member beside its bytes, in words that can be printed."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from typing import Final, Literal

from buildonce.difference.causes import Evidence

__all__ = ["Label", "causes", "executes", "moment"]

Label = Literal["time", "mode", "owner", "compressor", "name", "archiver", "order", "end"]

# A mode that a umask makes of another one: the same for the owner, and nothing but reading and writing for others.
_OTHERS: Final = 0o077


def moment(seconds: float) -> str:
    """*seconds* since 1970 as a date and time in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"


def executes(expected: int, found: int) -> bool:
    """Whether another mode makes another program: the owner may run it, or it runs as somebody else."""
    special = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
    return bool((expected ^ found) & (special | stat.S_IXUSR))


def causes(label: Label, expected: str, found: str) -> tuple[Evidence, ...]:
    """Why the container says something else at *label*."""
    shown = f"{label} {expected} → {found}"
    match label:
        case "time":
            return (Evidence("timestamp", shown),)
        case "mode":
            return (Evidence("umask", shown),) if not (int(expected, 8) ^ int(found, 8)) & ~_OTHERS else ()
        case "owner":
            return (Evidence("user", shown),)
        case "compressor" | "archiver":
            return (Evidence("compressor", shown),)
        case "name":
            return (Evidence("path", shown),)
        case "order" | "end":
            return ()
