"""Ctrl-C at any step: exit code 130, no process and no half of anything left, and the next run works."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration import tiny
from tests.integration.tiny import Ended
from tests.system.server import hangs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.tiny import User

INTERRUPTED = 130
PATIENCE = 60.0  # seconds until a step has to be reached
SOON = 10.0  # seconds in which everything has to be over
SLEEP = "sleep 4711"  # what a build does for ever; found by this name among all processes
SLEEPER = f"import subprocess\nfrom setuptools import setup\nsubprocess.run({SLEEP.split()})\nsetup()\n"


class Running:
    """``release …`` at work, in a process group of its own, as a shell starts it."""

    def __init__(self, user: User, *arguments: str) -> None:
        self._said = user.home / "said"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                user.command(*arguments),
                cwd=user.root,
                env=user.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._said.read_text()

    def children(self) -> dict[int, str]:
        """All processes below it with their command lines, by their number."""
        rows = dict(filter(None, map(_stat, Path("/proc").glob("[0-9]*"))))
        found: dict[int, str] = {}
        waiting = [self.process.pid]
        while waiting:
            parent = waiting.pop()
            waiting += (young := [pid for pid, (above, _) in rows.items() if above == parent])
            found |= {pid: rows[pid][1] for pid in young}
        return found

    def until(self, reached: Callable[[], bool]) -> dict[int, str]:
        """Wait for a step; answers the children that are at work then."""
        end = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.05)
        return self.children()

    def runs(self, command: str) -> Callable[[], bool]:
        return lambda: any(command in line for line in self.children().values())

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> Ended:
        os.killpg(self.process.pid, number)
        return Ended(self.process.wait(SOON), "", self.said)


def _stat(folder: Path) -> tuple[int, tuple[int, str]] | None:
    try:
        above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        return int(folder.name), (above, (folder / "cmdline").read_text().replace("\0", " "))
    except (OSError, ValueError):
        return None


@pytest.fixture
def start(user: User) -> Iterator[Callable[..., Running]]:
    with contextlib.ExitStack() as stack:

        def begin(*arguments: str) -> Running:
            running = Running(user, *arguments)
            stack.callback(running.process.kill)
            return running

        yield begin


def gone(children: dict[int, str]) -> bool:
    """Whether none of *children* is there any more, but for a moment of dying."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        if not any((row := _stat(Path("/proc", str(pid)))) and row[1][1] == line for pid, line in children.items()):
            return True
        time.sleep(0.05)
    return False


def works(user: User) -> None:
    """The next run ends well."""
    ended = user.run("build", "--json")
    assert ended.code == 0
    shutil.rmtree(ended.data["dir"])


def test_while_fetching(user: User, start: Callable[..., Running]) -> None:
    name = user.wheel("slow", {"slow.py": tiny.salt(), "slow.bin": os.urandom(1 << 18)})
    user.ready("slow")
    data = user.index.projects["slow"].files[name]
    path, over, reached = user.move(name, data), threading.Event(), threading.Event()
    user.server.faults[path] = [hangs(over, data=data, after=1 << 17, reached=reached)]
    running = start("build")
    running.until(reached.is_set)
    ended = running.interrupt()
    over.set()
    assert ended.code == INTERRUPTED
    assert ended.stderr.endswith("interrupted: nothing was left half-written\n")
    assert user.left == []
    works(user)
    assert user.server.ranges_of(path)[1] is not None  # what had come was kept


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_while_an_sdist_compiles(user: User, start: Callable[..., Running], number: signal.Signals) -> None:
    user.index.put("sleepy", "sleepy-1.0.tar.gz", tiny.sdist("sleepy", "1.0", {"setup.py": SLEEPER}))
    user.ready("sleepy")
    running = start("build")
    children = running.until(running.runs(SLEEP))
    ended = running.interrupt(number)
    assert ended.code == INTERRUPTED
    assert "Traceback" not in ended.stderr
    assert user.left == []
    assert gone(children)
    if number == signal.SIGINT:
        user.ready()
        works(user)


def test_while_the_project_is_built(user: User, start: Callable[..., Running]) -> None:
    user.project()
    user.lock()
    user.write("setup.py", SLEEPER)
    user.commit()
    running = start("build")
    children = running.until(running.runs(SLEEP))
    assert running.interrupt().code == INTERRUPTED
    assert user.left == []
    assert gone(children)
    (user.root / "setup.py").unlink()
    user.commit()
    works(user)


def test_while_formats_are_built(user: User, start: Callable[..., Running]) -> None:
    """They are built in threads, which Python does not interrupt."""
    user.ready(formats=("deb", "wheel"))
    running = start("build")
    children = running.until(running.runs("dpkg-buildpackage"))
    before = time.monotonic()
    assert running.interrupt().code == INTERRUPTED
    assert time.monotonic() - before < SOON / 2
    assert user.left == []
    assert gone(children)
    works(user)


def test_while_locking(user: User, start: Callable[..., Running]) -> None:
    user.project()
    user.write("setup.py", SLEEPER)
    user.commit()
    running = start("lock")
    children = running.until(running.runs(SLEEP))
    assert running.interrupt().code == INTERRUPTED
    assert gone(children)
    assert sorted(path.name for path in user.root.iterdir()) == [".git", "pyproject.toml", "setup.py", "shop.py"]


def test_a_build_that_was_killed_is_cleared_away_by_the_next(user: User, start: Callable[..., Running]) -> None:
    user.index.put("sleepy", "sleepy-1.0.tar.gz", tiny.sdist("sleepy", "1.0", {"setup.py": SLEEPER}))
    user.ready("sleepy")
    running = start("build")
    children = running.until(running.runs(SLEEP))
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    assert gone(children)
    assert user.left != []
    user.ready()
    works(user)
    assert user.left == []


def test_two_builds_in_one_checkout(user: User, start: Callable[..., Running]) -> None:
    user.index.put("sleepy", "sleepy-1.0.tar.gz", tiny.sdist("sleepy", "1.0", {"setup.py": SLEEPER}))
    user.ready("sleepy")
    first = start("build")
    first.until(first.runs(SLEEP))
    second = user.run("build")
    assert second.code == 1
    assert second.error == f"another build is running here (process {first.process.pid})"
    assert "--out" in second.hint
    assert first.interrupt().code == INTERRUPTED
