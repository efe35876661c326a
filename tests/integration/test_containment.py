"""Hostile sdists: whatever they try is contained, named where it makes them fail, and nothing is lost on the host."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration import hosts, tiny
from tests.integration.test_bad_machine import without

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.tiny import Ended, User

WAYS = ("sandbox", "docker")
SETUP = "from setuptools import setup\n{hostile}\nsetup(name='hostile', version='1.0', py_modules=['hostile'])\n"
MISSING_TOOL = 5


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def nothing_left_in_the_engine() -> Iterator[None]:
    before = hosts.left_in_the_engine()
    yield
    assert hosts.left_in_the_engine() <= before


def build(user: User, way: str, hostile: str, **environment: str) -> Ended:
    """A build of a project that needs the sdist whose build does *hostile*."""
    texts = {"setup.py": SETUP.format(hostile=hostile), "hostile.py": tiny.salt()}
    user.index.projects.pop("hostile", None)
    user.index.put("hostile", "hostile-1.0.tar.gz", tiny.sdist("hostile", "1.0", texts))
    user.ready("hostile==1.0")
    return user.run("build", "--runner", way, start=(), **environment)


def fails(ended: Ended, user: User, what: str) -> None:
    assert ended.code == 1
    assert what in ended.error
    assert ended.error.startswith("hostile 1.0 does not compile for debian-12: ")
    assert ended.hint
    assert "compile-hostile-debian-12.log" in ended.stderr
    assert user.left == []


def test_the_network(user: User, way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        names = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/')"
        ended = build(user, way, names)
        assert ended.code == 1
        assert "Connection refused" in ended.stderr
        with pytest.raises(BlockingIOError):
            server.accept()
    ended = build(user, way, "import socket; socket.create_connection(('192.0.2.1', 80), 5)")
    fails(ended, user, "it tried to download something")
    ended = build(user, way, "import socket; socket.getaddrinfo('example.org', 80)")
    fails(ended, user, "it tried to download something")


def test_the_home_folder(user: User, way: str) -> None:
    (user.home / ".netrc").write_text("machine example.org password secret\n")
    (user.home / ".netrc").chmod(0o600)
    reads = "import os; print(open(os.path.expanduser('~/.netrc')).read())"
    ended = build(user, way, reads)
    fails(ended, user, "it wants the home folder of whoever builds it")
    assert "secret" not in ended.stderr
    by_name = f"print(open({str(user.home / '.netrc')!r}).read())"
    ended = build(user, way, by_name)
    assert ended.code == 1
    assert "secret" not in ended.stderr
    assert (user.home / ".netrc").read_text() == "machine example.org password secret\n"


def test_a_daemon_left_behind(user: User, way: str) -> None:
    length = f"4711.{time.monotonic_ns()}"
    daemon = f"import subprocess; subprocess.Popen(['sleep', '{length}'], start_new_session=True)"
    ended = build(user, way, daemon)
    assert ended.code == 0, ended.stderr
    shutil.rmtree(user.dist)
    assert subprocess.run(["pgrep", "-f", length], check=False, capture_output=True).stdout == b""


def test_writing_elsewhere(user: User, way: str, tmp_path: Path) -> None:
    ended = build(user, way, "open('/usr/lib/python3/dist-packages/evil.pth', 'w')")
    fails(ended, user, "it tried to write outside of its folder")
    kept = tmp_path / "kept"
    kept.write_text("mine")
    ended = build(user, way, f"import os; os.remove({str(kept)!r})")
    assert ended.code == 1
    assert kept.read_text() == "mine"
    # What the build returns is a link that leads to a file of the host: it is refused as a wheel, and not followed.
    link = f"""
import os
os.symlink({str(kept)!r}, '/build/out/hostile-1.0-py3-none-any.whl')
os.symlink({str(kept.parent)!r}, '/build/out/folder')
"""
    if build(user, way, link).code == 0:
        shutil.rmtree(user.dist)
    assert kept.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("shop", "home")] == ["kept"]


def test_filling_the_memory(user: User, way: str) -> None:
    ended = build(user, way, "import os; os.posix_fallocate(os.open('/tmp/x', os.O_CREAT | os.O_RDWR), 0, 1 << 45)")
    fails(ended, user, "filled /tmp, /opt or /build of its build root")
    assert "No space left on device" in ended.stderr


def test_hanging(user: User, way: str) -> None:
    """The limit is of one step; the first ones of a build take a second or two."""
    length = f"4711.{time.monotonic_ns()}"
    hanging = f"import subprocess; print('begun', flush=True); subprocess.run(['sleep', '{length}'])"
    ended = build(user, way, hanging, BUILDONCE_TIME_LIMIT="0.25")
    fails(ended, user, "building the wheel did not end within 15 s")
    assert "--time-limit" in ended.hint
    log = next(line for line in ended.stderr.splitlines() if line.startswith("  log: ")).removeprefix("  log: ")
    assert "begun" in Path(log).read_text()
    assert subprocess.run(["pgrep", "-f", length], check=False, capture_output=True).stdout == b""


def test_neither_a_sandbox_nor_an_engine(user: User, tmp_path: Path) -> None:
    user.ready()
    nowhere = {"PATH": without("bwrap", tmp_path / "bin"), "DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    ended = user.run("build", start=(), **nowhere)
    assert ended.code == MISSING_TOOL
    assert ended.errors[0].endswith("on this machine: there is neither a sandbox nor a Docker engine")
    assert "hint: sudo apt install bubblewrap" in ended.stderr
    assert "hint: install one (sudo apt-get install docker.io)" in ended.stderr
    assert user.left == []
    for way in WAYS:
        assert user.run("build", "--runner", way, start=(), **nowhere).code == MISSING_TOOL


def test_without_a_sandbox_the_engine_is_taken(user: User, tmp_path: Path) -> None:
    """Even when it is elsewhere: a private /tmp stands for a machine whose files the engine does not see."""
    user.ready()
    data = user.run("build", "--json", "--runner", "sandbox").data
    expected = Path(data["dir"], "SHA256SUMS").read_bytes()
    shutil.rmtree(data["dir"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = (
        f'mount -t tmpfs tmpfs "{elsewhere}" && cp -a "{user.root}" "{elsewhere}/p" && cd "{elsewhere}/p" && '
        f'"$@" && cp -a dist "{tmp_path}/result"'
    )
    unshare = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
    path = {"PATH": without("bwrap", tmp_path / "bin")}
    ended = user.run("build", start=(*unshare, "sh", "-c", script, "sh"), **path)
    assert ended.code == 0, ended.stderr
    (found,) = (tmp_path / "result").glob("*/SHA256SUMS")
    assert found.read_bytes() == expected
