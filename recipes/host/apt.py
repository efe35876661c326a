"""Source apt: the exact version from a signed repository, by apt's own chain of trust, into the pool.

Only that repository is asked. Without the stricter error mode apt ends well although a signature is wrong, as long
as it has older lists.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import deb
import record
import shell
from problems import VERIFICATION, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from plan import Artifact, Plan
    from record import Place

STRICT = (
    *("-o", "APT::Update::Error-Mode=any", "-o", "Acquire::AllowInsecureRepositories=false"),
    *("-o", "Acquire::AllowDowngradeToInsecureRepositories=false", "-o", "APT::Get::AllowUnauthenticated=false"),
    *("-o", "Acquire::Check-Valid-Until=true", "-o", "Acquire::Check-Date=true"),
)
# apt says these of what is not as it was signed, or too old to be believed.
_BAD = re.compile(
    r"BADSIG|NO_PUBKEY|EXPSIG|EXPKEYSIG|REVKEYSIG|signatures? (was|were|could|is|verif)|not signed|GPG error|OpenPGP|"
    r"Hash Sum mismatch|unexpected size|is expired|not valid yet|insecure|No Hash entry|Clearsigned file|"
    r"Sub-process /usr/bin/sqv"
)
_MISSING = re.compile(r"Version '.*' for '.*' was not found|Unable to locate package|No packages found")


def source(place: Place, plan: Plan, artifact: Artifact) -> str:
    """The repository as apt reads it (sources.list(5))."""
    if plan.apt is None:
        raise Refused("the plan's source is apt, and it names no repository")
    suite = plan.apt.suite.replace("{codename}", artifact.codename)
    lines = ["Types: deb", f"URIs: {plan.apt.uri.replace(' ', '%20')}", f"Suites: {suite}"]
    if not suite.endswith("/"):
        lines.append(f"Components: {plan.apt.component}")
    return "\n".join([*lines, f"Signed-By: {place.keyring}", ""])


def fetch(place: Place, plan: Plan, artifact: Artifact, into: Path) -> Path:
    """The deb that the plan asks for, in the empty folder *into*. Raises :class:`Refused`."""
    listed = place.root / "etc/apt/sources.list.d" / f"release-{place.name}.sources"
    if not place.keyring.is_file():
        raise Refused(f"{place.keyring} is missing: nobody can tell whose repository this is", kind=VERIFICATION)
    record.write(listed, source(place, plan, artifact).encode())
    alone = (
        *(
            "-o",
            f"Dir::Etc::SourceList={listed}",
            "-o",
            "Dir::Etc::SourceParts=-",
            "-o",
            "APT::Get::List-Cleanup=false",
        ),
        *("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="),
        *STRICT,
    )
    updated = shell.run("apt-get", "-q", *alone, "update")
    if not updated.ok:
        bad = VERIFICATION if _BAD.search(updated.output) else ""
        raise Refused("the apt repository cannot be used", updated.tail, kind=bad)
    wanted = f"{place.name}={artifact.package}"
    # In its folder: apt-get download writes there, and nowhere else.
    got = shell.run("apt-get", "-q", *alone, "-o", "APT::Sandbox::User=root", "download", wanted, folder=into)
    files = sorted(into.glob("*.deb"))
    if not got.ok or len(files) != 1:
        if _MISSING.search(got.output):
            raise Refused(f"{wanted} is not published in {listed.name}", got.tail)
        raise Refused(f"{wanted} cannot be had", got.tail, kind=VERIFICATION if _BAD.search(got.output) else "")
    deb.check(place, files[0], artifact)
    return files[0]
