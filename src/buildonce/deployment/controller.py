"""The loop of a deployment: preflight, prepare, batch after batch, and back when one of them fails.

The batches are ours because Ansible's own let a host that is not reached pass (``serial`` with
``max_fail_percentage: 0``), and do not stop the next batch when one host fails (``any_errors_fatal``).
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from buildonce.deployment import batches, cargo, verdicts
from buildonce.deployment.fleet import Fleet
from buildonce.deployment.verdicts import Problem, Report
from buildonce.errors import BuildError, ReleaseError
from buildonce.model import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from buildonce.deployment.orders import Order
    from buildonce.deployment.playing import Event, Player
    from buildonce.environments import Environment
    from buildonce.system import System

__all__ = ["Controller", "balancer"]

_MOST_SKEW: Final = 300.0  # seconds
_LOST: Final = 30.0  # seconds beyond the guard that a lost host gets to go back by itself


@dataclass
class Controller:
    """One deployment, from its order to its report."""

    order: Order
    player: Player
    system: System
    folder: Path  # where its files and logs are
    begun: float = field(default_factory=time.monotonic)
    problem: str = ""
    tried: bool = False
    migrated: bool = False

    def run(self, *, dry: bool = False) -> Report:
        """Carry the order out, or with *dry* look at the hosts alone. What hosts do is reported, never raised."""
        fleet = Fleet(self._hosts())
        files = self.folder / "files"
        files.mkdir()
        cargo.load(self.order, files)
        self._inspect(fleet)
        wanted = fleet.of("not_reached")
        cut = batches.split(wanted, self.order.settings.batches)
        if dry or fleet.of("unknown", "unreachable", "preflight_failed", "verify_failed") or not wanted:
            if not dry and not wanted:
                self._tidy(fleet)
            return self._report(fleet, cut)
        try:
            if self._hook("before") and self._prepare(fleet, wanted):
                self._batches(fleet, cut)
        finally:
            self._play("unlock", "give the locks back", wanted, release_break_lock=False)
        self._tidy(fleet)
        return self._finished(fleet, cut)

    def _hosts(self) -> tuple[str, ...]:
        balancer = self.order.settings.balancer
        hosts = self.player.hosts(without=(balancer.haproxy,) if balancer and balancer.haproxy else ())
        if not hosts:
            raise ReleaseError(
                "the inventory has no hosts to deploy to",
                where=str(self.order.project.root / self.order.settings.inventory),
                hint="write them into it, a line each, below [app]",
            )
        return hosts

    def _inspect(self, fleet: Fleet) -> None:
        hosts = [one.host for one in fleet.reports()]
        events = self._play("preflight", f"look at {_hosts(hosts)}", hosts)
        fleet.inspected(events, now=time.time(), most_skew=_MOST_SKEW)

    def _prepare(self, fleet: Fleet, hosts: Sequence[str]) -> bool:
        return fleet.prepared(self._play("prepare", f"bring it to {_hosts(hosts)}, verify it there", hosts))

    def _batches(self, fleet: Fleet, cut: Sequence[tuple[str, ...]]) -> None:
        for number, batch in enumerate(cut, 1):
            self.tried = True
            migrate = number == 1 and self.order.wish.mode == "deploy"
            title = f"batch {number} of {len(cut)}: {', '.join(batch)}"
            fleet.deployed(batch, self._play("deploy", title, batch, release_migrate=migrate))
            done = set(batch) <= set(fleet.of("confirmed"))
            if not (done and self._accept(number)):
                self._go_back(fleet, batch)
                return
            if number < len(cut) and self.order.settings.soak:
                self.system.progress.step(f"soak for {self.order.settings.soak:g} s")
                time.sleep(self.order.settings.soak)

    def _accept(self, number: int) -> bool:
        if not self.order.settings.acceptance:
            return True
        self.system.progress.step("acceptance")
        return self._program("acceptance", self.order.settings.acceptance, f"after batch {number}")

    def _go_back(self, fleet: Fleet, batch: Sequence[str]) -> None:
        """What the environment wants when a batch has failed."""
        policy = self.order.settings.on_failure
        confirmed = fleet.of("confirmed")
        wanted = [host for host in confirmed if policy == "rollback" or (policy == "batch" and host in batch)]
        back = [host for host in wanted if fleet.before(host)]
        for host in wanted:
            if host not in back:
                fleet.add(host, Problem(message="it had no version before this one, and keeps it"))
        if back:
            order = replace(self.order, version="", wish=replace(self.order.wish, mode="rollback"), folder=None)
            place = self.folder / "back"
            place.mkdir()
            cargo.load(order, place)
            events = self._play("rollback", f"back on {_hosts(back)}", back, release_files=str(place))
            fleet.sent_back(back, events)

    def _tidy(self, fleet: Fleet) -> None:
        """Take from hosts that were as wanted before what a deployment left that is gone.

        Its lock, which preflight lets pass for ``--break-lock`` alone; and their place in the balancer, which they
        lost when they went back by themselves.
        """
        if locked := fleet.locked():
            self._play("unlock", f"break the lock of {_hosts(locked)}", locked)
        if self.order.settings.balancer and (hosts := fleet.of("unchanged")):
            self._play("undrain", f"put {_hosts(hosts)} into the balancer", hosts)

    def _finished(self, fleet: Fleet, cut: tuple[tuple[str, ...], ...]) -> Report:
        if lost := fleet.of("unreachable", "unknown"):
            fleet.seen(self._play("status", f"ask {_hosts(lost)} again", lost))
        report = self._report(fleet, cut)
        self._hook("after" if report.verdict == "succeeded" else "failed")
        return replace(report, problem=self.problem)

    def _report(self, fleet: Fleet, cut: tuple[tuple[str, ...], ...]) -> Report:
        hosts = fleet.reports()
        return Report(
            deployment=self.order.deployment,
            name=self.order.project.name,
            environment=self.order.environment,
            mode=self.order.wish.mode,
            version=self.order.version,
            verdict=verdicts.verdict(hosts, tried=self.tried, problem=self.problem),
            hosts=hosts,
            batches=cut,
            seconds=time.monotonic() - self.begun,
            folder=str(self.folder),
            problem=self.problem,
        )

    def _play(self, playbook: str, title: str, hosts: Sequence[str], **more: Any) -> tuple[Event, ...]:
        self.system.progress.step(title)
        variables = {
            "release_name": self.order.project.name,
            "release_version": self.order.version,
            "release_files": str(self.folder / "files"),
            "release_migrate": False,
            "release_break_lock": self.order.wish.break_lock,
            "release_balancer": balancer(self.order.settings),
            **more,
        }
        return self.player.play(playbook, hosts, variables, self._heard())

    def _heard(self) -> Callable[[Event], None]:
        def heard(event: Event) -> None:
            if event.status in ("failed", "unreachable"):
                for problem in event.problems:
                    self.system.progress.note(f"{event.host}: {problem.message.splitlines()[0]}")
            elif event.step:
                self.system.progress.note(f"{event.host}: {event.step}")

        return heard

    def _hook(self, name: str) -> bool:
        line = str(getattr(self.order.settings.hooks, name))
        return not line or self._program(f"the hook `{name}`", line, "")

    def _program(self, what: str, line: str, when: str) -> bool:
        """Run a program of the user; what is wrong with it is the deployment's problem."""
        environment = {
            "RELEASE_NAME": self.order.project.name,
            "RELEASE_ENVIRONMENT": self.order.environment,
            "RELEASE_VERSION": self.order.version,
            "RELEASE_DEPLOYMENT": self.order.deployment,
        }
        command = Command(
            argv=tuple(shlex.split(line)), cwd=str(self.order.project.root), environment=tuple(environment.items())
        )
        try:
            self.system.host.run(command, log=self.folder / "programs.log")
        except (BuildError, ReleaseError) as error:
            tail = error.log.strip().splitlines()
            last = tail[-1] if tail else error.problems[0].message
            self.problem = f"{' '.join(filter(None, (what, 'failed', when)))}: {last}"
            self.system.progress.note(self.problem)
            return False
        return True


def balancer(settings: Environment) -> dict[str, Any] | None:
    """As the recipe wants it."""
    found = settings.balancer
    if found is None:
        return None
    if found.haproxy:
        return {"haproxy": {"host": found.haproxy, "backend": found.backend, "socket": found.socket}}
    return {"hook": {"drain": found.drain, "undrain": found.undrain}}


def _hosts(hosts: Sequence[str]) -> str:
    return hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts"
