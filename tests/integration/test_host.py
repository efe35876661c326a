"""The host program on real systemd hosts: what is installed, healthy and remembered after every end of a deployment.

Steps are called one by one, as the recipe does it; a controller that is gone is one that calls no more. Cuts of power
and killed programs are in test_host_cuts.py, what is not as it was signed in test_host_trust.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import hosts, stepwise
from tests.integration.stepwise import HOME, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.beats import Beats
    from tests.integration.stepwise import Machine

# Found before the real one by maintainer scripts.
FIRST = "/usr/sbin/systemd-sysusers"
# Fails, while the files of version 1.1.0 are there, what the maintainer scripts of every version call.
SYSUSERS = """\
#!/bin/sh
if [ -e /opt/venvs/beat/lib/python3.11/site-packages/beat-1.1.0.dist-info ]; then
    echo "no user today" >&2
    exit 1
fi
exec /usr/bin/systemd-sysusers "$@"
"""


@pytest.fixture(scope="module")
def deb(beats: Beats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with stepwise.running(beats, "deb", tmp_path_factory.mktemp("host") / "deb") as machine:
        yield machine


@pytest.fixture
def machine(deb: Machine) -> Machine:
    """A host with version 1.0.0, to which nobody deploys."""
    deb.at("1.0.0")
    return deb


@pytest.mark.parametrize("form", ["deb", "pex", "wheelhouse"])
def test_a_life(form: str, beats: Beats, tmp_path: Path) -> None:
    """First install, the same again, upgrade, a bad version and back, back to the version before, and once more."""
    with stepwise.running(beats, form, tmp_path / form) as machine:
        first = machine.plan("1.0.0")
        assert machine.preflight(first)["problems"] == []
        assert not machine.host.succeeds("ls", f"{HOME}/plan.json")
        assert machine.steps(first).code == 0
        machine.runs("1.0.0")
        again = machine.preflight(machine.plan("1.0.0"))
        assert (again["unchanged"], again["healthy"], again["current"]) == (True, True, "1.0.0")
        started = machine.started()
        machine.deploy("1.1.0")
        assert machine.started() != started
        assert machine.preflight(machine.plan("1.0.0"))["unchanged"] is False
        assert machine.migrations() == ["1.0.0", "1.1.0"]
        bad = machine.steps(machine.plan("1.2.0"), until="check")
        assert (bad.code, bad["answer"]["status"]) == (1, 503)
        assert "503" in bad.told
        back = machine.step("rollback")
        assert (back["state"], back["version"]) == ("rolled_back", "1.1.0")
        machine.runs("1.1.0")
        assert machine.step("rollback")["state"] == "unchanged"
        machine.step("unlock")
        assert machine.steps(machine.plan("", mode="rollback", artifacts={})).code == 0
        machine.runs("1.0.0")
        assert machine.migrations() == ["1.0.0", "1.1.0", "1.2.0"]
        nothing = machine.preflight(machine.plan("", mode="rollback", artifacts={}))
        assert [one["message"] for one in nothing["problems"]] == [
            "no version before the present one is on this host: there is nothing to go back to"
        ]
        machine.deploy("1.1.0", keep=2)
        assert machine.step("status")["pool"] == ["1.1.0", "1.0.0"]


@pytest.mark.parametrize("form", ["deb", "wheelhouse"])
def test_nothing_was_there(form: str, beats: Beats, tmp_path: Path) -> None:
    """A first install that goes wrong leaves no service, no unit and no pending deployment; the next one succeeds."""
    with stepwise.running(beats, form, tmp_path / form) as machine:
        assert machine.steps(machine.plan("1.2.0"), until="check").code == 1
        back = machine.step("rollback")
        assert (back["state"], back["version"]) == ("rolled_back", "")
        machine.runs("")
        assert machine.host.sh("ls /etc/systemd/system /opt | grep beat || :") == ""
        machine.step("unlock")
        machine.deploy("1.0.0")


@pytest.mark.parametrize(
    ("version", "step", "said"),
    [
        ("1.3.0", "check", "beat: cannot go on"),
        ("1.4.0", "check", "answers as another version: 200, version 0.9.0"),
        ("1.5.0", "migrate", "the data cannot be brought to this version"),
        ("1.6.0", "check", "Connection refused"),
    ],
)
def test_a_bad_version(version: str, step: str, said: str, machine: Machine) -> None:
    answer = machine.steps(machine.plan(version), until=step)
    assert answer.code == 1
    assert said in answer.told
    started = machine.started()
    assert machine.step("rollback")["state"] == "rolled_back"
    machine.runs("1.0.0")
    # Nothing was switched yet when the migration failed: the old version was never stopped.
    assert (machine.started() == started) is (step == "migrate")
    assert machine.last() == ("rolled_back", "1.0.0", "rollback")


def test_maintainer_script_fails(machine: Machine) -> None:
    machine.write(FIRST, SYSUSERS)
    try:
        answer = machine.steps(machine.plan("1.1.0"), until="switch")
        assert answer.code == 1
        assert "no user today" in answer.told
        assert machine.host.run("dpkg", "--audit") != ""
        assert machine.served() == ""
        assert machine.step("rollback")["state"] == "rolled_back"
    finally:
        machine.host.run("rm", FIRST)
    machine.runs("1.0.0")


@pytest.mark.parametrize(("folder", "step"), [("/opt", "switch"), (HOME, "stage")])
def test_disk_full(folder: str, step: str, machine: Machine) -> None:
    """Preflight says it; who goes on all the same has the old version."""
    plan = machine.plan("1.1.0")
    machine.bring(plan)
    machine.host.sh(f"""
        cp -a {folder} /var/tmp/kept
        mount -t tmpfs -o size=64m,mode=755 tmpfs {folder}
        cp -a /var/tmp/kept/. {folder}
        dd if=/dev/zero of={folder}/ballast bs=4k 2>/dev/null || truncate -s -32k {folder}/ballast
    """)
    try:
        assert "has room for 0 MB" in machine.preflight(plan).told
        for one in STEPS[: STEPS.index(step)]:
            assert machine.step(one, *(("--plan", f"{HOME}/incoming.json") if one == "lock" else ())).code == 0
        answer = machine.step(step)
        assert answer.code == 1
        assert "room" in answer.told or "No space left" in answer.told
        machine.host.run("rm", f"{folder}/ballast")
        assert machine.step("rollback")["state"] == ("rolled_back" if step == "switch" else "unchanged")
        machine.runs("1.0.0")
    finally:
        machine.host.sh(f"umount {folder}; rm -rf /var/tmp/kept")
        machine.wipe()


def test_nobody_confirms(machine: Machine) -> None:
    """The controller is gone when the new version, a good one, runs: when its time is over the old one is back."""
    plan = machine.plan("1.1.0", guard=15)
    assert machine.steps({**plan, "service": {**plan["service"], "migrate": ""}}, until="switch").code == 0
    machine.goes_back_to("1.0.0")
    assert machine.last() == ("rolled_back", "1.0.0", "guard")
    late = machine.step("confirm")
    assert (late.code, late["changed"]) == (1, False)
    assert "nothing is pending" in late.told
    machine.runs("1.0.0")


@pytest.mark.parametrize("last", ["arm", "migrate", "switch", "check"])
def test_controller_is_gone(last: str, machine: Machine) -> None:
    """After each step that may be the last one."""
    assert machine.steps(machine.plan("1.1.0"), until=last).code == 0
    machine.host.run("systemctl", "start", "release-guard-beat.service")  # what its timer does when it is due
    machine.goes_back_to("1.0.0")
    assert machine.last() == ("rolled_back", "1.0.0", "guard")


def test_controller_is_gone_in_the_middle(machine: Machine) -> None:
    """The guard becomes due while the new version is being switched to: it waits for that, then goes back."""
    machine.steps(machine.plan("1.1.0"), until="migrate")
    switching = machine.meanwhile("switch")
    hosts.until(lambda: machine.served() != "1.0.0")
    machine.host.run("systemctl", "start", "release-guard-beat.service")
    switching.join()
    machine.goes_back_to("1.0.0")


def test_confirmed_is_confirmed(machine: Machine) -> None:
    """The guard, a roll back and a second confirmation come too late."""
    assert machine.steps(machine.plan("1.1.0"), until="confirm").code == 0
    assert machine.step("confirm")["changed"] is False
    for late in ("guard", "boot", "rollback"):
        answer = machine.step(late)
        assert (answer["state"], answer["version"]) == ("unchanged", "1.1.0")
    machine.runs("1.1.0")


def test_confirmed_and_cut_off(machine: Machine) -> None:
    """The state was written, what was pending was not yet taken away."""
    machine.steps(machine.plan("1.1.0"), until="check")
    pending = machine.host.run("cat", f"{HOME}/pending.json")
    assert machine.step("confirm").code == 0
    machine.write(f"{HOME}/pending.json", pending)
    assert machine.step("boot")["state"] == "unchanged"
    machine.runs("1.1.0")


def test_roll_back_fails(machine: Machine) -> None:
    """Neither version gets well: that is said, nothing is forgotten, and both ways out are open."""
    machine.steps(machine.plan("1.2.0"), until="check")
    pool = f"{HOME}/pool/1.0.0"
    machine.host.sh(f"cd {pool}; mv beat_1.0.0-1+deb12_amd64.deb kept; echo changed >beat_1.0.0-1+deb12_amd64.deb")
    failed = machine.step("rollback")
    assert (failed.code, failed["state"]) == (4, "rollback_failed")
    assert machine.step("status")["pending"]["failed"] is True
    assert machine.last() == ("rollback_failed", "1.0.0", "rollback")
    machine.step("unlock")
    plan = machine.plan("1.1.0")
    assert "no way back" in machine.preflight(plan).told
    machine.host.sh(f"cd {pool}; mv kept beat_1.0.0-1+deb12_amd64.deb")
    assert machine.preflight(plan)["problems"] == []
    machine.deploy("1.1.0")
    assert machine.step("status")["previous"]["version"] == "1.0.0"


def test_two_at_once(machine: Machine) -> None:
    first, second = machine.plan("1.1.0"), machine.plan("1.0.0", who="bo@desktop")
    assert machine.steps(first, until="arm").code == 0
    said = machine.preflight(second)
    assert "ana@laptop" in said.told
    assert machine.steps(second, until="lock").code == 1
    # Their plan did not take the place of ours; and they can neither go on nor take anything back.
    for step in ("stage", "arm", "switch", "confirm", "rollback"):
        refused = machine.step(step, "--plan", f"{HOME}/incoming.json", "--deployment", second["deployment"])
        assert (refused.code, refused["changed"]) == (0 if step == "rollback" else 1, False)
    for step in ("switch", "check", "confirm", "unlock"):
        assert machine.step(step, "--deployment", first["deployment"]).code == 0
    machine.runs("1.1.0")


def test_stale_lock(machine: Machine) -> None:
    """Of a controller that was gone before it changed anything: it ends by itself, or when somebody says so."""
    machine.steps(machine.plan("1.1.0", lease=0), until="stage")
    machine.deploy("1.1.0")
    machine.steps(machine.plan("1.0.0"), until="stage")
    plan = machine.plan("1.0.0")
    assert machine.steps(plan, until="lock").code == 1
    assert machine.step("lock", "--plan", f"{HOME}/incoming.json", "--break-lock").code == 0
    held = json.loads(machine.host.run("cat", f"{HOME}/lock.json"))
    assert held["deployment"] == plan["deployment"]


def changed(plan: dict[str, Any], **facts: Any) -> dict[str, Any]:
    (name, artifact), *_ = plan["artifacts"].items()
    return {**plan, "artifacts": {name: {**artifact, **facts}}}


def test_preflight(machine: Machine) -> None:
    """Everything that is wrong is told at once, and nothing is changed."""
    good = machine.plan("1.1.0")
    older = {**good, "version": "0.9.0", "downgrade": ""}
    cases: list[tuple[dict[str, Any], str]] = [
        (changed(good, release="13"), "the release has no deb for this host, which is debian 12 amd64"),
        (changed(good, size=1 << 50), "/opt/venvs has room for"),
        ({**good, "format": "pex"}, "beat is deployed here as deb, the plan says pex"),
        (older, "1.0.0 runs here, and 0.9.0 is older"),
        ({**good, "name": "other"}, "the plan is for other, not for beat"),
        (changed(good, units={"/etc/passwd": ""}), "the plan wants to write '/etc/passwd'"),
        (changed(good, units={"/etc/systemd/system/../../passwd": ""}), "the plan wants to write"),
    ]
    before = machine.host.sh(f"find {HOME} /etc/systemd /run/release | sort")
    for plan, message in cases:
        answer = machine.preflight(plan)
        assert answer.code == 1
        assert message in answer.told
    several = machine.preflight(changed(older, release="13"))
    assert len(several["problems"]) == 2
    assert machine.preflight(good).code == 0
    assert machine.host.sh(f"find {HOME} /etc/systemd /run/release | sort") == before


def test_preflight_of_a_host_that_is_taken(machine: Machine) -> None:
    """A port, a package and a unit that no deployment brought."""
    machine.wipe()
    python = "/usr/bin/python3.11"
    machine.host.container.exec_run([python, "-m", "http.server", "8000"], detach=True)
    hosts.until(lambda: listening(machine))
    machine.write("/etc/systemd/system/beat.service", "[Service]\nExecStart=/bin/true\n")
    plan = machine.plan("1.0.0")
    told = machine.preflight(plan).told
    assert "port 8000 is taken: by /usr/bin/python3.11 -m http.server" in told
    assert "/etc/systemd/system/beat.service is here" in told
    machine.host.run("rm", "/etc/systemd/system/beat.service")
    machine.host.run("pkill", "-f", "http.server")
    deb = machine.host.put(machine.beats["1.0.0"].file("deb"), "/var/tmp")
    machine.host.run("dpkg", "--install", deb)
    assert "no deployment brought it" in machine.preflight(plan).told
    machine.host.run("dpkg", "--purge", "beat")
    assert machine.preflight(plan)["problems"] == []


def listening(machine: Machine) -> bool:
    return ":1F40 " in machine.host.run("cat", "/proc/net/tcp")


def test_floor(machine: Machine) -> None:
    """A version whose migration the one before cannot live with says how far back is possible."""
    machine.deploy("1.1.0", floor="1.1.0")
    for plan in (machine.plan("1.0.0"), machine.plan("", mode="rollback", artifacts={})):
        answer = machine.preflight(plan)
        assert [one["kind"] for one in answer["problems"]] == ["gate"]
        assert "nothing before 1.1.0 can read" in answer.told
