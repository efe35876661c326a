"""The loop: which playbook is played on which hosts, and what becomes of the whole, however hosts answer.

A scripted player stands for Ansible; ``tests/integration/test_deploy.py`` has real hosts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.deployment import cargo
from buildonce.deployment.controller import Controller
from buildonce.deployment.orders import Order, Wish
from buildonce.deployment.playing import Event
from buildonce.environments import Balancer, Environment, Hooks
from buildonce.service import Service
from buildonce.system import System
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner
from buildonce.system.store import Store
from tests import small_project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from buildonce.deployment.verdicts import Report

BAD = "the service answers 503"


def event(host: str, step: str, *, ok: bool = True, **facts: Any) -> Event:
    problems = [] if ok else [{"message": facts.pop("why", BAD), "hint": "", "kind": facts.pop("kind", "")}]
    result = {"step": step, "ok": ok, "changed": ok, "problems": problems, **facts}
    return Event(host=host, task=step, status="ok" if ok else "failed", result=result, message="")


def lost(host: str) -> Event:
    return Event(host=host, task="switch", status="unreachable", result={}, message="Connection timed out")


def found(host: str, **facts: Any) -> Event:
    return event(host, "preflight", **{"current": "1.0", "clock": time.time(), "unchanged": False, **facts})


@dataclass
class Script:
    """Answers playbooks as hosts that are well would, but for what *say* has of a host in a playbook."""

    names: tuple[str, ...]
    say: Mapping[tuple[str, str], Sequence[Event]] = field(default_factory=dict)
    played: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    migrated: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # the hosts whose lock was taken away, whoever had it

    def hosts(self, *, without: Sequence[str] = ()) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in without)

    def play(
        self, playbook: str, hosts: Sequence[str], variables: Mapping[str, Any], heard: Callable[[Event], None]
    ) -> tuple[Event, ...]:
        self.played.append((playbook, tuple(hosts)))
        if variables["release_migrate"]:
            self.migrated += hosts
        if playbook == "unlock" and variables["release_break_lock"]:
            self.broken += hosts
        said = [one for host in hosts for one in self.say.get((playbook, host), self._well(playbook, host))]
        for one in said:
            heard(one)
        return tuple(said)

    def _well(self, playbook: str, host: str) -> Sequence[Event]:
        return {
            "preflight": [found(host)],
            "prepare": [event(host, "lock"), event(host, "stage")],
            "deploy": [event(host, step, version="2.0") for step in ("arm", "switch", "check", "confirm")],
            "rollback": [event(host, step, version="1.0") for step in ("arm", "switch", "check", "confirm")],
            "status": [event(host, "status", current={"version": "1.0"}, healthy=True, pending=False)],
        }.get(playbook, [])

    @property
    def changing(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(name, hosts) for name, hosts in self.played if name in ("deploy", "rollback")]


@pytest.fixture
def deploy(tmp_path: Path) -> Callable[..., Report]:
    def run(script: Script, *, dry: bool = False, wish: Mapping[str, Any] | None = None, **settings: Any) -> Report:
        environment = Environment(inventory="hosts", **{"batches": (1, 2, "100%"), **settings})
        order = Order(
            deployment="d1",
            who="ana@laptop",
            project=small_project.project(
                tmp_path, name="beat", settings={"service": SERVICE, "environments": {"staging": environment}}
            ),
            environment="staging",
            settings=environment,
            wish=Wish(environment="staging", **(wish or {})),
            version="2.0",
            folder=None,
            pieces=(),
            keyring=b"",
            packages={},
        )
        machine = System(store=Store(tmp_path / "store"), net=Net(), host=HostRunner(), progress=SilentProgress())
        folder = tmp_path / "state"
        folder.mkdir(exist_ok=True)
        controller = Controller(order=order, player=script, system=machine, folder=folder)  # type: ignore[arg-type]
        return controller.run(dry=dry)

    return run


def states(report: Report) -> dict[str, str]:
    return {one.host: one.state for one in report.hosts}


SERVICE = Service(command="beat serve", port=8000, migrate="beat migrate")
HOSTS = ("h1", "h2", "h3", "h4")


def test_batch_by_batch(deploy: Callable[..., Report]) -> None:
    script = Script(HOSTS)
    report = deploy(script)
    assert report.verdict == "succeeded"
    assert report.exit_code == 0
    assert script.changing == [("deploy", ("h1",)), ("deploy", ("h2",)), ("deploy", ("h3", "h4"))]
    assert script.migrated == ["h1"]
    assert script.played[-1] == ("unlock", HOSTS)
    assert {(one.before, one.after) for one in report.hosts} == {("1.0", "2.0")}


def test_nothing_to_do(deploy: Callable[..., Report]) -> None:
    script = Script(HOSTS, {("preflight", host): [found(host, unchanged=True)] for host in HOSTS})
    report = deploy(script)
    assert (report.verdict, report.exit_code) == ("unchanged", 0)
    assert [name for name, _ in script.played] == ["preflight"]


def test_hosts_that_have_it_are_left_alone_but_put_back_into_the_balancer(deploy: Callable[..., Report]) -> None:
    script = Script(HOSTS, {("preflight", "h2"): [found("h2", unchanged=True)]})
    report = deploy(script, balancer=Balancer(haproxy="lb", backend="beat"))
    assert report.verdict == "succeeded"
    assert states(report)["h2"] == "unchanged"
    assert ("undrain", ("h2",)) in script.played
    assert all("h2" not in hosts for _, hosts in script.changing)


@pytest.mark.parametrize("whole", [True, False], ids=["nothing to do", "something to do"])
def test_a_lock_is_broken_where_nothing_else_has_to_change(deploy: Callable[..., Report], whole: bool) -> None:
    """Our own locks are given back as ours: whoever has broken one of them meanwhile keeps it."""
    has = HOSTS if whole else ("h2", "h3")
    script = Script(HOSTS, {("preflight", host): [found(host, unchanged=True, locked=host == "h2")] for host in has})
    report = deploy(script, wish={"break_lock": True})
    assert report.verdict == ("unchanged" if whole else "succeeded")
    assert script.broken == ["h2"]


def test_a_plan_changes_nothing(deploy: Callable[..., Report]) -> None:
    script = Script(HOSTS)
    report = deploy(script, dry=True)
    assert [name for name, _ in script.played] == ["preflight"]
    assert report.batches == (("h1",), ("h2",), ("h3", "h4"))


def test_all_problems_of_all_hosts_before_anything_changes(deploy: Callable[..., Report]) -> None:
    script = Script(
        HOSTS,
        {
            ("preflight", "h1"): [event("h1", "preflight", ok=False, why="port 8000 is used by nginx")],
            ("preflight", "h2"): [lost("h2")],
            ("preflight", "h3"): [found("h3", clock=time.time() - 365 * 86_400)],
        },
    )
    report = deploy(script)
    assert (report.verdict, report.exit_code) == ("aborted", 1)
    assert [name for name, _ in script.played] == ["preflight"]
    assert states(report) == {
        "h1": "preflight_failed",
        "h2": "unreachable",
        "h3": "preflight_failed",
        "h4": "not_reached",
    }
    assert "365 days behind" in report.hosts[2].problems[0].message


def test_a_gate(deploy: Callable[..., Report]) -> None:
    said = event("h1", "preflight", ok=False, why="below the floor 1.5", kind="gate")
    assert deploy(Script(("h1",), {("preflight", "h1"): [said]})).exit_code == 8


def test_what_was_changed_on_the_way_is_not_installed(deploy: Callable[..., Report]) -> None:
    said = [event("h3", "lock"), event("h3", "stage", ok=False, why="its sha256 is another", kind="verification")]
    script = Script(HOSTS, {("prepare", "h3"): said})
    report = deploy(script)
    assert (report.verdict, report.exit_code) == ("aborted", 4)
    assert states(report)["h3"] == "verify_failed"
    assert script.changing == []
    assert script.played[-1] == ("unlock", HOSTS)


BACK = [event("h2", "check", ok=False), event("h2", "rollback", state="rolled_back", version="1.0")]


@pytest.mark.parametrize(
    ("policy", "back", "verdict", "code"),
    [
        ("rollback", [("rollback", ("h1",))], "rolled_back", 1),
        ("batch", [], "partial", 7),
        ("freeze", [], "partial", 7),
    ],
)
def test_a_host_that_fails(
    deploy: Callable[..., Report], policy: str, back: list[tuple[str, tuple[str, ...]]], verdict: str, code: int
) -> None:
    script = Script(HOSTS, {("deploy", "h2"): BACK})
    report = deploy(script, on_failure=policy)
    assert (report.verdict, report.exit_code) == (verdict, code)
    assert script.changing == [("deploy", ("h1",)), ("deploy", ("h2",)), *back]
    assert states(report) == {
        "h1": "rolled_back" if back else "confirmed",
        "h2": "rolled_back",
        "h3": "not_reached",
        "h4": "not_reached",
    }
    assert BAD in report.hosts[1].problems[0].message


def test_the_other_host_of_its_batch_goes_back_as_well(deploy: Callable[..., Report]) -> None:
    said = [event("h4", "check", ok=False), event("h4", "rollback", state="rolled_back", version="1.0")]
    script = Script(HOSTS, {("deploy", "h4"): said})
    assert deploy(script, on_failure="batch").verdict == "partial"
    assert script.changing[-1] == ("rollback", ("h3",))


def test_what_had_nothing_before_keeps_what_it_has(deploy: Callable[..., Report]) -> None:
    script = Script(HOSTS, {("preflight", "h1"): [found("h1", current="")], ("deploy", "h2"): BACK})
    report = deploy(script)
    assert (report.verdict, report.exit_code) == ("partial", 7)
    assert states(report)["h1"] == "confirmed"
    assert "keeps it" in report.hosts[0].problems[0].message
    assert ("rollback", ("h1",)) not in script.played


def test_a_host_that_is_lost(deploy: Callable[..., Report]) -> None:
    script = Script(HOSTS, {("deploy", "h2"): [event("h2", "arm"), lost("h2")], ("status", "h2"): [lost("h2")]})
    report = deploy(script)
    assert (report.verdict, report.exit_code) == ("errored", 7)
    assert states(report)["h2"] == "unreachable"
    assert states(report)["h1"] == "rolled_back"


def test_a_lost_host_that_answers_again(deploy: Callable[..., Report]) -> None:
    script = Script(HOSTS, {("deploy", "h2"): [event("h2", "arm"), lost("h2")]})
    report = deploy(script)
    assert (report.verdict, report.exit_code) == ("rolled_back", 1)
    assert states(report)["h2"] == "rolled_back"


def test_a_host_that_cannot_go_back(deploy: Callable[..., Report]) -> None:
    said = [event("h1", "switch", ok=False), event("h1", "rollback", ok=False, state="rollback_failed", version="")]
    report = deploy(Script(HOSTS, {("deploy", "h1"): said}))
    assert (report.verdict, report.exit_code) == ("errored", 7)
    assert states(report)["h1"] == "rollback_failed"


def test_acceptance_that_fails_brings_all_back(deploy: Callable[..., Report], tmp_path: Path) -> None:
    counting = tmp_path / "accept"
    counting.write_text('#!/bin/sh\necho "$RELEASE_VERSION" >>log\n[ "$(wc -l <log)" -lt 2 ] || { echo no; exit 1; }\n')
    counting.chmod(0o755)
    script = Script(HOSTS)
    report = deploy(script, acceptance="./accept")
    assert (report.verdict, report.exit_code) == ("rolled_back", 1)
    assert script.changing == [("deploy", ("h1",)), ("deploy", ("h2",)), ("rollback", ("h1", "h2"))]
    assert report.problem == "acceptance failed after batch 2: no"
    assert (tmp_path / "log").read_text() == "2.0\n2.0\n"


def test_hooks(deploy: Callable[..., Report], tmp_path: Path) -> None:
    hooks = Hooks(before="sh -c 'echo before >>log'", after="sh -c 'echo after >>log'", failed="sh -c 'echo f >>log'")
    deploy(Script(HOSTS), hooks=hooks)
    assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_a_hook_that_says_no(deploy: Callable[..., Report]) -> None:
    script = Script(HOSTS)
    report = deploy(script, hooks=Hooks(before="false"))
    assert (report.verdict, report.exit_code) == ("aborted", 1)
    assert script.changing == []
    assert "hook `before` failed" in report.problem


def test_the_plan_that_hosts_go_back_with(deploy: Callable[..., Report], tmp_path: Path) -> None:
    deploy(Script(HOSTS, {("deploy", "h2"): BACK}))
    plans = [(tmp_path / "state" / place / cargo.PLAN).read_text() for place in ("files", "back")]
    assert '"mode": "deploy"' in plans[0]
    assert '"mode": "rollback"' in plans[1]
    assert '"version": ""' in plans[1]
