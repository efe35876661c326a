"""Units as systemd and the engines run them: sockets, readiness, credentials, limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import units
from buildonce.oci.reading import image_id
from buildonce.service import Service
from tests.integration import fleet, hosts, machines
from tests.integration.test_recipes import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.beats import Beats
    from tests.integration.hosts import Host

# Takes a second to start, and says so when it has; when it has to end it first answers whom it has begun to hear.
SLOW = """\
#!/usr/bin/python3.11
import getpass, json, os, pathlib, signal, socket, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"secret": secret, "user": getpass.getuser()}).encode())
    def log_message(self, *_): pass

assert (os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"]) == ("1", str(os.getpid()))
secret = (pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"]) / "db-url").read_text().strip()
time.sleep(1)
server = HTTPServer(("", 0), Answer, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as tell:
    tell.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", chr(0)))
server.serve_forever()
"""
# Asks all the time while the service restarts.
RESTART = """\
import json, subprocess, time, urllib.request
answers, failed, longest = 0, [], 0.0
restart = subprocess.Popen(["systemctl", "restart", "slow.service"])
while restart.poll() is None or answers < 6:
    began = time.monotonic()
    try:
        urllib.request.urlopen("http://127.0.0.1:8100/", timeout=20).read()
        answers += 1
    except OSError as error:
        failed.append(repr(error))
    longest = max(longest, time.monotonic() - began)
    time.sleep(0.02)
print(json.dumps({"answers": answers, "failed": failed, "longest": longest, "code": restart.returncode}))
"""


@pytest.fixture
def host() -> Iterator[Host]:
    with hosts.running(PYTHON.tag(), systemd=True) as running:
        yield running


def test_a_restart_refuses_nobody_when_systemd_holds_the_socket(host: Host, tmp_path: Path) -> None:
    settings = {
        "command": "slow serve",
        "port": 8100,
        "notify": True,
        "socket": True,
        "credentials": ["db-url"],
        "resources": {"memory": "256M", "tasks": 32, "cpu": "150%"},
    }
    written = units.files(Service.model_validate(settings), units.Facts(name="slow"), "wheelhouse")
    for place, text in written.items():
        (tmp_path / Path(place).name).write_text(text)
        host.put(tmp_path / Path(place).name, str(Path(place).parent))
    (tmp_path / "slow").write_text(SLOW)
    (tmp_path / "slow").chmod(0o755)
    host.put(tmp_path / "slow", "/opt/slow/current/venv/bin")
    host.sh("install -D -m 0600 /dev/null /etc/slow/credentials/db-url; echo secret >/etc/slow/credentials/db-url")
    host.sh("systemd-sysusers slow.conf; systemctl daemon-reload; systemctl enable --now slow.service")
    assert host.ask("GET", "/", port=8100) == (200, {"secret": "secret", "user": "slow"})
    said = json.loads(host.run(host.python, "-I", "-c", RESTART))
    assert said["failed"] == []
    assert said["answers"] > 5
    assert said["longest"] > 0.9  # somebody waited for the start instead of being refused
    shown = {key: host.run("systemctl", "show", "-P", key, "slow").strip() for key in ("MemoryMax", "TasksMax")}
    assert shown == {"MemoryMax": str(256 << 20), "TasksMax": "32"}


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_container_gets_its_settings_and_secrets(beats: Beats, engine: Any, tmp_path: Path) -> None:
    settings = {
        "command": "beat serve",
        "port": 8000,
        "credentials": ["key"],
        "resources": {"memory": "256M", "tasks": 50, "cpu": "100%"},
    }
    image = beats["1.0.0"].file("oci")
    facts = units.Facts(name="beat", image=image_id(image))
    (tmp_path / "beat.service").write_text(units.container(Service.model_validate(settings), facts, engine))
    kinds = {"docker": machines.DOCKER, "podman": machines.PODMAN}
    with fleet.running(0, balancer=False, engines={"e1": kinds[engine]}) as made:
        node = made.nodes["e1"]
        node.run(engine, "load", "--quiet", "--input", node.put(image, "/srv"))
        node.put(tmp_path / "beat.service", "/etc/systemd/system")
        node.sh("install -D -m 0600 /dev/null /etc/beat/credentials/key; echo s3cret >/etc/beat/credentials/key")
        node.sh("""echo 'WORDS="one two"' >/etc/beat/env; systemctl daemon-reload; systemctl start beat""")
        hosts.until(lambda: node.healthy(version="1.0.0"), told=lambda: node.run("journalctl", "-u", "beat"))
        inside = "import os; e = os.environ; key = open(e['CREDENTIALS_DIRECTORY'] + '/key').read()"
        inside += "; print(os.getuid(), e['WORDS'], key)"
        said = node.run(engine, "exec", "beat", "/usr/bin/python3.11", "-c", inside)
        assert said.split() == ["65532", "one", "two", "s3cret"]
        limits = json.loads(node.run(engine, "inspect", "beat"))[0]["HostConfig"]
        assert (limits["Memory"], limits["PidsLimit"], limits["NanoCpus"]) == (256 << 20, 50, 10**9)
        assert "one two" not in node.sh("tr '\\0' ' ' </proc/$(systemctl show -P MainPID beat)/cmdline")

        node.run("systemctl", "restart", "beat")
        hosts.until(lambda: node.healthy(version="1.0.0"))
        node.run("systemctl", "stop", "beat")
        assert node.run("systemctl", "show", "-P", "Result", "beat").strip() == "success"
        assert node.run(engine, "ps", "--all", "--quiet").split() == []
