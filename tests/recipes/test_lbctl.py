"""``lbctl`` and what haproxy answers it: a stand-in that keeps one server's state and speaks on a socket."""

from __future__ import annotations

import contextlib
import json
import socketserver
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.system import share

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LBCTL = share.path("recipes", "ansible", "files", "lbctl")
COLUMNS = "# pxname,svname,qcur,qmax,scur,smax,status,check_status,check_code,last_chk,"


@dataclass
class Haproxy:
    """The server h1 of the backend web. Each look at it takes the next of *looks*, and the last of them for ever."""

    place: Path
    state: str = "ready"
    looks: list[tuple[str, int, int]] = field(default_factory=lambda: [("UP", 0, 0)])  # status, queued, in work
    heard: list[str] = field(default_factory=list)
    refusal: str = ""

    def answer(self, command: str) -> str:
        self.heard.append(command)
        if command == "show stat":
            status, queued, busy = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
            rows = ["web,FRONTEND,,,9,9,OPEN,,,,", "other,h1,0,0,7,7,UP,L4OK,,,"]
            rows += [
                f"web,h1,{queued},0,{busy},9,{status},L7STS,503,Service Unavailable,",
                "web,BACKEND,0,0,9,9,UP,,,,",
            ]
            return "\n".join([COLUMNS, *rows, "", ""])
        return f"{self.refusal}\n"

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and answer of lbctl, run as on the balancer's host: by a Python without anything of ours."""
        done = subprocess.run([sys.executable, "-I", "-S", LBCTL, *words], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    def ask(self, step: str, *more: str, server: str = "h1") -> tuple[int, dict[str, Any]]:
        return self.run(step, "web", server, str(self.place), *more)

    @property
    def said(self) -> list[str]:
        """What it was told to do."""
        return [one for one in self.heard if one != "show stat"]


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    with served(Haproxy(tmp_path / "admin.sock")) as found:
        yield found


@contextlib.contextmanager
def served(found: Haproxy) -> Iterator[Haproxy]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:  # one command a connection, as haproxy without `prompt`
            self.wfile.write(found.answer(self.rfile.readline().decode().rstrip("\n")).encode())

    with socketserver.ThreadingUnixStreamServer(str(found.place), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def test_drain_waits_for_the_last_request(haproxy: Haproxy) -> None:
    """Those in the queue too; and one that was given to the server while it was being drained."""
    haproxy.looks = [("UP", 0, 3), ("UP", 0, 3), ("DRAIN", 1, 0), ("DRAIN", 0, 0), ("DRAIN", 0, 1), ("DRAIN", 0, 0)]
    code, answer = haproxy.ask("drain")
    assert (code, answer) == (0, {"step": "drain", "ok": True, "changed": True, "problems": [], "state": "DRAIN"})
    assert haproxy.said == ["set server web/h1 state drain"]
    assert len(haproxy.heard) - 1 == 5 + 3, "three quiet looks in a row"


def test_drain_has_a_limit(haproxy: Haproxy) -> None:
    haproxy.looks = [("UP", 0, 2)]
    code, answer = haproxy.ask("drain", "--limit", "0.3")
    assert (code, answer["ok"]) == (1, False)
    assert answer["problems"][0]["message"] == "h1 still has 2 requests after 0.3 s"


def test_to_drain_again_is_no_change(haproxy: Haproxy) -> None:
    haproxy.looks = [("DRAIN", 0, 0)]
    assert haproxy.ask("drain")[1]["changed"] is False


def test_undrain_waits_until_requests_come(haproxy: Haproxy) -> None:
    haproxy.looks = [("DRAIN", 0, 0), ("DOWN", 0, 0), ("DOWN 1/2", 0, 0), ("UP", 0, 0)]
    code, answer = haproxy.ask("undrain")
    assert (code, answer["state"], answer["changed"]) == (0, "UP", True)
    assert haproxy.said == ["set server web/h1 state ready"]
    assert len(haproxy.heard) - 1 == 4


@pytest.mark.parametrize("status", ["UP", "UP 1/3", "no check"])
def test_what_gets_requests_is_undrained(haproxy: Haproxy, status: str) -> None:
    haproxy.looks = [(status, 0, 0)]
    code, answer = haproxy.ask("undrain")
    assert (code, answer["state"], answer["changed"]) == (0, status, False)


def test_undrain_has_a_limit_and_says_what_haproxy_sees(haproxy: Haproxy) -> None:
    haproxy.looks = [("DOWN", 0, 0)]
    code, answer = haproxy.ask("undrain", "--limit", "0.3")
    assert code == 1
    said = "haproxy finds h1 DOWN after 0.3 s: L7STS 503 Service Unavailable"
    assert answer["problems"][0]["message"] == said


@pytest.mark.parametrize("step", ["drain", "undrain"])
def test_maintenance_stays(haproxy: Haproxy, step: str) -> None:
    """Who took the server out decides when it comes back."""
    haproxy.looks = [("MAINT", 0, 4)]
    code, answer = haproxy.ask(step)
    assert (code, answer["state"], answer["changed"]) == (0, "MAINT", False)
    assert haproxy.said == []


def test_show_changes_nothing(haproxy: Haproxy) -> None:
    code, answer = haproxy.ask("show")
    assert (code, answer["state"], haproxy.heard) == (0, "UP", ["show stat"])


@pytest.mark.parametrize("step", ["show", "drain", "undrain"])
def test_a_server_that_haproxy_does_not_know(haproxy: Haproxy, step: str) -> None:
    code, answer = haproxy.ask(step, server="h9")
    assert (code, haproxy.said) == (1, [])
    assert answer["problems"] == [
        {
            "message": "haproxy knows no server h9 in the backend web",
            "hint": "its name there is `release_server` of the host in the inventory",
        }
    ]


def test_a_socket_that_may_only_look(haproxy: Haproxy) -> None:
    haproxy.refusal = "Permission denied"
    code, answer = haproxy.ask("drain")
    assert code == 1
    assert answer["problems"][0]["message"] == "haproxy refuses to set h1 to drain: Permission denied"


def test_nobody_at_the_socket(tmp_path: Path) -> None:
    code, answer = Haproxy(tmp_path / "nothing.sock").ask("show")
    assert code == 1
    (problem,) = answer["problems"]
    assert problem["message"].startswith(f"haproxy does not answer at {tmp_path}/nothing.sock: ")
    assert "level admin" in problem["hint"]
