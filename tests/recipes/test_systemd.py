"""The recipe "systemd": what is in its files, and the program that asks a service whether it is well."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import units
from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.recipes import systemd
from tests.recipes.subjects import EVERYTHING, PLAIN, subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEALTH = Path(__file__).resolve().parents[2] / "recipes/systemd/health.py"


@pytest.mark.parametrize("settings", [PLAIN, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("kind", ["pex", "wheelhouse"])
class TestFiles:
    def test_scripts_are_sound(self, tmp_path: Path, settings: Mapping[str, Any], kind: Any) -> None:
        found = systemd.render(subject(tmp_path, settings, kinds=[kind]))
        (tmp_path / "install.sh").write_text(found["install.sh"])
        said = subprocess.run(["shellcheck", tmp_path / "install.sh"], text=True, capture_output=True, check=False)
        assert (said.returncode, said.stdout) == (0, "")

    def test_the_unit_is_the_one_of_deployments(self, tmp_path: Path, settings: Mapping[str, Any], kind: Any) -> None:
        one = subject(tmp_path, settings, kinds=[kind])
        found = systemd.render(one)
        written = units.files(one.service, one.facts(), kind)
        for place, text in written.items():
            assert found["sysusers.conf" if "sysusers" in place else Path(place).name] == text
        assert ("orders.socket" in found) == bool(settings.get("socket"))


def test_every_target_has_its_line(tmp_path: Path) -> None:
    rows = systemd.render(subject(tmp_path, on=["debian-12", "debian-13"]))["artifacts"].splitlines()
    assert [row.split()[:4] for row in rows] == [
        ["debian", "12", "amd64", "/usr/bin/python3.11"],
        ["debian", "13", "amd64", "/usr/bin/python3.13"],
    ]
    assert rows[0].split()[5] == "orders-1.4.0+b-debian-12.pex"


def test_the_migration_is_of_the_new_version_and_as_the_service(tmp_path: Path) -> None:
    script = systemd.render(subject(tmp_path, EVERYTHING))["install.sh"]
    line = script[script.index("systemd-run") : script.index("switch 1.4.0+b")].replace("\\\n", " ")
    assert " PEX_SCRIPT=orders-admin /opt/orders/releases/1.4.0+b/orders.pex migrate --all " in line
    words = line.split()
    for wanted in ("User=orders", "EnvironmentFile=-/etc/orders/env", "CacheDirectory=orders"):
        assert f"--property={wanted}" in words
    assert "--property=LoadCredential=db-url:/etc/orders/credentials/db-url" in words
    assert "--setenv='RATE=50% of $x'" in line
    assert "systemd-run" not in systemd.render(subject(tmp_path, PLAIN))["install.sh"]


def test_what_nothing_can_tell_to_be_well_has_no_recipe(tmp_path: Path) -> None:
    for service in (None, {"command": "orders serve"}):
        with pytest.raises(ConfigurationError, match="no port and no health check"):
            systemd.render(subject(tmp_path, service))
    with pytest.raises(ReleaseError, match="neither a pex nor a wheelhouse"):
        systemd.render(subject(tmp_path, kinds=["deb"]))


class Answers(BaseHTTPRequestHandler):
    """Says what ``said`` says, one after the other; the last for ever."""

    said: list[tuple[int, str, str]]

    def do_GET(self) -> None:
        status, body, header = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        self.send_response(status)
        if header:
            self.send_header("X-Release", header)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    yield f"http://127.0.0.1:{server.server_port}/health"
    server.shutdown()
    server.server_close()


def ask(url: str, version: str, seconds: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(HEALTH), url, version, seconds]
    return subprocess.run(command, capture_output=True, text=True, check=False)


GOOD = (200, json.dumps({"version": "1.4.0"}), "")


class TestHealth:
    @pytest.mark.parametrize(
        "said", [[GOOD], [(200, "well", "1.4.0")], [(503, "", ""), (200, json.dumps({"version": "1.3.9"}), ""), GOOD]]
    )
    def test_it_waits_for_the_version(self, url: str, said: list[tuple[int, str, str]]) -> None:
        Answers.said = said
        assert ask(url, "1.4.0", "20").returncode == 0

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            ((200, json.dumps({"version": "1.3.9"}), ""), "200, version 1.3.9"),
            ((200, "well", ""), "200, version not said"),
            ((200, "[1]", ""), "200, version not said"),
            ((503, json.dumps({"version": "1.4.0"}), ""), "503, version 1.4.0"),
        ],
    )
    def test_status_alone_is_not_enough(self, url: str, answer: tuple[int, str, str], told: str) -> None:
        Answers.said = [answer]
        done = ask(url, "1.4.0", "0.1")
        assert done.returncode == 1
        assert told in done.stderr

    def test_good_answers_have_to_come_in_a_row(self, url: str) -> None:
        Answers.said = [GOOD, GOOD, (503, "", "")]
        assert ask(url, "1.4.0", "1.2").returncode == 1

    def test_nobody_there(self) -> None:
        done = ask("http://127.0.0.1:9/health", "1.4.0", "0.1")
        assert (done.returncode, "refused" in done.stderr) == (1, True)
