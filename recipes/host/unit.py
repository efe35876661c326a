"""The service under systemd: its unit files, and what keeps an unconfirmed version from starting after a power cut.

While a deployment is pending, the service may start only while a file below /run is there. A restart of the machine
takes it away: then nothing answers until the boot unit has brought back the version before. Being a condition, it
makes no job wait for another, as an order between the two units would: dpkg's scripts start services, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import record
import shell
from problems import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from record import Place

DROP_IN = """\
# While a deployment is not confirmed, {name} starts only when the deployment says so.
[Unit]
ConditionPathExists=|!{pending}
ConditionPathExists=|{go}
"""
# The packaged unit migrates before each start; a deployment has done that, once.
NO_MIGRATION = "[Service]\nExecStartPre=\n"

BOOT = """\
# A machine that was restarted while a deployment was not confirmed brings back the version before.
[Unit]
Description=Roll back of %i after a restart
ConditionPathExists=/var/lib/release/%i/pending.json
After=local-fs.target network-online.target docker.service
Wants=network-online.target

[Service]
# Not oneshot: whatever waits for the end of the start would wait for dpkg, whose scripts wait for such units.
Type=exec
ExecStart=/usr/bin/python3 /var/lib/release/%i/host.pyz boot --name %i
# What the version before needs may come later, such as its database.
Restart=on-failure
RestartSec=30

[Install]
WantedBy=multi-user.target
"""


def name(place: Place) -> str:
    return f"{place.name}.service"


def socket(place: Place) -> str:
    return f"{place.name}.socket"


def shield(place: Place, form: str) -> None:
    """Write the drop-in and the boot unit; the service as it runs is not touched."""
    place.go.parent.mkdir(parents=True, exist_ok=True)
    place.go.touch()
    text = DROP_IN.format(name=place.name, pending=place.pending, go=place.go)
    write(place, {_drop_in(place): text + (NO_MIGRATION if form == "deb" else ""), _boot(): BOOT})
    reload()
    shell.must("systemctl", "enable", f"release-boot@{place.name}.service", why="the boot unit cannot be enabled")
    record.flush(place.root / "etc/systemd/system/multi-user.target.wants")


def unshield(place: Place) -> None:
    """Take them away: nothing is left to be protected."""
    shell.run("systemctl", "disable", f"release-boot@{place.name}.service")
    drop_in = place.root / _drop_in(place)
    record.remove(drop_in)
    if drop_in.parent.is_dir() and not any(drop_in.parent.iterdir()):
        drop_in.parent.rmdir()
    place.go.unlink(missing_ok=True)
    reload()


def write(place: Place, units: Mapping[str, str]) -> None:
    """Write unit files; the paths are relative to the root."""
    for path, text in sorted(units.items()):
        data = text.encode()
        if not (place.root / path).is_file() or (place.root / path).read_bytes() != data:
            record.write(place.root / path, data)


def apply(units: Mapping[str, str]) -> None:
    """Make the users and folders that *units* describe; they have been written."""
    for path in sorted(units):
        if path.startswith("etc/sysusers.d/"):
            shell.must("systemd-sysusers", f"/{path}", why="the service's user cannot be made")
    for path in sorted(units):
        if path.startswith("etc/tmpfiles.d/"):
            shell.must("systemd-tmpfiles", "--create", f"/{path}", why="the service's folders cannot be made")


def remove(place: Place, paths: set[str]) -> None:
    for path in sorted(paths):
        record.remove(place.root / path)


def reload() -> None:
    shell.must("systemctl", "daemon-reload", why="systemd cannot read its units")


def stop(place: Place) -> None:
    """Stop it; nothing starts it until :func:`start`."""
    place.go.unlink(missing_ok=True)
    # Its socket first: a connection would start the service again.
    for one in (socket(place), name(place)):
        if show(place, "LoadState", "ActiveState", of=one) != {"LoadState": "not-found", "ActiveState": "inactive"}:
            shell.run("systemctl", "stop", one)


def start(place: Place, units: Mapping[str, str]) -> None:
    """Enable and start it, its socket first when it has one. Raises :class:`Refused` with what it said."""
    place.go.parent.mkdir(parents=True, exist_ok=True)
    place.go.touch()
    reload()
    has_socket = any(path.endswith(f"/{socket(place)}") for path in units)
    for one in [socket(place)] * has_socket + [name(place)]:
        shell.run("systemctl", "reset-failed", one)
        shell.must("systemctl", "enable", one, why=f"{one} cannot be enabled")
        done = shell.run("systemctl", "start", one)
        if not done.ok:
            raise Refused(f"{one} does not start", journal(place) or done.tail)


def show(place: Place, *properties: str, of: str = "") -> dict[str, str]:
    """What systemd knows of the service, or of the unit *of*."""
    argv = ("systemctl", "show", f"--property={','.join(properties)}", of or name(place))
    said = shell.run(*argv, quiet=True).output
    found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return {one: found.get(one, "") for one in properties}


def active(place: Place) -> bool:
    """Whether it runs."""
    return show(place, "ActiveState")["ActiveState"] == "active"


def journal(place: Place, lines: int = 20) -> str:
    """The last words of the service."""
    said = shell.run("journalctl", "--unit", name(place), "--lines", str(lines), "--no-pager", "--output=cat")
    return re.sub(r"[^\S\n]+", " ", said.output).strip() if said.ok else ""


def _drop_in(place: Place) -> str:
    return f"etc/systemd/system/{name(place)}.d/release.conf"


def _boot() -> str:
    return "etc/systemd/system/release-boot@.service"
