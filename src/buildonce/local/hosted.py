"""Forms ``deb`` and ``pex``: a Debian host in a container, which the release is deployed to as to any of production.

The host is systemd's, without a way out; it is reached by ssh, through a gate that is open for the deployment only. It
stays when the next version comes, so that this one is an upgrade.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce.debs import deb
from buildonce.debs.closure import names
from buildonce.deployment import keyrings, orders
from buildonce.deployment.controller import Controller
from buildonce.deployment.orders import Order, Piece
from buildonce.deployment.orders import Wish as Deploying
from buildonce.deployment.playing import Player
from buildonce.environments import Environment
from buildonce.errors import MissingToolError, ReleaseError, VerificationError
from buildonce.local import gate, hosts, ssh
from buildonce.local.given import FORM
from buildonce.needs import APPLICATION
from buildonce.system import images, share
from buildonce.system.services import Service

if TYPE_CHECKING:
    from buildonce.deployment.verdicts import Report
    from buildonce.local.given import Given
    from buildonce.system.services import Found, Services

__all__ = ["Hosted", "version"]

_HOST: Final = ("systemd", "systemd-sysv", "dbus", "openssh-server", "apt", "gpgv", "python3")
_OFTEN: Final = 0.2  # seconds
_BOOT: Final = 60.0  # seconds
_SETTLE: Final = 1.0  # seconds; nobody uses it yet


class Hosted:
    """A :class:`buildonce.local.given.Runs`."""

    def __init__(self, given: Given) -> None:
        """Raises :class:`MissingToolError` when what reaches hosts is not there."""
        self._given = given
        self._base = ""
        self._logs = given.state / "up" / given.place.name
        self._player(given.project.root)
        if shutil.which("ssh") is None:
            raise MissingToolError("the program ssh is not on this machine", hint="sudo apt-get install openssh-client")

    def prepare(self) -> str:
        """Make the image of a host that has what the artifact depends on."""
        chosen = self._given.chosen
        wanted = {*_HOST, *self._given.project.settings.up.packages, *self._depends()}
        self._base = hosts.image(chosen.target, wanted, self._given.means.system)
        return self._base

    def keeps(self, running: Found) -> bool:
        """When the host is one of this image, for this form."""
        same = running.facts.get(FORM) == self._given.chosen.form
        return same and running.running and running.image == images.identity(self._base)

    def start(self) -> Found:
        """Start the host, unless it runs, and deploy the release to it."""
        place = self._given.place
        found = place.find(APPLICATION)
        fresh = found is None
        if found is None:
            found = place.start(
                Service(
                    role=APPLICATION,
                    image=self._base,
                    aliases=(APPLICATION,),
                    systemd=True,
                    facts={FORM: self._given.chosen.form},
                )
            )
            self._boot(found)
        self._settings(found)
        try:
            self._deploy(found)
        except BaseException:
            if not fresh:  # else it is removed
                self._go_back(found)
            raise
        return found

    def told(self, found: Found) -> str:
        """The end of the service's journal."""
        unit = self._given.project.name
        said = self._given.place.execute(found, "journalctl", "-q", "--no-pager", "-n", "25", "-o", "cat", "-u", unit)
        return said.output

    def abandon(self) -> None:
        """Nothing: the image of the host is kept for the next time."""

    def _depends(self) -> tuple[str, ...]:
        """What the release needs of Debian: what its deb for the target says, or else the target's own."""
        chosen = self._given.chosen
        debs = (one for one in chosen.said.artifacts if one.kind == "deb" and one.target == chosen.target.name)
        found = next(debs, None)
        if found is None:
            return chosen.target.runtime
        return tuple(first for first, *_ in names(deb.read(chosen.folder / found.file).fields.get("Depends", "")))

    def _boot(self, found: Found) -> None:
        end = time.monotonic() + _BOOT
        while (said := self._given.place.execute(found, "systemctl", "is-system-running")).output.strip() not in (
            "running",
            "degraded",
        ):
            now = self._given.place.state(found.id)
            if now is None or not now.running or time.monotonic() > end:
                raise ReleaseError(
                    f"the host did not start: {said.output.strip()}",
                    hint="its systemd needs an engine that allows SYS_ADMIN to a container",
                    log=self._given.place.told(found),
                )
            time.sleep(_OFTEN)

    def _settings(self, found: Found) -> None:
        """As an administrator brings them, before any release: the environment and the credentials."""
        place, folder = self._given.place, f"/etc/{self._given.project.name}"
        place.execute(found, "install", "-d", "-m", "0755", folder, f"{folder}/credentials")
        lines = "".join(f'{name}="{value}"\n' for name, value in self._given.environment.items())
        place.put(found, folder, {"env": lines.encode()}, mode=0o600)
        secret = {name: text.encode() for name, text in self._given.credentials.items()}
        place.put(found, f"{folder}/credentials", secret, mode=0o600)

    def _deploy(self, found: Found) -> None:
        given, place = self._given, self._given.place
        interpreter = str(given.chosen.target.interpreter)
        shutil.rmtree(self._logs, ignore_errors=True)
        self._logs.mkdir(parents=True, mode=0o700)
        door = gate.open_gate(place, self._base, interpreter, ssh.PORT, role="door")
        try:
            with tempfile.TemporaryDirectory(prefix="up-") as scratch:
                inventory = ssh.inventory(place, found, gate.published(door), Path(scratch))
                order = self._order(inventory)
                player = self._player(inventory)
                report = Controller(order=order, player=player, system=given.means.system, folder=self._logs).run()
        finally:
            place.execute(found, "systemctl", "stop", "ssh")
            place.remove(door)
        self._require(report, found)

    def _player(self, inventory: Path) -> Player:
        return Player(
            self._given.means.system.host,
            inventory=inventory,
            recipe=share.path("recipes", "ansible"),
            cwd=self._given.project.root,
            logs=self._logs,
        )

    def _order(self, inventory: Path) -> Order:
        given, chosen = self._given, self._given.chosen
        settings = Environment(
            inventory=str(inventory),
            format=chosen.form,
            timeout=given.project.settings.up.timeout,
            settle=_SETTLE,
        )
        return Order(
            **orders.identity(),
            project=given.project,
            environment=given.place.name,
            settings=settings,
            wish=Deploying(
                environment=given.place.name,
                what=chosen.version,
                downgrade="whoever runs `release up` wants this one",
                break_lock=True,  # of a command that was killed: nobody else deploys to this host
            ),
            version=chosen.version,
            folder=chosen.folder,
            pieces=(Piece.of(chosen.said, chosen.folder, chosen.artifact),),
            keyring=keyrings.read(given.keys, given.home),
            packages={},  # the host has them already
        )

    def _require(self, report: Report, found: Found) -> None:
        if not report.exit_code:
            return
        problems = [problem for one in report.hosts for problem in one.problems]
        messages = [one.message for one in problems] or [report.problem or report.verdict]
        kind = VerificationError if report.exit_code == VerificationError.exit_code else ReleaseError
        raise kind(
            f"{report.verdict.replace('_', ' ')}: {messages[0].splitlines()[0]}",
            where=report.folder,
            # What has several lines is the journal, which is below.
            hint=next((one.hint for one in problems if one.hint and "\n" not in one.hint), ""),
            log=self.told(found),
        )

    def _go_back(self, found: Found) -> None:
        """What was interrupted is not left to the host's guard, which waits for minutes."""
        name = self._given.project.name
        program = ("/usr/bin/python3", f"/var/lib/release/{name}/host.pyz")
        for step in ("rollback", "unlock"):
            self._given.place.execute(found, *program, step, "--name", name)


def version(place: Services, found: Found, name: str) -> str:
    """The version of the release *name* that the host has, as it records it; "" for none."""
    said = place.execute(found, "cat", f"/var/lib/release/{name}/state.json")
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(said.output)["current"]["version"])
    return ""
