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
_OWN = re.compile(
    r"(Exec\w+|Type|Restart\w*|RemainAfterExit|PIDFile|BusName|NotifyAccess|WatchdogSec|Sockets|Timeout\w+|RuntimeMaxSec|"
    r"Standard(Input|Output|Error)|OOMPolicy|FileDescriptorStoreMax|RuntimeDirectoryPreserve|KillMode|SuccessExitStatus)\s*="
)


def name(place: Place) -> str:
    return f"release-migrate-{place.name}.service"


def run(place: Place, plan: Plan, entry: Entry, timeout: float) -> str:
    """The tail of what it printed. Raises :class:`Refused` when it failed."""
    words = plan.service.migrate
    if entry.format == "oci":
        done = image.run(place, plan, entry, words, timeout)
        if not done.ok:
            raise Refused(f"the migration to {entry.version} failed", done.tail, output=done.tail)
        return done.tail
    if entry.format == "deb":
        with deb.bound(place, pool.require(place, entry)) as (folder, properties):
            units = {
                path: (folder / path).read_text("utf-8")
                for path in (f"usr/lib/systemd/system/{unit.name(place)}", f"lib/systemd/system/{unit.name(place)}")
                if (folder / path).is_file()
            }
            _user(place, list((folder / "usr/lib/sysusers.d").glob("*.conf")))
            venv = f"/opt/venvs/{place.name}/bin/"
            return _run(place, units, (venv + words[0], *words[1:]), properties, timeout, entry)
    with record.aside(place.home, "users") as made:
        for number, text in enumerate(text for path, text in plan.units.items() if path.startswith("etc/sysusers.d/")):
            (made / f"{number}.conf").write_text(text, "utf-8")
        _user(place, sorted(made.iterdir()))
    return _run(place, plan.units, files.program(place, entry, words), (), timeout, entry)


def stop(place: Place) -> None:
    """End one that is still running."""
    shell.run("systemctl", "stop", name(place))


def text(service: str, command: Iterable[str], properties: Iterable[str], timeout: float, said: Path) -> str:
    """The unit *service* as one that runs *command* once; *said* is where its output goes."""
    lines = ["[Unit]", "Description=Migration before a release is switched to", "[Service]", *section(service)]
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in command)
    lines += [
        *("Type=oneshot", f"ExecStart={quoted.replace('%', '%%').replace('$', '$$')}", f"TimeoutStartSec={timeout:g}"),
        *(f"StandardOutput=append:{said}", "StandardError=inherit", "RuntimeDirectoryPreserve=yes"),
        *(one.removeprefix("--property=") for one in properties),
    ]
    return "\n".join(lines) + "\n"


def section(service: str) -> list[str]:
    """The lines of a unit's [Service] that hold for another command as well."""
    found, inside = [], False
    for line in service.replace("\\\n", " ").splitlines():
        if line.startswith("["):
            inside = line.strip() == "[Service]"
        elif inside and line.strip() and line[:1] not in "#;" and not _OWN.match(line):
            found.append(line)
    return found


def _run(
    place: Place,
    units: dict[str, str],
    command: tuple[str, ...],
    properties: tuple[str, ...],
    timeout: float,
    entry: Entry,
) -> str:
    service = next((text for path, text in units.items() if path.endswith(f"/{unit.name(place)}")), "")
    if not service:
        raise Refused(f"{entry.file} has no {unit.name(place)}: nobody can tell how to run its migration")
    path, said = place.root / "run/systemd/system" / name(place), place.go.with_name(f"{place.name}.migration")
    said.parent.mkdir(parents=True, exist_ok=True)
    said.unlink(missing_ok=True)
    record.write(path, text(service, command, properties, timeout, said).encode())
    try:
        unit.reload()
        shell.run("systemctl", "reset-failed", name(place))
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
