"""The fleet of the tests is what it is said to be: reached by Ansible, bare, balanced, and hurt in every way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration import fleet, hosts, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.beats import Beats
    from tests.integration.fleet import Fleet
    from tests.integration.load import Count


@pytest.fixture(scope="module")
def two() -> Iterator[Fleet]:
    """Two hosts, a balancer and a database."""
    with fleet.running(2, others=("spare",), database=True) as made:
        yield made


def ping(inventory: Path) -> dict[str, str]:
    """``ok``, or why not, by host, as Ansible says."""
    ansible = Path(sys.executable).with_name("ansible")
    command = [str(ansible), "-i", str(inventory), "app:balancer", "-m", "ansible.builtin.ping", "--one-line"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    rows = [line.split(" | ", 1) for line in done.stdout.splitlines() if " | " in line]
    return {name: "ok" if said.startswith("SUCCESS") else said for name, said in rows}


def test_who_reaches_them(two: Fleet) -> None:
    everywhere = {"h1": "ok", "h2": "ok", "lb": "ok"}
    assert ping(two.inventory) == everywhere
    assert ping(two.inventory_of(user="ops")) == everywhere
    poor = ping(two.inventory_of("h1", user="poor"))
    assert poor.keys() == {"h1", "lb"}
    assert all("sudo" in said for said in poor.values()), poor


def test_whose_keys(two: Fleet, tmp_path: Path) -> None:
    """A wrong key is not accepted, nor is a host that has another one than it had."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    assert "Permission denied" in ping(two.inventory_of("h1", key=key))["h1"]
    spare = two.nodes["spare"]
    more = two.inventory_of(more={"spare": spare.ip})
    assert ping(more)["spare"] == "ok"
    two.hang_up()
    spare.sh("yes | ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; systemctl restart ssh")
    assert ping(more)["spare"].startswith("UNREACHABLE!: Task failed: Failed to connect to the host via ssh: @@@@@@")


def test_bare(two: Fleet) -> None:
    assert {name: two.too_much(name) for name in two.nodes} == dict.fromkeys(two.nodes, "")


def test_database(two: Fleet) -> None:
    assert two.database is not None
    assert two.database.make("orders").endswith(f"@{two.database.ip}/orders")
    assert two.database.sql("SELECT 1", "orders") == "1"
    assert two.nodes["h1"].succeeds("bash", "-c", f"exec 3<>/dev/tcp/{two.database.ip}/5432")


def test_web(two: Fleet, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    for text in ("one", "two"):
        (folder / "page").write_text(text)
        url = two.web(folder)
        assert get(two, "h1", f"{url}/page") == text


def get(two: Fleet, name: str, url: str) -> str:
    script = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode(), end='')"
    return two.nodes[name].run("/usr/bin/python3", "-c", script, url)


def start(beats: Beats, two: Fleet, name: str, version: str) -> None:
    """Run that version on the host, instead of what runs there."""
    node = two.nodes[name]
    wheel = node.put(beats[version].file("wheel"), "/srv")
    node.sh("systemctl stop beat 2>/dev/null || true")
    serve = (node.python, "-c", "from beat.cli import main; main()", "serve")
    node.run("systemd-run", "--quiet", "--collect", "--unit=beat", f"--setenv=PYTHONPATH={wheel}", *serve)
    hosts.until(lambda: node.healthy(version=version), told=lambda: node.run("journalctl", "-u", "beat"))


def test_load(beats: Beats, two: Fleet, users: Callable[[str, Count], None]) -> None:
    """A host that is drained before it changes costs no request; when there is none left, requests fail."""
    for name in two.hosts:
        start(beats, two, name, "1.0.0")
        two.ready(name)
    with load.running(two) as drained:
        drained.goes_on()
        two.drain("h1")
        start(beats, two, "h1", "1.1.0")
        two.ready("h1")
        drained.answers("1.1.0")
        drained.goes_on()
    seen = drained.count()
    assert seen.versions.keys() == {"1.0.0", "1.1.0"}
    assert (seen.failed, seen.failures) == (0, [])
    assert seen.sent == sum(seen.versions.values())
    users("one of two hosts changed by hand", seen)
    with load.running(two) as alone:
        alone.goes_on()
        for node in two.hosts.values():
            node.run("systemctl", "stop", "beat")
        hosts.until(lambda: alone.count().failed > 0)
    assert " 50" in alone.count().failures[0], "502 while the last one goes, 503 then"


def test_cut(two: Fleet) -> None:
    two.cut("h1")
    assert not two.nodes["h1"].reachable()
    assert two.nodes["h1"].succeeds("true")
    two.join("h1")
    assert ping(two.inventory)["h1"] == "ok"
    assert "default" not in two.nodes["h1"].run("ip", "route")


def test_pause(two: Fleet) -> None:
    two.pause("h2")
    assert not two.nodes["h2"].reachable()
    two.unpause("h2")
    assert ping(two.inventory)["h2"] == "ok"


def test_power_cut(two: Fleet) -> None:
    node = two.nodes["h2"]
    node.sh("touch /run/of-this-boot /var/of-all-boots")
    two.power_cut("h2")
    assert not node.succeeds("test", "-e", "/run/of-this-boot")
    assert node.succeeds("test", "-e", "/var/of-all-boots")
    assert ping(two.inventory)["h2"] == "ok"
