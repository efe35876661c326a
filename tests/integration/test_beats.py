"""The releases that deployments are tested with are real, and each has the fault that is said of it, no other."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import ports
from tests.integration import hosts
from tests.integration.beats import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.beats import Beats


class Running:
    """``beat serve`` of a version, from its pex."""

    def __init__(self, pex: Path, port: int, folder: Path) -> None:
        environment = {**os.environ, "BEAT_PORT": str(port), "PEX_ROOT": str(folder)}
        self.port = port
        self.process = subprocess.Popen([sys.executable, pex, "serve"], env=environment)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text; status 0 when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except ConnectionRefusedError:
                return 0, ""


@contextlib.contextmanager
def serving(beats: Beats, version: str, folder: Path) -> Iterator[Running]:
    running = Running(beats[version].file("pex"), ports.free(), folder)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


@pytest.mark.parametrize("version", FAULTS)
def test_version(beats: Beats, version: str, tmp_path: Path) -> None:
    fault = FAULTS[version]
    served = "0.9.0" if fault == "impostor" else version
    assert beats[version].version == version
    with serving(beats, version, tmp_path) as beat:
        if fault == "crash":
            assert beat.process.wait(30) == 1
            return
        if fault == "hang":
            with pytest.raises(subprocess.TimeoutExpired):
                beat.process.wait(2)
            assert beat.get("/health") == (0, "")
            return
        hosts.until(lambda: beat.get("/")[0])
        assert beat.get("/") == (200, f"{served}\n")
        status, text = beat.get("/health")
        ill = fault == "unhealthy"
        assert (status, json.loads(text)) == (
            503 if ill else 200,
            {"status": "ill" if ill else "ok", "version": served},
        )


def test_migration(beats: Beats, tmp_path: Path) -> None:
    environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path), "PEX_ROOT": str(tmp_path / "pex")}
    codes = [
        subprocess.run([sys.executable, beats[version].file("pex"), "migrate"], env=environment, check=False).returncode
        for version in ("1.0.0", "1.5.0", "1.1.0")
    ]
    assert codes == [0, 1, 0]
    assert (tmp_path / "migrations").read_text() == "1.0.0\n1.1.0\n"


def test_told_to_end(beats: Beats, tmp_path: Path) -> None:
    """What is asked is answered, idle connections do not hold it up."""
    with serving(beats, "1.0.0", tmp_path) as beat:
        hosts.until(lambda: beat.get("/")[0])
        idle, asking = (http.client.HTTPConnection("127.0.0.1", beat.port, timeout=10) for _ in range(2))
        with contextlib.closing(idle), contextlib.closing(asking):
            asking.request("GET", "/slow")
            idle.request("GET", "/")
            assert idle.getresponse().read() == b"1.0.0\n"  # connections are taken in order: the other is there too
            beat.process.send_signal(signal.SIGTERM)
            assert asking.getresponse().read() == b"1.0.0\n"
            assert beat.process.wait(5) == 0


def test_site(beats: Beats, tmp_path: Path) -> None:
    more = "\n[tool.release.publish.shelf]\ntype = 'folder'\npath = 'shelf'\n"
    site = beats.site(tmp_path, more, "1.0.0", "1.1.0")
    for version in ("1.0.0", "1.1.0"):
        site.release("verify", f"dist/beat-{version}", "--key", str(beats.key))
    (site.root / "shelf").mkdir()
    site.release("publish", "dist/beat-1.0.0", "--to", "shelf", "--dry-run")
