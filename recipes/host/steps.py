"""The steps of a deployment on one host, in their order. Each can be repeated; each says what is wrong and changes
nothing more then.

After ``arm`` the way back is open, whatever happens to the controller: see back.py.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import apt
import deb
import forms
import guard
import health
import lease
import migration
import parcels
import pool
import record
import trust
import unit
from problems import VERIFICATION, Refused
from record import Entry, Pending, State

if TYPE_CHECKING:
    from plan import Artifact, Plan
    from record import Place

Facts = dict[str, Any]  # of the answer; "changed" is one of them


@dataclass(frozen=True)
class Job:
    """What a step was started with."""

    place: Place
    plan: Plan | None  # the present one; the way back needs none
    foreign: bool = False  # the plan is not the one that lies on the host
    deployment: str = ""  # the one that is meant, when it is said
    by_force: bool = False

    @property
    def given(self) -> Plan:
        if self.plan is None:
            raise Refused(f"{self.place.plan} is missing: there is nothing to be done", "name the plan with --plan")
        if self.deployment not in ("", self.plan.deployment):
            raise Refused(
                f"the plan on this host is that of the deployment {self.plan.deployment}, not of {self.deployment}",
                "somebody else has begun to deploy here: see status",
            )
        return self.plan


def lock(job: Job) -> Facts:
    """Take the lock; a plan that came from elsewhere becomes the host's, now that it is the only one."""
    lease.take(job.place, job.given, by_force=job.by_force)
    if job.foreign:
        record.save(job.place.plan, job.given.data)
    return {"changed": True}


def unlock(job: Job) -> Facts:
    """Give the lock back, or with force that of a deployment which is gone."""
    return {"changed": lease.give(job.place, job.given.deployment, by_force=job.by_force)}


def stage(job: Job) -> Facts:
    """Bring the version into the pool, verified, and prepare all that changes nothing yet."""
    place, plan = job.place, job.given
    lease.take(place, plan)
    if plan.mode == "rollback":
        entry = wanted(job, record.state(place))
        forms.prepare(place, pool.settings(place, entry), entry)
        return {"changed": False, "target": entry.version}
    artifact = plan.artifact()
    if artifact is None:
        raise Refused(f"the release has no {plan.format} for this host", "see preflight")
    found = pool.entry(place, plan.version)
    if found and _same(found, plan, artifact) and pool.whole(place, found):
        entry = replace(found, deployment=plan.deployment, floor=plan.floor)
        pool.keep(place, entry, plan.data, pool.folder(place, plan.version))
        changed = False
    else:
        entry, changed = _bring(place, plan, artifact), True
    forms.prepare(place, plan, entry)
    record.remove(place.parcel)
    return {"changed": changed, "target": entry.version}


def _same(found: Entry, plan: Plan, artifact: Artifact) -> bool:
    digest = found.sha256 if plan.source == "apt" and not artifact.sha256 else artifact.sha256
    return (found.format, found.sha256, found.package) == (plan.format, digest, artifact.package)


def _bring(place: Place, plan: Plan, artifact: Artifact) -> Entry:
    """The version in the pool, verified."""
    state, waits = record.state(place), record.pending(place)
    needed = {one.version for one in (state.current, state.previous, *((waits.to, waits.old) if waits else ())) if one}
    if plan.version in needed and pool.folder(place, plan.version).exists():
        old = pool.entry(place, plan.version)
        if old and pool.whole(place, old):
            raise Refused(
                f"{plan.name} {plan.version} is on this host already, with other bytes",
                "a version is released once: give the new bytes a new version",
            )
    with record.aside(place.pool, "new") as made:
        if plan.source == "apt":
            file = apt.fetch(place, plan, artifact, made)
            if artifact.sha256 and trust.digest(file) != artifact.sha256:
                raise Refused(f"{file.name} is another one than the plan says", kind=VERIFICATION)
        else:
            if not place.parcel.is_file():
                raise Refused(f"{place.parcel} is missing", "copy it there")
            parcels.unpack(place.parcel, made, flat=True)
            trust.verify(made, place.keyring, plan, artifact)
            file = made / artifact.file
            if plan.format == "deb":
                deb.add(place, [made / name for name in sorted(artifact.packages) if (made / name).is_file()])
            for other in made.iterdir():
                if other.name not in (file.name, trust.SUMS, trust.SIGNATURE, trust.MANIFEST):
                    other.unlink()  # for hosts of other targets
            if plan.format == "deb":
                deb.check(place, file, artifact)
        entry = Entry(
            version=plan.version,
            format=plan.format,
            file=file.name,
            sha256=trust.digest(file),
            package=artifact.package,
            image=artifact.image,
            deployment=plan.deployment,
            floor=plan.floor,
        )
        record.flush(file)
        pool.keep(place, entry, plan.data, made)
    return entry


def arm(job: Job) -> Facts:
    """Write down the way back, and let the guard take it unless somebody confirms."""
    place, plan = job.place, job.given
    lease.take(place, plan)
    state, waits = record.state(place), record.pending(place)
    if waits and (waits.deployment, waits.mode) != (plan.deployment, plan.mode) and not waits.failed:
        raise busy(waits)
    entry, old = wanted(job, state), waits.old if waits else state.current
    pool.require(place, entry)
    if old:
        pool.require(place, old)
        pool.settings(place, old)
    now = time.time()
    due = now + plan.guard
    guard.start(place, plan.deployment, plan.guard)
    unit.shield(place, entry.format)
    touched = bool(waits and waits.touched)
    record.expect(place, Pending(plan.deployment, entry, old, now, due, mode=plan.mode, touched=touched))
    return {"changed": True, "target": entry.version, "previous": old.version if old else "", "due": due}


def migrate(job: Job) -> Facts:
    """Run the new version's migration; the old version still serves."""
    waits = mine(job)
    settings = pool.settings(job.place, waits.to)
    if not settings.service.migrate or job.given.mode == "rollback":
        return {"changed": False, "output": ""}
    left = waits.due - time.time()
    if left <= 0:
        raise Refused("the guard is due: there is no time left for the migration")
    return {"changed": True, "output": migration.run(job.place, settings, waits.to, left)}


def switch(job: Job) -> Facts:
    """Put the new version in the place of the old one, and start it."""
    place, waits = job.place, mine(job)
    settings = pool.settings(place, waits.to)
    old = pool.settings(place, waits.old) if waits.old else None
    pool.require(place, waits.to)
    record.expect(place, replace(waits, touched=True))
    unit.stop(place)
    forms.install(place, settings, waits.to, old, timeout=max(waits.due - time.time(), 30))
    unit.start(place, settings.units)
    return {"changed": True, "version": waits.to.version}


def check(job: Job) -> Facts:
    """Wait until the new version is well."""
    waits = mine(job)
    settings = pool.settings(job.place, waits.to)
    if not forms.installed(job.place, settings, waits.to):
        raise Refused(f"{job.place.name} {waits.to.version} is not what is installed", "switch comes before check")
    answer = health.wait(job.place, settings.service, job.given.check, waits.to.version)
    return {"changed": False, "answer": answer.fields()}


def confirm(job: Job) -> Facts:
    """The new version stays. From the moment the state is written nothing brings the old one back."""
    place, plan, state = job.place, job.given, record.state(job.place)
    waits = record.pending(place)
    end = state.history[-1] if state.history else {}
    done = (end.get("event"), end.get("deployment"), end.get("by")) == ("confirmed", plan.deployment, plan.mode)
    if waits is None and done:
        return {"changed": False, "version": end["version"]}
    waits = mine(job)
    settings = pool.settings(place, waits.to)
    if not forms.installed(place, settings, waits.to):
        raise Refused(f"{place.name} {waits.to.version} is not what is installed", "nothing is confirmed")
    if not health.ask(settings.service).good(waits.to.version):
        raise Refused(f"{place.name} {waits.to.version} is not well any more", "nothing is confirmed")
    new = state.after(waits.to, plan.mode).told("confirmed", waits.to.version, waits, plan.mode)
    record.remember(place, new)
    conclude(place)
    if waits.to.format == "deb":
        deb.hold(place.name, held=True)
    for gone in tidy(place, new, plan.keep):
        print("forgot", gone)
    back = record.state(place)
    if record.pending(place) or not back.confirmed(waits) or back.current != waits.to:
        raise Refused("what was confirmed cannot be read back", f"look into {place.home}")
    return {"changed": True, "version": waits.to.version, "previous": back.previous.version if back.previous else ""}


def conclude(place: Place) -> None:
    """A deployment has come to its end, a good one or not."""
    record.settled(place)
    guard.stop(place)


def tidy(place: Place, state: State, keep: int) -> list[str]:
    """Forget versions that nobody goes back to."""
    plans = {one: _plan_of(place, one) for one in pool.versions(place)}
    gone = pool.prune(place, state, keep)
    images = {one.image for version in pool.versions(place) if (one := pool.entry(place, version))}
    for one in gone:
        settings = plans.get(one.version)
        if settings and not (one.image and one.image in images):
            forms.forget(place, settings, one)
    return [one.version for one in gone]


def _plan_of(place: Place, version: str) -> Plan | None:
    try:
        found = pool.entry(place, version)
        return pool.settings(place, found) if found else None
    except Refused:
        return None


def wanted(job: Job, state: State) -> Entry:
    """What the plan wants to run here, from the pool. Raises :class:`Refused`."""
    place, plan = job.place, job.given
    if plan.mode == "deploy":
        found = pool.entry(place, plan.version)
        if found is None or found.deployment != plan.deployment:
            raise Refused(f"{plan.name} {plan.version} is not in the pool", "stage comes before arm")
        return found
    trail = [one for one in (state.previous, *state.earlier) if one]
    named = [one for one in trail if plan.version in ("", one.version)]
    waits = record.pending(place)
    if waits and (waits.deployment, waits.mode) == (plan.deployment, plan.mode):
        return waits.to
    if state.current and plan.version == state.current.version:
        return state.current  # back to what it has: nothing to do, or the same once more
    if not named:
        what = f"{plan.name} {plan.version} is" if plan.version else "no version before the present one is"
        raise Refused(f"{what} on this host: there is nothing to go back to")
    return named[0]


def mine(job: Job) -> Pending:
    """The pending deployment, when it is this one. Raises :class:`Refused`."""
    waits = record.pending(job.place)
    if waits is None:
        raise Refused("nothing is pending on this host: it was not armed, or it has gone back already", "see status")
    if (waits.deployment, waits.mode) != (job.given.deployment, job.given.mode):
        raise busy(waits)
    lease.take(job.place, job.given)
    return waits


def busy(waits: Pending) -> Refused:
    """What to say when another deployment is not confirmed yet."""
    return Refused(
        f"the deployment {waits.deployment} of {waits.to.version} is neither confirmed nor rolled back here",
        "wait for its end, or: python3 host.pyz rollback --name NAME",
        pending=asdict(waits),
    )
