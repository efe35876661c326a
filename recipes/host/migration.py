"""The migration of the new version, once, before anything is switched: the old version still serves.

It runs in the service's own unit with another command: as the same user, with the same settings, secrets and walls.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import deb
import files
import image
import pool
import record
import shell
import unit
from problems import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from plan import Plan
    from record import Entry, Place

# What is the service's own affair; the rest of its section holds for the migration, too.
_SHARED = (
    r"Type|Restart\w*|RemainAfterExit|PIDFile|BusName|NotifyAccess|WatchdogSec|Sockets|Timeout\w+|RuntimeMaxSec|"
    r"Standard(Input|Output|Error)|OOMPolicy|FileDescriptorStoreMax|RuntimeDirectoryPreserve|KillMode|SuccessExitStatus"
)
_OWN = re.compile(rf"({_SHARED}|Exec\w+)\s*=")
_CLIENT = re.compile(rf"({_SHARED}|ExecStop|ExecReload)\s*=")  # of a container, which the other commands are about


def name(place: Place) -> str:
    return f"release-migrate-{place.name}.service"


def run(place: Place, plan: Plan, entry: Entry, timeout: float) -> str:
    """The tail of what it printed. Raises :class:`Refused` when it failed."""
    words = plan.service.migrate
    if entry.format == "oci":
        job = image.migration(_service(place, plan.units), place.name, entry, words)
        return _run(place, once(job, (), timeout, _said(place), own=_CLIENT), timeout, entry)
    if entry.format == "deb":
        with deb.bound(place, pool.require(place, entry)) as (folder, properties):
            units = {
                path: (folder / path).read_text("utf-8")
                for path in (f"usr/lib/systemd/system/{unit.name(place)}", f"lib/systemd/system/{unit.name(place)}")
                if (folder / path).is_file()
            }
            _user(place, list((folder / "usr/lib/sysusers.d").glob("*.conf")))
            venv = f"/opt/venvs/{place.name}/bin/"
            lines = (*properties, *command(venv + words[0], *words[1:]))
            return _run(place, once(_service(place, units), lines, timeout, _said(place)), timeout, entry)
    with record.aside(place.home, "users") as made:
        for number, text in enumerate(text for path, text in plan.units.items() if path.startswith("etc/sysusers.d/")):
            (made / f"{number}.conf").write_text(text, "utf-8")
        _user(place, sorted(made.iterdir()))
    lines = command(*files.program(place, entry, words))
    return _run(place, once(_service(place, plan.units), lines, timeout, _said(place)), timeout, entry)


def stop(place: Place) -> None:
    """End one that is still running."""
    shell.run("systemctl", "stop", name(place))


def command(*words: str) -> tuple[str, ...]:
    """The lines of a unit that run *words* once."""
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    # The folder below /run is that of the service, which may be running.
    return f"ExecStart={quoted.replace('%', '%%').replace('$', '$$')}", "RuntimeDirectoryPreserve=yes"


def once(service: str, more: Iterable[str], timeout: float, said: Path, own: re.Pattern[str] = _OWN) -> str:
    """The unit *service* as one that is run once; *said* is where its output goes."""
    lines = ["[Unit]", "Description=Migration before a release is switched to", "[Service]", "Type=oneshot"]
    lines += [*section(service, own), *more, f"TimeoutStartSec={timeout:g}"]
    return "\n".join([*lines, f"StandardOutput=append:{said}", "StandardError=inherit", ""])


def section(service: str, own: re.Pattern[str] = _OWN) -> list[str]:
    """The lines of a unit's [Service] that hold for another command as well."""
    found, inside = [], False
    for line in service.replace("\\\n", " ").splitlines():
        if line.startswith("["):
            inside = line.strip() == "[Service]"
        elif inside and line.strip() and line[:1] not in "#;" and not own.match(line):
            found.append(line)
    return found


def _service(place: Place, units: dict[str, str]) -> str:
    """The service's own unit among *units*."""
    for path, found in units.items():
        if path.endswith(f"/{unit.name(place)}"):
            return found
    raise Refused(f"there is no {unit.name(place)}: nobody can tell how to run the migration")


def _said(place: Place) -> Path:
    return place.go.with_name(f"{place.name}.migration")


def _run(place: Place, job: str, timeout: float, entry: Entry) -> str:
    path, said = place.root / "run/systemd/system" / name(place), _said(place)
    said.parent.mkdir(parents=True, exist_ok=True)
    said.unlink(missing_ok=True)
    record.write(path, job.encode())
    try:
        unit.reload()
        shell.run("systemctl", "reset-failed", name(place), quiet=True)
        done = shell.run("systemctl", "start", name(place), timeout=timeout + 30)
        output = said.read_text("utf-8", errors="replace") if said.is_file() else ""
        tail = "\n".join(output.strip().splitlines()[-shell.TAIL :])
        if not done.ok:
            why = shell.run("systemctl", "show", "--property=Result,ExecMainStatus", name(place)).output
            stop(place)
            told = tail or done.tail
            raise Refused(f"the migration to {entry.version} failed ({', '.join(why.split())})", told, output=told)
        return tail
    finally:
        record.remove(path)
        said.unlink(missing_ok=True)
        unit.reload()


def _user(place: Place, configured: list[Path]) -> None:
    """On a first install the service's user is not there yet."""
    for path in configured:
        shell.must("systemd-sysusers", str(path), why=f"the user of {place.name} cannot be made")
