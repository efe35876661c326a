"""What a form of deployment can do; the steps know no form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import deb
import files
import image
import pool
import shell
import unit

if TYPE_CHECKING:
    from pathlib import Path

    from plan import Plan
    from record import Entry, Place


def prepare(place: Place, plan: Plan, entry: Entry) -> None:
    """All that can be done before anything changes. Raises :class:`Refused`."""
    file = pool.require(place, entry)
    if entry.format == "deb":
        deb.prepare(place, file)
    elif entry.format == "oci":
        image.require(plan.units, entry)
        image.prepare(plan.engine, entry, file)
    else:
        files.prepare(place, entry, file)


def install(place: Place, plan: Plan, entry: Entry, instead: Plan | None, timeout: float = shell.LONG) -> None:
    """Put *entry* in place; the service is stopped. Units of what was there before, *instead*, go. Raises
    :class:`Refused`.
    """
    file = pool.require(place, entry)
    if entry.format == "deb":
        deb.install(place, entry, file, timeout)
    elif entry.format == "oci":
        image.prepare(plan.engine, entry, file)
    else:
        files.install(place, entry, file)
    gone = set(instead.units if instead else ()) - set(plan.units)
    for path in sorted(gone):
        shell.run("systemctl", "disable", path.rpartition("/")[2], quiet=True)
    unit.remove(place, gone)
    unit.write(place, plan.units)
    unit.apply(plan.units)


def installed(place: Place, plan: Plan, entry: Entry) -> bool:
    """Whether exactly *entry* is what would start."""
    if entry.format == "deb":
        return deb.installed(place, entry)
    if entry.format == "oci":
        return image.installed(place, plan, entry)
    return files.installed(place, entry)


def remove(place: Place, plan: Plan, entry: Entry) -> None:
    """Take *entry* away, with its units: there was nothing before it."""
    for one in (unit.socket(place), unit.name(place)):
        shell.run("systemctl", "disable", one, quiet=True)
    if entry.format == "deb":
        deb.hold(place.name, held=False)
        deb.remove(place)
    elif entry.format == "oci":
        image.remove(plan.engine, entry)
    else:
        files.remove(place, entry)
    unit.remove(place, set(plan.units))


def forget(place: Place, plan: Plan, entry: Entry) -> None:
    """What lies outside the pool goes with it."""
    if entry.format == "oci":
        image.remove(plan.engine, entry)
    elif entry.format != "deb":
        files.remove(place, entry)


def traces(place: Place, form: str) -> Path | str:
    """What another form, or somebody by hand, has put where *form* would be; "" for nothing."""
    own, packaged = place.root / "etc/systemd/system" / unit.name(place), deb.present(place.name)
    if form == "deb":
        return own if own.exists() else ""
    return f"the Debian package {place.name}" if packaged else ""
