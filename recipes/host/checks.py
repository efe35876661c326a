"""Preflight: all that would stop a deployment on this host, found before anything changes, all at once."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import deb
import forms
import health
import lease
import pool
import record
import shell
import steps
import unit
import versions
from plan import host
from problems import GATE, Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plan import Plan
    from record import Entry, Place, State
    from steps import Facts, Job

HIDDEN = "a program that cannot be seen"
ROOM = 3  # times the artifact: in the pool, unpacked, installed


def preflight(job: Job) -> Facts:
    """Look at everything; raises nothing for what it finds, but lists it."""
    place, plan = job.place, job.given
    state, waits = record.state(place), record.pending(place)
    target, problems = _target(job, state)
    for look in (_turn, _host, _room, _others, _port, _programs):
        problems += look(job, state)
    if target:
        problems += _direction(plan, state, target)
    problems += _ways(place, plan, state)
    healthy = is_healthy(place, state)
    return {
        "changed": False,
        "problems": problems,
        "notes": list(_notes(place, state)),
        "current": state.current.version if state.current else "",
        "previous": state.previous.version if state.previous else "",
        "target": target,
        "clock": time.time(),
        "healthy": healthy,
        "locked": not lease.free(place, plan.deployment),
        "pending": waits is not None,
        "unchanged": not problems and waits is None and healthy and _is_there(place, plan, state, target),
    }


def status(job: Job) -> Facts:
    """What is known of the service here; changes nothing."""
    place, state = job.place, record.state(job.place)
    waits, held = record.pending(place), record.lease(place)
    served = ""
    if state.current:
        served = health.ask(pool.settings(place, state.current).service).version
    return {
        "changed": False,
        "current": asdict(state.current) if state.current else None,
        "previous": asdict(state.previous) if state.previous else None,
        "history": list(state.history),
        "pool": pool.versions(place),
        "pending": asdict(waits) if waits else None,
        "lock": asdict(held) if held else None,
        "healthy": is_healthy(place, state),
        "served": served,
        "notes": list(_notes(place, state)),
    }


def is_healthy(place: Place, state: State) -> bool:
    """Whether what should run is installed, and answers as the version it is."""
    if state.current is None:
        return False
    try:
        settings = pool.settings(place, state.current)
    except Refused:
        return False
    return forms.installed(place, settings, state.current) and health.ask(settings.service).good(state.current.version)


def _target(job: Job, state: State) -> tuple[str, list[Problem]]:
    """The version that is to run, and what is wrong with it when it has to be here already."""
    if job.given.mode == "deploy":
        return job.given.version, []
    try:
        entry = steps.wanted(job, state)
        pool.require(job.place, entry)
        settings = pool.settings(job.place, entry)
    except Refused as error:
        return job.given.version, [error.problem]
    return entry.version, [] if settings.name == job.place.name else [Problem("the pool is of another service")]


def _turn(job: Job, state: State) -> Iterator[Problem]:  # noqa: ARG001 - one signature for all
    """Is it this deployment's turn?"""
    waits, held = record.pending(job.place), record.lease(job.place)
    if held and not job.by_force and not lease.free(job.place, job.given.deployment):
        yield lease.taken(held).problem
    if waits and waits.deployment != job.given.deployment and not waits.failed:
        yield steps.busy(waits).problem


def _host(job: Job, state: State) -> Iterator[Problem]:  # noqa: ARG001
    """Is the artifact for this host, and is its interpreter there?"""
    plan = job.given
    if plan.mode == "rollback":
        return
    artifact, here = plan.artifact(job.place.root), host(job.place.root)
    if artifact is None:
        listed = ", ".join(
            sorted(f"{one.distribution} {one.release} {one.architecture}" for one in plan.artifacts.values())
        )
        words = " ".join((here["distribution"], here["release"], here["architecture"]))
        yield Problem(f"the release has no {plan.format} for this host, which is {words}", f"it has: {listed}")
    elif plan.format in ("pex", "wheelhouse") and not os.access(artifact.interpreter, os.X_OK):
        package = Path(artifact.interpreter).name
        yield Problem(f"{artifact.interpreter} is not on this host", f"apt install {package}")


def _room(job: Job, state: State) -> Iterator[Problem]:  # noqa: ARG001
    """Is there room?"""
    artifact = job.given.artifact(job.place.root)
    if artifact is None:
        return
    for folder in (job.place.home, job.place.root / "opt/venvs" if job.given.format == "deb" else job.place.opt):
        there = next(one for one in (folder, *folder.parents) if one.is_dir())
        free = shutil.disk_usage(there).free
        if free < ROOM * artifact.size:
            wanted = f"{ROOM * artifact.size >> 20} MB are needed"
            yield Problem(f"{folder} has room for {free >> 20} MB, {wanted}", "make room there")


def _others(job: Job, state: State) -> Iterator[Problem]:
    """Is the name taken: by another form, or by something that no deployment brought?"""
    place, form = job.place, job.given.format
    if state.current and state.current.format != form:
        yield Problem(
            f"{place.name} is deployed here as {state.current.format}, the plan says {form}",
            "a host keeps its form; to change it, remove the one that is there first",
        )
    elif found := forms.traces(place, form):
        yield Problem(f"{found} is here: it would take the place of what is deployed", "remove it first")
    elif form == "deb" and not state.current and not record.pending(place) and deb.present(place.name):
        yield Problem(
            f"{place.name} {deb.status(place.name)[1]} is here, and no deployment brought it: it has no way back",
            f"apt remove {place.name}, or deploy to another host",
        )


def _port(job: Job, state: State) -> Iterator[Problem]:  # noqa: ARG001
    """Does another program listen where the service wants to?"""
    port = job.given.service.port
    if not port or job.given.mode == "rollback":
        return
    owner = listener(port)
    if owner and not _ours(job.place, owner):
        yield Problem(f"port {port} is taken: by {owner}", "stop that program, or choose another port")


def _ours(place: Place, owner: str) -> bool:
    """A container's port is held by its engine: it is ours while the unit runs."""
    mine = owner.endswith(f", {unit.name(place)})") or any(word in owner for word in ("docker", "conmon", HIDDEN))
    return mine and unit.active(place)


def listener(port: int) -> str:
    """Who listens on *port*: command line and control group; "" for nobody."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{words[9]}]")
    if not sockets:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if any(str(one.readlink()) in sockets for one in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                units = re.findall(r"[^/\n]+\.service", (process / "cgroup").read_text("utf-8"))
                return f"{command} (process {process.name}, {units[-1] if units else 'no service'})"
    return HIDDEN


def _programs(job: Job, state: State) -> Iterator[Problem]:  # noqa: ARG001
    """Are the programs there that the steps start?"""
    plan = job.given
    if plan.source == "bundle" and not (shell.there("gpgv") or shell.there("sqv")):
        yield Problem("neither gpgv nor sqv is on this host: no signature can be checked", "apt install gpgv")
    if plan.format == "deb" and not shell.there("apt-get"):
        yield Problem("apt is not on this host", "use another format")
    if plan.format == "oci" and not shell.run(plan.engine or "docker", "info", timeout=30).ok:
        yield Problem(f"{plan.engine} does not answer on this host", f"apt install {plan.engine}, and start it")
    if not shell.there("systemd-run"):
        yield Problem("systemd is not on this host", "deployments are kept and guarded by it")


def _direction(plan: Plan, state: State, target: str) -> Iterator[Problem]:
    """Forward, or back with a reason, and never below the floor."""
    current = state.current
    if current is None or not versions.older(target, current.version):
        return
    if plan.mode == "deploy" and not plan.downgrade:
        yield Problem(
            f"{current.version} runs here, and {target} is older", "give the reason why: --downgrade REASON", GATE
        )
    if current.floor and versions.older(target, current.floor):
        yield Problem(
            f"{current.version} has changed data that nothing before {current.floor} can read: {target} is too old",
            "go forward: deploy a version that mends it",
            GATE,
        )


def _ways(place: Place, plan: Plan, state: State) -> Iterator[Problem]:
    """Could this host come back to what it runs now?"""
    current: Entry | None = state.current
    if current is None:
        return
    mended = plan.mode == "deploy" and plan.version == current.version
    if not pool.whole(place, current) and not mended:
        yield Problem(
            f"there would be no way back: {pool.file(place, current)} is not the file that was verified",
            f"deploy {current.version} again: that brings it anew",
        )


def _is_there(place: Place, plan: Plan, state: State, target: str) -> bool:
    """Whether what the plan wants is what runs, to the last setting."""
    current = state.current
    if current is None or current.version != target:
        return False
    if plan.mode == "rollback":
        return True
    artifact = plan.artifact(place.root)
    same = artifact is not None and artifact.sha256 in ("", current.sha256) and artifact.package == current.package
    return same and pool.settings(place, current).shape == plan.shape


def _notes(place: Place, state: State) -> Iterator[str]:
    """What is odd, and does not stop anything."""
    if shell.there("dpkg") and (found := deb.audit()):
        yield f"dpkg was cut off at work here, which the deployment repairs first: {' '.join(found.split())[:300]}"
    if state.current and state.current.format == "deb" and not deb.installed(place, state.current):
        now = deb.status(place.name)[1] or "nothing"
        yield f"drift: {state.current.package} was deployed, dpkg has {now}"
