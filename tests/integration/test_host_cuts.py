"""Power cuts and killed programs in the middle of a deployment: the host comes to a whole version again.

dpkg is stopped where it hurts, while it unpacks a package or runs its scripts, by programs that it finds before the
real ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration import hosts, stepwise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.beats import Beats
    from tests.integration.stepwise import Machine

# Both stop at version 1.1.0 while /run/stop is there, which no restart outlives.
STOPS = {
    "unpack": (
        "/usr/sbin/dpkg-deb",
        """\
#!/bin/sh
case "$*" in
    *--fsys-tarfile*1.1.0*)
        if [ -e /run/stop ]; then
            /usr/bin/dpkg-deb "$@" | head -c 20000
            touch /run/here
            while [ -e /run/stop ]; do sleep 0.1; done
            exit 1
        fi
        ;;
esac
exec /usr/bin/dpkg-deb "$@"
""",
    ),
    "configure": (
        "/usr/sbin/systemd-sysusers",
        """\
#!/bin/sh
if [ -e /run/stop ] && [ -e /opt/venvs/beat/lib/python3.11/site-packages/beat-1.1.0.dist-info ]; then
    touch /run/here
    while [ -e /run/stop ]; do sleep 0.1; done
fi
exec /usr/bin/systemd-sysusers "$@"
""",
    ),
}


@pytest.fixture(scope="module")
def deb(beats: Beats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with stepwise.running(beats, "deb", tmp_path_factory.mktemp("host") / "deb") as machine:
        for path, text in STOPS.values():
            machine.write(path, text)
        yield machine


@pytest.fixture
def machine(deb: Machine) -> Machine:
    """A host with version 1.0.0, to which nobody deploys."""
    deb.at("1.0.0")
    return deb


def stopped(machine: Machine, where: str) -> Callable[[], None]:
    """Switch to 1.1.0, and stop dpkg on the way; answers what lets it go on."""
    machine.steps(machine.plan("1.1.0"), until="migrate")
    others = {path for path, _ in STOPS.values()} - {STOPS[where][0]}
    machine.host.sh(f"rm -f /run/here; touch /run/stop; chmod -x {' '.join(others)}; chmod +x {STOPS[where][0]}")
    switching = machine.meanwhile("switch")
    hosts.until(lambda: machine.host.succeeds("test", "-e", "/run/here"), told=machine.log)

    def go_on() -> None:
        machine.host.run("rm", "/run/stop")
        switching.join()

    return go_on


@pytest.mark.parametrize("where", STOPS)
def test_killed(where: str, machine: Machine) -> None:
    """All of it at once: host program, apt, dpkg and what dpkg runs. apt refuses everything then."""
    over = stopped(machine, where)
    machine.host.run("pkill", "-KILL", "-f", "host.pyz|apt-get|dpkg|sysusers", check=False)
    over()
    broken = machine.host.run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "beat")
    assert broken == {"unpack": "iHR", "configure": "iF "}[where]
    assert machine.step("rollback")["state"] == "rolled_back"
    machine.runs("1.0.0")


def test_killed_and_tried_again(machine: Machine) -> None:
    over = stopped(machine, "unpack")
    machine.host.run("pkill", "-KILL", "-f", "host.pyz|apt-get|dpkg", check=False)
    over()
    for step in ("switch", "check", "confirm", "unlock"):
        answer = machine.step(step)
        assert answer.code == 0, answer.told
    machine.runs("1.1.0")


def test_dpkg_goes_on_alone(machine: Machine) -> None:
    """Who rolls back waits for a dpkg that lost its apt."""
    go_on = stopped(machine, "configure")
    machine.host.run("pkill", "-KILL", "-f", "host.pyz|apt-get", check=False)
    back = machine.meanwhile("rollback")
    hosts.until(lambda: machine.host.succeeds("pgrep", "-f", "host.pyz rollback"))
    assert not machine.host.succeeds("pgrep", "-f", "dpkg --audit")
    go_on()
    back.join()
    machine.runs("1.0.0")


@pytest.mark.parametrize("where", STOPS)
def test_power_cut_while_it_is_installed(where: str, machine: Machine) -> None:
    stopped(machine, where)
    machine.power_cut()
    machine.goes_back_to("1.0.0", seconds=120)
    assert machine.last() == ("rolled_back", "1.0.0", "boot")


@pytest.mark.parametrize("form", ["deb", "pex"])
def test_power_cut_with_a_bad_version(form: str, beats: Beats, tmp_path: Path) -> None:
    """It was running; after the restart it does not answer one request."""
    with stepwise.running(beats, form, tmp_path / form) as machine:
        machine.deploy("1.0.0")
        machine.steps(machine.plan("1.4.0"), until="switch")
        hosts.until(lambda: machine.served() == "0.9.0")
        machine.power_cut()
        seen = [machine.served()]

        def old_one() -> bool:
            seen.append(machine.served())
            return seen[-1] == "1.0.0"

        hosts.until(old_one, told=machine.log)
        assert set(seen) <= {"", "1.0.0"}
        machine.goes_back_to("1.0.0")
        machine.power_cut()
        hosts.until(lambda: machine.served() == "1.0.0", told=machine.log)
        machine.runs("1.0.0")


@pytest.mark.parametrize(("last", "version"), [("arm", "1.0.0"), ("confirm", "1.1.0")])
def test_power_cut_before_and_after(last: str, version: str, machine: Machine) -> None:
    machine.steps(machine.plan("1.1.0"), until=last)
    machine.power_cut()
    machine.goes_back_to(version)
    hosts.until(lambda: machine.served() == version)


def test_power_cut_of_a_first_install(machine: Machine) -> None:
    machine.wipe()
    machine.steps(machine.plan("1.0.0"), until="switch")
    machine.power_cut()
    machine.goes_back_to("")
    machine.step("unlock")
    machine.deploy("1.0.0")


def test_two_power_cuts(machine: Machine) -> None:
    """The second one comes while the first one's roll back is at work."""
    stopped(machine, "configure")
    machine.power_cut()
    hosts.until(lambda: machine.host.succeeds("pgrep", "-f", "host.pyz boot") or machine.served(), told=machine.log)
    machine.power_cut()
    machine.goes_back_to("1.0.0", seconds=120)
