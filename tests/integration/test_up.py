"""A release on the machine of who develops it: started with what it needs, replaced, healthy or as before, removed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker
import pytest

from buildonce.system.services import LABEL
from tests import ports
from tests.integration import hosts
from tests.integration.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.beats import Beats
    from tests.integration.conftest import Built, Example

WANTED = {"item": "a kettle", "quantity": 2}
# The hosts of beat and of what it needs are then the one of orders: it is made once for all.
SETTINGS = """
[tool.release.up]
packages = ["libc6", "libgcc-s1", "libpq5"]
timeout = 6
[tool.release.up.environment]
BEAT_FILES = "http://{files.host}:{files.port}/"
[tool.release.up.needs.files]
type = "command"
packages = [
    "apt", "dbus", "gpgv", "libc6", "libgcc-s1", "libpq5", "openssh-server", "python3", "python3.11", "systemd",
    "systemd-sysv",
]
command = "python3 -m http.server --directory /srv/kept 7000"
port = 7000
data = ["/srv/kept"]
"""


@dataclass(frozen=True)
class Environment:
    """`release up` of a project, under a name that nothing else has."""

    project: Example
    name: str
    state: Path

    def up(self, *arguments: str) -> dict[str, Any]:
        """What the command says of what runs."""
        found = self.project.release("up", *arguments, "--name", self.name, **self.environment)
        assert isinstance(found, dict)
        return found

    def fails(self, code: int, *arguments: str) -> str:
        """What the command says when it ends with *code*."""
        done = self.project.run("up", *arguments, "--name", self.name, **self.environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    def interrupted(self, *arguments: str, at: str) -> str:
        """What it says when somebody presses Ctrl-C after it said *at*."""
        process = subprocess.Popen(
            [sys.executable, "-m", "buildonce", "up", *arguments, "--name", self.name],
            cwd=self.project.root,
            env={**os.environ, **self.project.environment, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if at in line:
                process.send_signal(signal.SIGINT)
                break
        said += process.communicate(timeout=60)[1]
        assert process.returncode == 130, said
        return said

    def down(self) -> int:
        """How much was removed."""
        found = self.project.release("down", "--name", self.name, **self.environment)["removed"]
        return int(found.get(self.name, 0))

    def host(self, role: str) -> Host:
        """The container in that role."""
        with hosts.engine() as client:
            return Host(client.containers.get(f"release-{self.name}-{role}"))

    def left(self) -> list[str]:
        """Everything in the engine that belongs to it."""
        wanted = {"label": f"{LABEL}={self.name}"}
        with hosts.engine() as client:
            found = [one.name for one in client.containers.list(all=True, filters=wanted)]
            found += [one.name for one in client.networks.list(filters=wanted)]
            found += [one.name for one in client.volumes.list(filters=wanted)]
        return sorted(str(one) for one in found)

    @property
    def environment(self) -> dict[str, str]:
        return {"XDG_STATE_HOME": str(self.state)}


@contextlib.contextmanager
def environment(project: Example, folder: Path) -> Iterator[Environment]:
    """It is down in the end, and nothing of it is left."""
    made = Environment(project, f"{project.root.name}-{secrets.token_hex(3)}", folder / "state")
    try:
        yield made
    finally:
        made.down()
        assert made.left() == []


@pytest.fixture
def shop(orders: Example, first: Built, second: Built, tmp_path: Path) -> Iterator[Environment]:
    """Of orders, with two releases."""
    with environment(orders, tmp_path) as made:
        yield made


@pytest.fixture
def heart(beats: Beats, tmp_path: Path) -> Iterator[Environment]:
    """Of beat, whose releases go wrong in one way each."""
    with environment(beats.site(tmp_path, SETTINGS, "1.0.0", "1.1.0", "1.2.0", "1.6.0"), tmp_path) as made:
        yield made


def ask(url: str, body: object = None) -> Any:
    """What the application answers to a user of this machine."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def image_of(container: Host) -> str:
    return str(container.container.attrs["Image"])


def has_image(name: str) -> bool:
    with hosts.engine() as client:
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound:
            return False
    return True


def test_the_image_with_a_database(shop: Environment, first: Built, second: Built) -> None:
    """An order that was placed with one version is there in the next; when it is down, nothing is."""
    running = shop.up(first.version)
    assert (running["version"], running["format"], running["previous"]) == (first.version, "oci", "")
    assert running["url"].startswith("http://127.0.0.1:")
    facts = {"status": "ok", "version": first.version, "database": "postgresql"}
    assert ask(f"{running['url']}/health") == facts
    placed = ask(f"{running['url']}/orders", WANTED)
    application = shop.host("app")
    image = image_of(application)
    assert strict(application.container.attrs["HostConfig"]) == {"ReadonlyRootfs": True, "CapDrop": ["ALL"]}
    assert reaches_nothing(application, first)

    upgraded = shop.up()  # the newest is the second
    assert (upgraded["version"], upgraded["previous"]) == (second.version, first.version)
    assert upgraded["url"] == running["url"]
    assert ask(f"{running['url']}/orders/{placed['id']}") == {"id": placed["id"], **WANTED}
    assert not has_image(image)  # it came with the environment, and nothing runs it any more

    image = image_of(shop.host("app"))
    assert "Uvicorn running" in subprocess.check_output(
        ["docker", "logs", f"release-{shop.name}-app"], stderr=subprocess.STDOUT, text=True
    )
    assert (
        shop.host("database").run("psql", "-qtAXc", "SELECT item FROM orders", "orders", user="postgres")
        == "a kettle\n"
    )
    assert shop.down() > 0
    assert shop.left() == []
    assert not has_image(image)


def strict(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: settings[key] for key in ("ReadonlyRootfs", "CapDrop")}


def reaches_nothing(application: Host, release: Built) -> bool:
    """Whether the application's network leads nowhere: the engine's own address there does not forward."""
    script = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)"
    said = application.run("/usr/bin/python3.11", "-I", "-S", "-c", script, check=False)
    return "timed out" in said or "unreachable" in said


def test_the_deb_by_the_recipe_of_production(shop: Environment, first: Built, second: Built) -> None:
    """A host with systemd; the next version is an upgrade of it, as production's hosts get one."""
    running = shop.up(first.version, "--format", "deb")
    assert ask(f"{running['url']}/health")["database"] == "postgresql"
    placed = ask(f"{running['url']}/orders", WANTED)
    host = shop.host("app")
    assert host.run("dpkg-query", "-W", "-f", "${Version}", "orders") == f"{first.version}-1+deb12"
    assert host.run("systemctl", "show", "--value", "-p", "User", "orders").strip() == "orders"
    machine = host.container.id

    upgraded = shop.up(second.version, "--format", "deb")
    assert (upgraded["previous"], upgraded["url"]) == (first.version, running["url"])
    assert ask(f"{running['url']}/health")["version"] == second.version
    assert ask(f"{running['url']}/orders/{placed['id']}") == {"id": placed["id"], **WANTED}
    host = shop.host("app")
    assert host.container.id == machine
    assert host.run("dpkg", "--audit") == ""
    record = json.loads(host.run("cat", "/var/lib/release/orders/state.json"))
    assert (record["current"]["version"], record["previous"]["version"]) == (second.version, first.version)
    assert [line["event"] for line in record["history"]] == ["confirmed", "confirmed"]
    assert "Uvicorn running" in host.run("journalctl", "-u", "orders")
    assert host.run("systemctl", "is-active", "ssh", check=False).strip() == "inactive"

    # The image of the host is kept; when nothing used it lately, this removes it.
    old = shop.project.release("builder", "gc", "--dry-run", "--days", "-1")["hosts"]
    (tag,) = host.container.image.tags
    assert tag in {one["tag"] for one in old}


def test_the_pex_and_then_the_image(heart: Environment) -> None:
    """One form takes the place of another."""
    running = heart.up("1.0.0", "--format", "pex")
    assert ask(f"{running['url']}/health") == {"status": "ok", "version": "1.0.0"}
    host = heart.host("app")
    assert host.run("readlink", "/opt/beat/current").strip() == "releases/1.0.0"
    assert host.run("systemctl", "show", "--value", "-p", "NRestarts", "beat").strip() == "0"
    assert 'BEAT_FILES="http://files:7000/"\n' in host.run("cat", "/etc/beat/env")
    heart.host("files").sh("echo kept >/srv/kept/note")

    other = heart.up("1.1.0", "--format", "oci")
    assert (other["previous"], other["url"]) == ("1.0.0", running["url"])
    assert ask(f"{running['url']}/health")["version"] == "1.1.0"
    script = "import os, urllib.request as r; print(r.urlopen(os.environ['BEAT_FILES'] + 'note').read().decode())"
    assert heart.host("app").run("/usr/bin/python3.11", "-I", "-S", "-c", script).strip() == "kept"


def test_what_is_not_healthy_or_interrupted_leaves_what_was(heart: Environment) -> None:
    assert "wait for 1.6.0" in heart.interrupted("1.6.0", at="wait for 1.6.0")
    assert heart.left() == []

    running = heart.up("1.0.0", "--port", str(ports.free()))
    before = heart.left()
    said = heart.fails(1, "1.2.0")
    assert "not healthy within 6 s: /health answers 503" in said
    assert ask(f"{running['url']}/health")["version"] == "1.0.0"
    assert heart.left() == before

    heart.interrupted("1.6.0", at="wait for 1.6.0")
    answers(f"{running['url']}/health", "1.0.0")
    assert heart.left() == before

    # What the versions noted of themselves is kept with the environment: the migrations of all that were tried.
    script = "print(open('/var/lib/beat/migrations').read().split())"
    noted = heart.host("app").run("/usr/bin/python3.11", "-I", "-S", "-c", script)
    assert noted.strip() == "['1.0.0', '1.2.0', '1.6.0']"


def test_only_what_was_signed_is_started(heart: Environment) -> None:
    folder = heart.project.root / "dist/beat-1.1.0"
    archive = next(folder.glob("*.oci.tar"))
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    assert "was signed" in heart.fails(4, "1.1.0")
    assert heart.left() == []


def answers(url: str, version: str) -> None:
    """Wait until it does."""

    def does() -> bool:
        with contextlib.suppress(OSError):
            return bool(ask(url)["version"] == version)
        return False

    hosts.until(does, seconds=20)
