"""What goes wrong between the controller and its hosts, while a fleet is being changed.

What goes wrong on one host by itself is in ``test_host.py``. After each of these every host is healthy with the old
version or the new one, whole, and the exit code tells which.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import fleet as fleets
from tests.integration import hosts
from tests.integration.deploying import Deployer, environment, recorded, sound, status

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.conftest import Told
    from tests.integration.beats import Beats
    from tests.integration.fleet import Fleet

HAPROXY = {"haproxy": "lb", "backend": "beat"}
PENDING = ("test", "-e", "/var/lib/release/beat/pending.json")
GUARD = 20  # seconds, where nobody is to confirm
# The service does not start on a host that has this, when it is of that version.
REFUSES = """\
[Service]
ExecStartPre=/bin/sh -c "! test -e /opt/venvs/beat/lib/python3.11/site-packages/beat-1.1.0.dist-info"
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with fleets.running(4) as found:
        yield found


@pytest.fixture(scope="module")
def ana(beats: Beats, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Deployer:
    folder = tmp_path_factory.mktemp("ana")
    usual: dict[str, Any] = {"balancer": HAPROXY, "guard": 180}
    more = (
        environment("halves", fleet.inventory, batches=["50%", "100%"], **usual)
        + environment("batch", fleet.inventory, batches=["50%", "100%"], on_failure="batch", **usual)
        + environment("freeze", fleet.inventory, batches=["50%", "100%"], on_failure="freeze", **usual)
        + environment("one", fleet.inventory_of("h1"), **usual)
        + environment("guarded", fleet.inventory, batches=["50%", "100%"], **{**usual, "guard": GUARD})
        + environment("alone", fleet.inventory_of("h1"), **{**usual, "guard": GUARD})
    )
    made = Deployer(beats.site(folder, more, "1.0.0", "1.1.0"), folder / "state")
    assert made.report("deploy", "halves", "1.0.0").verdict == "succeeded"
    return made


@pytest.fixture
def refusing(fleet: Fleet) -> Iterator[None]:
    """h3 and h4 cannot run 1.1.0."""
    for name in ("h3", "h4"):
        put = (
            'mkdir -p /etc/systemd/system/beat.service.d; printf "%s" "$1" >/etc/systemd/system/beat.service.d/zz.conf'
        )
        fleet.nodes[name].run("sh", "-euc", f"{put}; systemctl daemon-reload", "-", REFUSES)
    yield
    for name in ("h3", "h4"):
        fleet.nodes[name].sh("rm /etc/systemd/system/beat.service.d/zz.conf; systemctl daemon-reload")


def test_half_of_the_fleet_fails(ana: Deployer, fleet: Fleet, refusing: None, told: Told) -> None:
    """All go back, or those of the batch, or none, as the environment says."""
    report = ana.report("deploy", "halves", "1.1.0", code=1)
    assert (report.verdict, set(report.states.values())) == ("rolled_back", {"rolled_back"})
    sound(fleet, "1.0.0")

    report = ana.report("deploy", "freeze", "1.1.0", code=7)
    assert report.verdict == "partial"
    assert report.states == {"h1": "confirmed", "h2": "confirmed", "h3": "rolled_back", "h4": "rolled_back"}
    sound(fleet, "1.1.0", "h1", "h2")
    sound(fleet, "1.0.0", "h3", "h4")

    report = ana.report("deploy", "batch", "1.1.0", code=1)
    assert report.states == {"h1": "unchanged", "h2": "unchanged", "h3": "rolled_back", "h4": "not_reached"}

    assert ana.report("rollback", "one").verdict == "succeeded"
    assert ana.report("rollback", "halves", "1.0.0").verdict == "succeeded"
    sound(fleet, "1.0.0")
    told("half of a fleet fails", 3)


@contextlib.contextmanager
def deploying(ana: Deployer, *words: str) -> Iterator[subprocess.Popen[str]]:
    running = ana.start(*words, "--json")
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


def heard(ana: Deployer, step: str) -> bool:
    """Whether the newest deployment has come to *step*."""
    newest = max((ana.state / "buildonce/deployments").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    lines = "".join(path.read_text() for path in sorted(newest.glob("*.jsonl")))
    return any(json.loads(line)["task"] == step for line in lines.splitlines() if line)


def came_back(fleet: Fleet, name: str) -> None:
    """The host does so by itself."""
    node = fleet.nodes[name]
    hosts.until(lambda: not status(node)["pending"], told=lambda: json.dumps(status(node)), seconds=GUARD + 60)
    sound(fleet, "1.0.0", name)


def put_back(ana: Deployer, fleet: Fleet) -> None:
    """Who came back alone is out of the balancer still; a deployment that finds such hosts well puts them in."""
    assert ana.report("deploy", "halves", "1.0.0").verdict == "unchanged"
    sound(fleet, "1.0.0")


def test_the_cable_is_pulled(ana: Deployer, fleet: Fleet, told: Told) -> None:
    """Of a host in the middle of its switch."""
    with deploying(ana, "deploy", "guarded", "1.1.0") as running:
        hosts.until(lambda: fleet.nodes["h1"].succeeds(*PENDING), seconds=180)
        fleet.cut("h1")
        out, said = running.communicate(timeout=300)
    report = json.loads(out)
    states = {one["host"]: one["state"] for one in report["hosts"]}
    assert (running.returncode, report["verdict"]) == (7, "errored"), said
    assert states == {"h1": "unreachable", "h2": "rolled_back", "h3": "not_reached", "h4": "not_reached"}
    fleet.join("h1")
    came_back(fleet, "h1")
    put_back(ana, fleet)
    told("the cable of a host is pulled", 1)


def test_a_host_hangs(ana: Deployer, fleet: Fleet, told: Told) -> None:
    with deploying(ana, "deploy", "guarded", "1.1.0") as running:
        hosts.until(lambda: fleet.nodes["h2"].succeeds(*PENDING), seconds=180)
        fleet.pause("h2")
        out, said = running.communicate(timeout=300)
    report = json.loads(out)
    assert (running.returncode, report["verdict"]) == (7, "errored"), said
    assert next(one["state"] for one in report["hosts"] if one["host"] == "h2") == "unreachable"
    fleet.unpause("h2")
    came_back(fleet, "h2")
    put_back(ana, fleet)
    told("a host hangs", 1)


@pytest.mark.parametrize("step", ["Migrate", "Switch", "Confirm"])
def test_the_controller_is_killed(ana: Deployer, fleet: Fleet, step: str, told: Told) -> None:
    """The next deployment finds the fleet as it should be, and in the balancer. Every step: test_host.py."""
    with deploying(ana, "deploy", "alone", "1.1.0") as running:
        hosts.until(lambda: heard(ana, step) or running.poll() is not None, seconds=120)
        for process in descendants(running.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    node = fleet.nodes["h1"]
    hosts.until(lambda: not status(node)["pending"], told=lambda: json.dumps(status(node)), seconds=GUARD + 60)
    version = recorded(status(node))
    assert version in (("1.0.0", "1.1.0") if step == "Confirm" else ("1.0.0",))
    sound(fleet, version, "h1")
    done = ana.report("deploy", "one", version, "--break-lock")
    assert done.verdict in ("succeeded", "unchanged")
    if version == "1.1.0":
        assert ana.report("rollback", "one").verdict == "succeeded"
    sound(fleet, "1.0.0")
    told("the controller is killed", 1)


def descendants(process: int) -> list[int]:
    """The process, and all that it started."""
    children = Path(f"/proc/{process}/task/{process}/children")
    try:
        found = children.read_text().split()
    except FileNotFoundError:
        return []
    return [process, *(one for child in found for one in descendants(int(child)))]
