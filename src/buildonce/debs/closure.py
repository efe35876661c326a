"""Picks what a set of packages needs out of the locked ones (Debian Policy 7.1, 7.2, 7.5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from buildonce.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["closure", "names"]

_RELATION: Final = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")


def names(relations: str) -> Iterator[tuple[str, ...]]:
    """The alternatives of each relation of a ``Depends`` field: names without version and architecture."""
    for relation in relations.split(","):
        found = [match[1] for part in relation.split("|") if (match := _RELATION.match(part))]
        if found:
            yield tuple(found)


def closure(
    controls: Iterable[Mapping[str, str]], roots: Iterable[str], without: Iterable[str] = ()
) -> tuple[str, ...]:
    """The names of the packages that *roots* need, sorted, with the roots, following Depends and Pre-Depends.

    *controls* are the control fields of all locked packages. Versions are not looked at: apt did when the set
    was locked. The first alternative that is locked is taken, a package before one that provides it. Packages
    of *without* are left out, and so is what only they need. Raises :class:`LockError` when a root or a
    dependency is not locked.
    """
    locked = {fields["Package"]: fields for fields in controls}
    providers = _providers(locked)
    left_out = frozenset(without)
    found: set[str] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [(root, (root,)) for root in roots]
    while waiting:
        asker, alternatives = waiting.pop()
        name = _choose(alternatives, locked, providers, left_out)
        if name is None:
            raise LockError(
                f"{asker} needs the OS package {' or '.join(alternatives)}, which is not locked",
                where="debs.lock.toml",
                hint="run `release lock` and commit the result",
            )
        if name in found or name in left_out:
            continue
        found.add(name)
        for field in ("Pre-Depends", "Depends"):
            waiting.extend((name, relation) for relation in names(locked[name].get(field, "")))
    return tuple(sorted(found))


def _providers(locked: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    providers: dict[str, list[str]] = {}
    for name in sorted(locked):
        for provided in names(locked[name].get("Provides", "")):
            providers.setdefault(provided[0], []).append(name)
    return providers


def _choose(
    alternatives: tuple[str, ...],
    locked: Mapping[str, Mapping[str, str]],
    providers: Mapping[str, list[str]],
    left_out: frozenset[str],
) -> str | None:
    """The alternative to take; one that is left out only when no other is there; None when nothing fits."""
    candidates = [name for name in alternatives if name in locked]
    candidates += [provider for name in alternatives for provider in providers.get(name, ())]
    kept = [name for name in candidates if name not in left_out]
    named = [name for name in alternatives if name in left_out]
    return next(iter([*kept, *candidates, *named]), None)
