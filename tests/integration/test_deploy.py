"""`release deploy` and `release rollback` on a fleet behind haproxy: no compiler, no internet, real packages."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import ansibles, small_release
from tests.integration import fleet as fleets
from tests.integration.deploying import Deployer, debian, environment, sound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.beats import Beats
    from tests.integration.fleet import Fleet

HAPROXY = {"haproxy": "lb", "backend": "beat"}
VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "1.5.0")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with fleets.running(3) as found:
        yield found


@pytest.fixture(scope="module")
def ana(beats: Beats, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Deployer:
    """Has four releases of beat, and environments of the fleet."""
    folder = tmp_path_factory.mktemp("ana")
    (folder / "empty.ini").write_text("[app]\n")
    more = (
        environment("production", fleet.inventory, batches=[1, "100%"], balancer=HAPROXY)
        + environment("ops", fleet.inventory_of("h1", user="ops"))
        + environment("poor", fleet.inventory_of("h1", "h2", user="poor"))
        + environment("empty", folder / "empty.ini")
        + environment("nobody", fleet.inventory_of("h1", more={"h9": "192.0.2.1"}), batches=["100%"])
    )
    return Deployer(beats.site(folder, more, *VERSIONS), folder / "state")


def test_its_life(ana: Deployer, fleet: Fleet) -> None:
    """First installed, the same again, the next version, a bad one, back, and not back by accident."""
    plan = ana.report("deploy", "production", "1.0.0", "--plan")
    assert plan.data["batches"] == [["h1"], ["h2", "h3"]]
    assert {debian(host) for host in fleet.hosts.values()} == {"dpkg-query: no packages found matching beat"}

    first = ana.report("deploy", "production", "1.0.0")
    assert (first.verdict, set(first.states.values())) == ("succeeded", {"confirmed"})
    assert first.versions["h1"] == ("", "1.0.0")
    sound(fleet, "1.0.0")
    ran = [host.run("cat", "/var/lib/beat/migrations", check=False) for host in fleet.hosts.values()]
    assert sorted(text.split() for text in ran if "No such file" not in text) == [["1.0.0"]], "migrated once"

    since = started(fleet)
    again = ana.report("deploy", "production", "1.0.0")
    assert (again.verdict, set(again.states.values())) == ("unchanged", {"unchanged"})
    assert started(fleet) == since

    assert ana.report("deploy", "production", "1.1.0").verdict == "succeeded"
    sound(fleet, "1.1.0")

    bad = ana.report("deploy", "production", "1.2.0", code=1)
    assert bad.verdict == "rolled_back"
    assert bad.states == {"h1": "rolled_back", "h2": "not_reached", "h3": "not_reached"}
    assert "503" in bad.said("h1")
    sound(fleet, "1.1.0")

    migration = ana.report("deploy", "production", "1.5.0", code=1)
    assert migration.states == {"h1": "rolled_back", "h2": "not_reached", "h3": "not_reached"}
    sound(fleet, "1.1.0")

    older = ana.report("deploy", "production", "1.0.0", code=8)
    assert (older.verdict, set(older.states.values())) == ("aborted", {"preflight_failed"})
    assert "--downgrade" in older.said("h1")

    back = ana.report("rollback", "production")
    assert back.versions == dict.fromkeys(fleet.hosts, ("1.1.0", "1.0.0"))
    sound(fleet, "1.0.0")


def started(fleet: Fleet) -> dict[str, str]:
    """When each host started the service."""
    show = ("systemctl", "show", "-pActiveEnterTimestampMonotonic", "beat")
    return {name: host.run(*show) for name, host in fleet.hosts.items()}


def test_a_lock_of_somebody_who_is_gone(ana: Deployer, fleet: Fleet) -> None:
    """In the way until it ends; with --break-lock it is taken away, though nothing else has to be done on that host."""
    home = "/var/lib/release/beat"
    for name in ("h1", "h2"):
        plan = json.loads(fleet.nodes[name].run("cat", f"{home}/plan.json"))
        text = base64.b64encode(json.dumps({**plan, "deployment": "gone", "lease": 3600}).encode()).decode()
        fleet.nodes[name].run("python3", f"{home}/host.pyz", "lock", "--name", "beat", "--plan-json", text)

    held = ana.report("deploy", "production", "1.0.0", code=1)
    assert held.states == {"h1": "preflight_failed", "h2": "preflight_failed", "h3": "unchanged"}
    assert "--break-lock" in held.said("h1")

    since = started(fleet)
    assert ana.report("deploy", "production", "1.0.0", "--break-lock").verdict == "unchanged"
    assert started(fleet) == since
    assert ana.report("deploy", "production", "1.0.0").verdict == "unchanged"


def test_people_see_it(ana: Deployer) -> None:
    done = ana.run("deploy", "production", "--plan", "1.1.0")
    assert done.returncode == 0, done.stderr
    header, first, *_ = done.stdout.splitlines()
    assert header.split() == ["host", "batch", "before", "after", "state"]
    assert first.split() == ["h1", "1", "1.0.0", "1.1.0", "planned"]
    assert "look at 3 hosts" in done.stderr


def test_by_sudo(ana: Deployer, fleet: Fleet) -> None:
    """Somebody who is not root there; then back by name."""
    assert ana.report("deploy", "ops", "1.1.0").states == {"h1": "confirmed"}
    sound(fleet, "1.1.0", "h1")
    assert ana.report("rollback", "ops", "1.0.0").versions == {"h1": ("1.1.0", "1.0.0")}
    sound(fleet, "1.0.0", "h1")


def test_all_problems_in_one_table(ana: Deployer, fleet: Fleet) -> None:
    """Nothing is changed where one host cannot."""
    poor = ana.report("deploy", "poor", "1.1.0", code=1)
    assert set(poor.states.values()) == {"preflight_failed"}
    assert "sudo" in poor.said("h1")
    nobody = ana.report("deploy", "nobody", "1.1.0", code=1)
    assert nobody.states == {"h1": "not_reached", "h9": "unreachable"}
    assert "is it up" in nobody.said("h9")
    sound(fleet, "1.0.0", "h1")
    done = ana.run("deploy", "nobody", "1.1.0")
    assert "error: aborted: nothing was changed" in done.stderr


def test_a_key_that_hosts_do_not_take(ana: Deployer, fleet: Fleet, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    text = environment("stranger", fleet.inventory_of("h1", key=tmp_path / "other"))
    place = ana.site.root / "pyproject.toml"
    before = place.read_text()
    place.write_text(before + text)
    try:
        found = ana.report("deploy", "stranger", "1.1.0", code=1)
    finally:
        place.write_text(before)
    assert found.states == {"h1": "unreachable"}
    assert "does not take this key" in found.said("h1")


def test_a_clock_that_is_off_by_a_year(ana: Deployer) -> None:
    """This machine's, so that all hosts are wrong."""
    words = ["faketime", "-f", "+365d", sys.executable, "-m", "buildonce", "deploy", "production", "1.1.0", "--json"]
    done = subprocess.run(
        words,
        cwd=ana.site.root,
        env={**os.environ, **ana.site.environment, "XDG_STATE_HOME": str(ana.state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    said = [one["problems"][0]["message"] for one in json.loads(done.stdout)["hosts"]]
    assert said == ["its clock is 365 days behind"] * 3


def test_wrong_words(ana: Deployer) -> None:
    for words, code, said in (
        (("deploy", "prodution", "1.1.0"), 3, "did you mean 'production'?"),
        (("deploy", "empty", "1.1.0"), 1, "no hosts to deploy to"),
        (("deploy", "production", "7.0.0"), 1, "built here: 1.0.0, 1.1.0"),
    ):
        done = ana.run(*words)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_somebody_elses_release(ana: Deployer, tmp_path: Path) -> None:
    """Signed, but not by a key that is trusted here; then not as it was signed."""
    stranger = small_release.key(tmp_path, "stranger")
    (tmp_path / "stranger.pub").write_bytes(stranger.public.pem)
    done = ana.run("deploy", "production", "1.1.0", "--key", str(tmp_path / "stranger.pub"))
    assert done.returncode == 4, done.stderr
    deb = next((ana.site.root / "dist/beat-1.5.0").glob("*.deb"))
    data = bytearray(deb.read_bytes())
    data[len(data) // 2] ^= 1
    deb.write_bytes(data)
    assert ana.run("deploy", "production", "1.5.0").returncode == 4


def test_two_at_once(ana: Deployer, fleet: Fleet) -> None:
    """One of them wins, the other one changes nothing."""
    both = [ana.start("deploy", "production", "1.1.0", "--json") for _ in range(2)]
    said = [json.loads(one.communicate(timeout=300)[0]) for one in both]
    verdicts = sorted(one["verdict"] for one in said)
    assert verdicts in (["aborted", "succeeded"], ["aborted", "aborted"]), said
    if verdicts == ["aborted", "aborted"]:  # each had the lock of a host that the other one wanted
        assert ana.report("deploy", "production", "1.1.0").verdict == "succeeded"
    sound(fleet, "1.1.0")


def test_the_oldest_ansible(ana: Deployer, fleet: Fleet) -> None:
    """ansible-core 2.14, which Debian 12 has."""
    place = ansibles.oldest()
    old = {"BUILDONCE_ANSIBLE": str(place)}
    said = subprocess.run([place / "ansible-playbook", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("ansible-playbook [core 2.14.")
    assert ana.report("rollback", "production", code=0, **old).verdict == "succeeded"
    sound(fleet, "1.0.0")
    assert ana.report("deploy", "production", "1.2.0", code=1, **old).verdict == "rolled_back"
    sound(fleet, "1.0.0")
