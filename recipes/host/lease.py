"""Who deploys here: a lock that says so, that ends by itself, and that a waiting colleague can read."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import record
from problems import Refused

if TYPE_CHECKING:
    from plan import Plan
    from record import Lease, Place


def take(place: Place, plan: Plan, *, by_force: bool = False) -> None:
    """Take the lock for this deployment, or renew it. Raises :class:`Refused` when another one has it."""
    now, found = time.time(), record.lease(place)
    if found and found.deployment != plan.deployment:
        if now < found.expires and not by_force:
            raise taken(found)
        record.remove(place.lease)
        found = None
    fields = {
        "deployment": plan.deployment,
        "who": plan.who,
        "since": found.since if found else now,
        "expires": now + plan.lease,
    }
    try:
        record.save(place.lease, fields, new=found is None)
    except FileExistsError:
        raise Refused("somebody else has just taken the lock of this host", "try again") from None


def give(place: Place, deployment: str, *, by_force: bool = False) -> bool:
    """Give back that of *deployment*, or *by_force* anybody's; whether there was one to give."""
    found = record.lease(place)
    return bool(found and (by_force or found.deployment == deployment) and record.remove(place.lease))


def free(place: Place, deployment: str) -> bool:
    """Whether nobody but *deployment* has it now."""
    found = record.lease(place)
    return not found or found.deployment == deployment or found.expires <= time.time()


def taken(found: Lease) -> Refused:
    """What to say to the second one."""
    moment = "%Y-%m-%d %H:%M:%S UTC"
    since, until = (time.strftime(moment, time.gmtime(at)) for at in (found.since, found.expires))
    return Refused(
        f"{found.who} has been deploying here since {since} (deployment {found.deployment})",
        f"wait for its end; the lock ends by itself at {until}, or now with --break-lock if that deployment is gone",
        lock=asdict(found),
    )
