"""The way back: by order, by the guard when nobody confirmed, or at the start of the machine.

It needs no plan and no controller, only what was written down before anything changed; and it can be repeated.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import forms
import guard
import health
import lease
import migration
import pool
import record
import steps
import unit
from problems import Refused

if TYPE_CHECKING:
    from plan import Plan
    from record import Pending, Place, State
    from steps import Facts, Job

ATTEMPTS = 3
PAUSE = 2  # seconds


def rollback(job: Job, by: str = "rollback") -> Facts:
    """Bring back what ran before the pending deployment. Without one it only says what runs."""
    place, state, waits = job.place, record.state(job.place), record.pending(job.place)
    if waits is None:
        return _unchanged(state)
    if state.confirmed(waits):  # cut off between the two
        steps.conclude(place)
        return _unchanged(state)
    if job.deployment not in ("", waits.deployment):
        return _unchanged(state)
    if by != "guard":
        guard.stop(place)
    try:
        version = _remove(place, waits) if waits.old is None else _restore(place, waits)
    except Refused as error:
        if not waits.failed:  # the guard and the boot unit try again and again
            record.remember(place, state.told("rollback_failed", _old(waits), waits, by))
        record.expect(place, replace(waits, touched=True, failed=True))
        problem = error.problem
        raise Refused(
            f"the roll back failed: {problem.message}", problem.hint, kind=problem.kind, state="rollback_failed"
        ) from error
    new = replace(state, current=waits.old).told("rolled_back", version, waits, by)
    record.remember(place, new)
    steps.conclude(place)
    if by in ("guard", "boot"):  # whoever deployed is gone, and gives no lock back
        lease.give(place, waits.deployment)
    if waits.old is None:
        unit.unshield(place)
    return {"changed": True, "state": "rolled_back", "version": version}


def _unchanged(state: State) -> Facts:
    return {"changed": False, "state": "unchanged", "version": state.current.version if state.current else ""}


def _old(waits: Pending) -> str:
    return waits.old.version if waits.old else ""


def _restore(place: Place, waits: Pending) -> str:
    """Bring *waits.old* back; its version."""
    if waits.old is None:
        raise AssertionError
    old, settings = waits.old, pool.settings(place, waits.old)
    migration.stop(place)
    if not waits.touched and forms.installed(place, settings, old) and health.ask(settings.service).good(old.version):
        return old.version  # it never stopped
    if waits.failed and forms.installed(place, settings, old) and unit.active(place):
        health.wait(place, settings.service, settings.check, old.version)  # what it needs may be there now
        return old.version
    new = _settings(place, waits)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            unit.stop(place)
            forms.install(place, settings, old, new)
            unit.start(place, settings.units)
            health.wait(place, settings.service, settings.check, old.version)
            break
        except Refused:
            if attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE)
    return old.version


def _remove(place: Place, waits: Pending) -> str:
    """There was nothing before: nothing is left."""
    migration.stop(place)
    unit.stop(place)
    settings = _settings(place, waits)
    if settings:
        forms.remove(place, settings, waits.to)
    unit.reload()
    if unit.active(place):
        raise Refused(f"{place.name} still runs")
    return ""


def _settings(place: Place, waits: Pending) -> Plan | None:
    """How the unconfirmed version was to run; its folder in the pool may be gone."""
    try:
        return pool.settings(place, waits.to)
    except Refused:
        return None
