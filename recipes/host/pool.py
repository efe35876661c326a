"""Versions that were verified and are kept on this host: the way forward, and the way back."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING

import plan as plans
import record
import trust
from problems import VERIFICATION, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from plan import Plan
    from record import Entry, Place, State

ENTRY, PLANS = "entry.json", "plans"


def folder(place: Place, version: str) -> Path:
    return place.pool / version


def file(place: Place, entry: Entry) -> Path:
    return folder(place, entry.version) / entry.file


def entry(place: Place, version: str) -> Entry | None:
    """What was staged last under that version."""
    found = folder(place, version) / ENTRY
    with record.understood(found):
        return record.entry(record.load(found))


def keep(place: Place, entry: Entry, data: dict[str, object], made: Path) -> None:
    """Make of *made*, which holds verified files, the pool's folder of *entry*; *data* is its plan."""
    final = folder(place, entry.version)
    if made != final:
        if final.exists():
            shutil.rmtree(final)
        record.flush(made)
        made.rename(final)
        record.flush(place.pool)
    record.write(_plan(place, entry), json.dumps(data).encode(), mode=0o600)
    record.save(final / ENTRY, asdict(entry))  # last: with it the version counts as staged


def settings(place: Place, entry: Entry) -> Plan:
    """The plan that brought *entry* here: how it runs. Raises :class:`Refused`."""
    path = _plan(place, entry)
    if not path.is_file():
        raise Refused(f"{path} is missing: nobody can tell how {entry.version} runs", "deploy that version again")
    return plans.read(str(path))


def whole(place: Place, entry: Entry) -> bool:
    """Whether its file is still the one that was verified."""
    return bool(entry.file) and trust.digest(file(place, entry)) == entry.sha256


def require(place: Place, entry: Entry) -> Path:
    """The file of *entry*, compared again. Raises :class:`Refused`."""
    if not whole(place, entry):
        raise Refused(
            f"{file(place, entry)} is not the file that was verified",
            "stage that version again: deploy it",
            kind=VERIFICATION,
        )
    return file(place, entry)


def versions(place: Place) -> list[str]:
    """What is there, the last one staged first."""
    found = [path.parent for path in place.pool.glob(f"*/{ENTRY}")]
    return [path.name for path in sorted(found, key=lambda path: (path / ENTRY).stat().st_mtime, reverse=True)]


def prune(place: Place, state: State, number: int) -> list[Entry]:
    """Forget all but *number* versions, never those that run or ran before; answers the forgotten."""
    here = versions(place)
    trail = [one.version for one in (state.current, state.previous, *state.earlier) if one]
    kept = {*trail[:2], *list(dict.fromkeys([*trail, *here]))[: max(number, 2)]}
    gone = []
    for version in here:
        found = entry(place, version)
        if version not in kept and found:
            gone.append(found)
            record.remove(folder(place, version) / ENTRY)
            shutil.rmtree(folder(place, version))
    return gone


def _plan(place: Place, entry: Entry) -> Path:
    return folder(place, entry.version) / PLANS / f"{entry.deployment}.json"
