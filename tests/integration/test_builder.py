"""``release builder`` on a real project: roots made ready, entered in both ways, listed, and removed."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce import buildroot
from buildonce import target as targets
from buildonce.system import engine
from buildonce.system.store import Store
from tests.integration import hosts, tiny

if TYPE_CHECKING:
    from tests.integration.tiny import User

LOOK = "whoami; hostname; pwd; ls /build/src /build; env | sort; umask; wc -l </proc/net/dev; git log --format=%s"
SEEN = f"""
import subprocess, sys
from setuptools import setup
sys.stderr.write(subprocess.run({LOOK!r}, shell=True, capture_output=True, text=True).stdout)
setup()
"""


@pytest.fixture(params=["sandbox", "docker"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_shell_is_what_a_build_step_sees(user: User, way: str) -> None:
    user.ready()
    user.write("setup.py", SEEN)
    user.commit()
    inside = user.run("builder", "shell", "-c", LOOK, "--runner", way, "--json", SECRET="x")
    assert inside.code == 0
    told = inside.data["stdout"]
    assert told.startswith("root\nbuild\n/build/src\n")
    assert "SECRET" not in told
    assert user.run("build", "--runner", way).code == 0
    (log,) = user.dist.glob("*/log/sdist.log")
    seen = log.read_text()
    shutil.rmtree(user.dist)
    for line in told.splitlines():  # programs that Python starts have one variable more
        assert line in seen, line
    assert user.run("builder", "shell", "-c", "exit 7", "--runner", way).code == 7


def test_the_hook_of_the_page_builds_the_wheel(user: User, way: str) -> None:
    user.ready()
    line = "/build/env/bin/python -I /build/hook.py wheel >&2; ls /build/out"
    ended = user.run("builder", "shell", "-c", line, "--runner", way)
    assert ended.stdout == "shop-1.0-py3-none-any.whl\n"
    status = subprocess.run(["git", "-C", str(user.root), "status", "--porcelain"], capture_output=True, check=True)
    assert status.stdout == b""


def test_a_shell_on_a_terminal(user: User, way: str) -> None:
    """With job control, and nothing of it is left when it ends."""
    user.ready()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(user.root)
        command = user.command("builder", "shell", "--runner", way)
        os.execvpe(command[0], command, {**user.environment, "TERM": "xterm"})
    try:
        wait_for(terminal, r"root@build:/build/src# ")
        os.write(terminal, b"tty; echo $((6*7)); sleep 4711 &\n")
        said = wait_for(terminal, r"\[1\] \d+\r\n.*# ")
        assert "42\r\n" in said
        assert "no job control" not in said
        os.write(terminal, b"cat\n")
        time.sleep(0.5)
        os.write(terminal, b"\x03")  # Ctrl-C ends what runs in the shell, not the shell
        wait_for(terminal, r"\^C.*# ")
        os.write(terminal, b"kill %1; exit 5\n")
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 5


def wait_for(terminal: int, pattern: str) -> str:
    """What the terminal shows up to *pattern*."""
    said, end = "", time.monotonic() + 90
    while not re.search(pattern, said, re.DOTALL):
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        assert ready, f"{pattern} did not come:\n{said}"
        said += os.read(terminal, 1 << 16).decode(errors="replace")
    return said


def test_create_list_and_gc(user: User) -> None:
    """What the lock is for is never removed. Store and engine are those of whoever runs the tests: nothing else is."""
    user.ready()
    key = buildroot.key(targets.load(tiny.TARGET), tiny.debs())
    made = user.run("builder", "create", "--json", "--runner", "docker")
    assert [(row["key"], row["target"], row["locked"]) for row in made.data] == [(key, "debian-12", True)]
    assert made.data[0]["image"] > 100 << 20
    listed = {row["key"]: row for row in user.run("builder", "list", "--json").data}
    assert listed[key]["stored"] > 100 << 20
    assert "debian-12" in user.run("builder", "list").stdout
    gone = user.run("builder", "gc", "--dry-run", "--json", "--days", "-1").data
    assert key not in {row["key"] for row in gone["removed"]}


def test_an_image_of_that_name_with_other_content_is_not_used(user: User, tmp_path: Path) -> None:
    user.ready()
    store = Store(Path(user.environment["BUILDONCE_STORE"]))
    key = buildroot.key(targets.load(tiny.TARGET), tiny.debs())
    place = store.root / "roots" / key
    tag = buildroot.image(key)
    with hosts.engine() as client:
        evil = tmp_path / "evil"
        evil.mkdir()
        (evil / "x").write_text("evil")
        packed = shutil.make_archive(str(tmp_path / "evil"), "tar", evil)
        client.api.import_image(packed, repository=tag.partition(":")[0], tag=key)
    assert place.is_dir()
    assert user.run("builder", "shell", "-c", "ls /x", "--runner", "docker").code == 2
    found = engine.layers(tag)
    assert found is not None
    assert found[1] == (place.with_name(f"{key}.layer").read_text(),)
