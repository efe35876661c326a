"""Form deb: the package, installed by dpkg and apt from the verified file in the pool, never from elsewhere.

A package that was cut off while it was unpacked or configured makes apt refuse everything; dpkg alone gets over it,
given the whole file.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import time
from typing import TYPE_CHECKING

import record
import shell
from problems import VERIFICATION, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from plan import Artifact
    from record import Entry, Place

CONFIGURATION = "--force-confold"  # what the administrator changed stays
DPKG = ("dpkg", CONFIGURATION, "--force-downgrade")
APT = (
    *("apt-get", "--yes", "-q", "--no-install-recommends", "--allow-downgrades", "--allow-change-held-packages"),
    *("-o", "DPkg::Lock::Timeout=120", "-o", f"Dpkg::Options::={CONFIGURATION}", "-o", "APT::Sandbox::User=root"),
)
LOCKS = ("lock-frontend", "lock")
_INSTALLED = re.compile(r"[ih]i ")
_GONE = re.compile(r"(|un |[a-z]c )")


def status(name: str) -> tuple[str, str]:
    """What dpkg says of the package: three letters, such as ``ii `` (dpkg-query(1)), and the version."""
    done = shell.run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}|${Version}", name)
    letters, _, version = done.output.partition("|") if done.ok else ("", "", "")
    return letters, version.strip()


def present(name: str) -> bool:
    """Whether anything of the package but its configuration is here."""
    return not _GONE.fullmatch(status(name)[0])


def installed(place: Place, entry: Entry) -> bool:
    letters, version = status(place.name)
    return bool(_INSTALLED.fullmatch(letters)) and version == entry.package


def check(place: Place, file: Path, artifact: Artifact) -> str:
    """The version of the deb *file*, which has to be this package, for this host."""
    said = shell.must("dpkg-deb", "--field", str(file), "Package", "Version", "Architecture", why="no Debian package")
    fields = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    found = fields.get("Package"), fields.get("Version"), fields.get("Architecture")
    if found[0] != place.name or found[1] != artifact.package or found[2] not in (artifact.architecture, "all"):
        wanted = f"{place.name} {artifact.package} {artifact.architecture}"
        raise Refused(f"{file.name} is {' '.join(map(str, found))}, not {wanted}", kind=VERIFICATION)
    return str(found[1])


def prepare(place: Place, file: Path) -> None:
    """See that apt will be able to install it, and bring what it depends on to this host."""
    wait_for_dpkg(place)
    broken = bool(audit())  # apt refuses; `install` repairs it first
    needs = shell.must("dpkg-deb", "--field", str(file), "Depends", why=f"{file.name} is no Debian package").strip()
    done = shell.run(*APT, "satisfy", needs) if needs else None  # now: the migration needs them, too
    if done and not done.ok and not broken:
        raise Refused(f"what {place.name} depends on cannot be had on this host", done.tail)


def add(place: Place, files: list[Path]) -> None:
    """Install those of the verified packages *files* that this host lacks; nothing that it has changes its version."""
    wait_for_dpkg(place)
    lacking = [file for file in files if not present(_name(file))]
    if lacking:
        done = shell.run(*APT, "--no-upgrade", "install", *map(str, lacking))
        if not done.ok:  # this host has others of their kind: what is needed comes from where its packages come from
            shell.run("dpkg", CONFIGURATION, "--configure", "--pending")


def _name(file: Path) -> str:
    return shell.must("dpkg-deb", "--field", str(file), "Package", why=f"{file.name} is no Debian package").strip()


def install(place: Place, entry: Entry, file: Path, timeout: float = shell.LONG) -> None:
    """Install the verified *file*; when it ends well, the package is whole and of this version. Raises
    :class:`Refused`.
    """
    wait_for_dpkg(place)
    letters, _ = status(place.name)
    said = (
        repair(place, file, timeout)
        if audit() or not (_INSTALLED.fullmatch(letters) or _GONE.fullmatch(letters))
        else ""
    )
    if not (said and installed(place, entry)):
        done = shell.run(*APT, "install", "--reinstall", str(file), timeout=timeout)
        said = done.tail
        if not done.ok and not installed(place, entry):
            said += shell.run(*DPKG, "--install", str(file), timeout=timeout).tail
    if not installed(place, entry):
        now = " ".join(status(place.name)).strip() or "not there"
        raise Refused(f"{place.name} {entry.package} cannot be installed; the package is {now}", said)


def repair(place: Place, file: Path, timeout: float = shell.LONG) -> str:
    """Bring a package database that was cut off at work in order; answers what the tools said."""
    first = shell.run(*DPKG, "--install", str(file), timeout=timeout)
    wait_for_dpkg(place)
    then = shell.run("dpkg", CONFIGURATION, "--configure", "--pending", timeout=timeout)
    return f"{first.tail}\n{then.tail}\n"


def remove(place: Place) -> None:
    """Remove the package; configuration and data stay."""
    wait_for_dpkg(place)
    letters, _ = status(place.name)
    if _GONE.fullmatch(letters):
        return
    # dpkg's own removal does not mind a package that is half there; nothing depends on ours.
    done = shell.run("dpkg", "--force-remove-reinstreq", "--remove", place.name)
    if present(place.name):
        raise Refused(f"{place.name} cannot be removed", done.tail)


def hold(name: str, *, held: bool) -> None:
    """Let nothing but a deployment change the version."""
    shell.run("apt-mark", "hold" if held else "unhold", name)


def audit() -> str:
    """What dpkg finds wrong with the packages of this host; nothing is good."""
    return shell.run("dpkg", "--audit").output.strip()


def unpack(file: Path, into: Path) -> None:
    """Lay the package's files into a folder, to be used from there."""
    shell.must("dpkg-deb", "--extract", str(file), str(into), why=f"{file.name} cannot be unpacked")


def wait_for_dpkg(place: Place, seconds: float = 300) -> None:
    """Wait for a dpkg that is still at work: one whose apt was killed goes on alone."""
    end = time.monotonic() + seconds
    while any(_locked(place.root / "var/lib/dpkg" / name) for name in LOCKS):
        if time.monotonic() > end:
            raise Refused("dpkg is at work on this host, and does not end", "ps -C dpkg,apt-get -o pid,etime,args")
        time.sleep(0.2)


def _locked(path: Path) -> bool:
    try:
        with path.open("r+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


@contextlib.contextmanager
def bound(place: Place, file: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The package's files aside, and the lines of a unit that sees them where they will be."""
    venv = f"opt/venvs/{place.name}"
    with record.aside(place.home, "unpacked") as folder:
        unpack(file, folder)
        point = place.root / venv
        made = [one for one in (point, point.parent) if not one.exists()]
        try:
            yield folder, (f"BindReadOnlyPaths={folder / venv}:/{venv}",)
        finally:
            for one in made:
                with contextlib.suppress(OSError):
                    one.rmdir()
