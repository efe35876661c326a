"""Which lock the project already has from another tool. It is the truth, never resolved again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from buildonce.errors import LockError
from buildonce.lock.toml import parse
from buildonce.system import files

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ORIGIN", "Existing", "Kind", "find", "fingerprint"]

Kind = Literal["uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "requirements.txt"]

# The key of [tool.buildonce] that says whose pins our pylock.toml holds: "pylock.toml" once it took another's
# place.
ORIGIN: Final = "origin"
_RESOLVERS: Final[tuple[Kind, ...]] = ("uv.lock", "poetry.lock", "pdm.lock")


@dataclass(frozen=True, kw_only=True, slots=True)
class Existing:
    """A lock that another tool made, or whose pins came from one."""

    kind: Kind
    path: Path


def find(root: Path) -> Existing | None:
    """The lock of another tool in the folder *root*; None when ``release lock`` is to choose the versions.

    Raises :class:`LockError` when there are two and nobody can know which one counts.
    """
    present = [kind for kind in _RESOLVERS if (root / kind).is_file()]
    if len(present) > 1:
        raise LockError(
            f"the project has {' and '.join(present)}: only one can be the truth",
            where=str(root),
            hint="remove the one that is no longer used",
        )
    if present:
        return Existing(kind=present[0], path=root / present[0])
    if _is_foreign_pylock(root / "pylock.toml"):
        return Existing(kind="pylock.toml", path=root / "pylock.toml")
    requirements = root / "requirements.txt"
    if requirements.is_file() and "--hash=" in requirements.read_text("utf-8", errors="replace"):
        return Existing(kind="requirements.txt", path=requirements)
    _refuse_workspace(root)
    return None


def fingerprint(root: Path) -> str:
    """What makes the lock stale when the other tool's lock changes; ``""`` without one.

    A foreign pylock.toml has none: ours takes its place, and one that is made anew holds no
    ``[tool.buildonce]``.
    """
    existing = find(root)
    if existing is None or existing.kind == "pylock.toml":
        return ""
    return f"{existing.kind} {files.sha256_file(existing.path)}"


def _refuse_workspace(root: Path) -> None:
    """A uv workspace has one lock for all its members, above them; resolving anew would not be what it says."""
    for above in root.resolve().parents:
        if (above / "uv.lock").is_file() and (above / "pyproject.toml").is_file():
            document = parse((above / "pyproject.toml").read_bytes(), str(above / "pyproject.toml"))
            members = document.get("tool", {}).get("uv", {}).get("workspace", {}).get("members", ())
            if any(root.resolve() in above.glob(member) for member in members):
                raise LockError(
                    "this project is a member of a uv workspace, whose lock is above it",
                    where=str(above / "uv.lock"),
                    hint="uv export --locked --no-emit-workspace --no-default-groups --no-header"
                    " -o pylock.toml, then `release lock`",
                )


def _is_foreign_pylock(path: Path) -> bool:
    if not path.is_file():
        return False
    ours = parse(path.read_bytes(), path.name).get("tool", {}).get("buildonce")
    return ours is None or ours.get(ORIGIN) == "pylock.toml"
