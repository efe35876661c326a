"""The sandbox: what a program inside sees and cannot do, as every user; what is said when there is none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.buildroot import RootRunner, check
from buildonce.errors import BuildError, MissingToolError
from buildonce.model import Bind, Command
from buildonce.system.run import HostRunner
from tests.debs import users

if TYPE_CHECKING:
    from tests.buildroot.conftest import Made

_LOOK = r"""
import ctypes, json, os, socket

def refused(action):
    try:
        action()
    except OSError as error:
        return error.strerror
    return "done"

def write(path):
    return refused(lambda: open(path, "w").close())

print(json.dumps({
    "environment": dict(os.environ),
    "init": open("/proc/1/environ").read(),
    "ids": [os.getuid(), os.getgid(), os.geteuid(), os.getegid()],
    "host": socket.gethostname(),
    "umask": os.umask(0),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "connect": refused(lambda: socket.create_connection(("192.0.2.1", 80), 2)),
    "resolve": refused(lambda: socket.getaddrinfo("example.org", 80)),
    "folders": {name: sorted(os.listdir(name)) for name in ("/root", "/home", "/opt", "/tmp", "/build")},
    "written": {
        name + "/x": write(name + "/x")
        for name in ("", "/usr", "/etc", "/var", "/opt", "/tmp", "/build", "/build/rw")
    },
    "bind": write("/build/ro/x"),
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")],
    "mount": ctypes.CDLL(None).mount(b"x", b"/tmp", b"tmpfs", 0, None),
    "owner": refused(lambda: os.chown("/build/rw/x", 0, 0)),
    "cwd": os.getcwd(),
}))
"""

_RUN = r"""
import sys
from pathlib import Path, PurePosixPath
from buildonce.buildroot import RootRunner
from buildonce.model import Bind, Command
from buildonce.system.run import HostRunner
root, rw, ro, code = sys.argv[1:]
binds = (
    Bind(source=Path(rw), target=PurePosixPath("/build/rw"), writable=True),
    Bind(source=Path(ro), target=PurePosixPath("/build/ro")),
)
given = (("GIVEN", "yes"), ("LC_ALL", "C"))
command = Command(argv=("python3", "-c", code), cwd="/build", environment=given, binds=binds, capture=True)
outcome = RootRunner(Path(root), HostRunner()).run(command, check=False)
sys.stdout.write(outcome.stdout.decode() or outcome.tail)
"""


@pytest.mark.integration
@pytest.mark.parametrize("user", ["", *users.OTHERS])
def test_the_inside_is_the_same_for_every_user(made: Made, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    with users.common_folder() as folder:
        for name in ("rw", "ro"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)
        saw = json.loads(
            users.run(_RUN, str(made.root), str(folder / "rw"), str(folder / "ro"), _LOOK, user=user, umask=0o077)
        )
        assert [path.name for path in folder.glob("*/*")] == ["x"]
        assert (folder / "rw/x").owner() == (user or Path(f"/proc/{os.getpid()}").owner())
    read_only = "Read-only file system"
    assert saw == {
        "environment": {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "TZ": "UTC",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIVEN": "yes",
            "PWD": "/build",
        },
        "init": "",
        "ids": [0, 0, 0, 0],
        "host": "build",
        "umask": 0o022,
        "interfaces": ["lo"],
        "connect": "Network is unreachable",
        "resolve": "Temporary failure in name resolution",
        "folders": {"/root": [], "/home": [], "/opt": [], "/tmp": [], "/build": ["ro", "rw"]},
        "written": dict.fromkeys(("/x", "/usr/x", "/etc/x", "/var/x"), read_only)
        | dict.fromkeys(("/opt/x", "/tmp/x", "/build/x", "/build/rw/x"), "done"),
        "bind": read_only,
        "processes": 2,
        "capabilities": ["0" * 16] * 5,
        "mount": -1,
        "owner": "done",
        "cwd": "/build",
    }


@pytest.fixture
def runner(made: Made) -> RootRunner:
    return RootRunner(made.root, HostRunner())


def _unlike_any_other() -> str:
    """So many seconds to sleep that a process can be told by it."""
    return f"4321.{time.monotonic_ns()}"


def _sleeps(length: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{length}\0".encode():
                return True
        except OSError:
            continue
    return False


def _gone(length: str) -> bool:
    deadline = time.monotonic() + 10
    while _sleeps(length):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.integration
def test_processes_left_behind_are_gone(runner: RootRunner) -> None:
    length = _unlike_any_other()
    runner.run(Command(argv=("sh", "-c", f"setsid sleep {length} </dev/null >/dev/null 2>&1 & sleep 0.1")))
    assert _gone(length)


@pytest.mark.integration
def test_a_timeout_ends_everything_inside(runner: RootRunner) -> None:
    length = _unlike_any_other()
    script = f"trap '' TERM; setsid sleep {length} & sleep {length}"
    with pytest.raises(BuildError, match="sh did not end within 1 s"):
        runner.run(Command(argv=("sh", "-c", script), timeout=1))
    assert _gone(length)


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_survives_the_tool(made: Made, number: signal.Signals) -> None:
    length = _unlike_any_other()
    code = (
        "import sys; from pathlib import Path; from buildonce.buildroot import RootRunner\n"
        "from buildonce.model import Command; from buildonce.system.run import HostRunner\n"
        "RootRunner(Path(sys.argv[1]), HostRunner()).run(Command(argv=('sleep', sys.argv[2])))"
    )
    source = Path(sys.modules["buildonce"].__file__ or "").parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", code, made.root, length],
        env=os.environ | {"PYTHONPATH": str(source)},
        stderr=subprocess.DEVNULL,
    )
    while not _sleeps(length):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(10)
    assert _gone(length)


@pytest.mark.integration
def test_output_goes_to_the_log_and_data_to_the_outcome(runner: RootRunner, tmp_path: Path) -> None:
    log = tmp_path / "log"
    outcome = runner.run(Command(argv=("sh", "-c", "echo data; echo talk >&2"), capture=True), log=log)
    assert (outcome.returncode, outcome.stdout, outcome.tail) == (0, b"data\n", "talk")
    with pytest.raises(BuildError, match="sh ended with exit code 3") as caught:
        runner.run(Command(argv=("sh", "-c", "echo why; exit 3")), log=log)
    assert (caught.value.log, caught.value.log_path) == ("why", str(log))
    assert [line for line in log.read_text().splitlines() if not line.startswith("+ ")] == ["talk", "why"]
    assert runner.run(Command(argv=("sh", "-c", "exit 3")), check=False).returncode == 3


@pytest.mark.integration
def test_what_is_not_in_the_root_is_named(runner: RootRunner, tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="cargo is not in the build root"):
        runner.run(Command(argv=("cargo", "build")), check=False)
    bind = Bind(source=tmp_path / "absent", target=PurePosixPath("/build/x"))
    with pytest.raises(BuildError, match=r"there is no .*absent"):
        runner.run(Command(argv=("true",), binds=(bind,)))


@pytest.mark.integration
def test_several_at_once(runner: RootRunner) -> None:
    found: list[Any] = []

    def work(number: int) -> None:
        command = Command(argv=("sh", "-c", f"echo {number} > /tmp/n; sleep 0.2; cat /tmp/n"), capture=True)
        found.append(runner.run(command).stdout)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [b"0\n", b"1\n", b"2\n", b"3\n"]


def test_without_bubblewrap_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for action in (
        lambda: check(HostRunner()),
        lambda: RootRunner(tmp_path, HostRunner()).run(Command(argv=("true",))),
    ):
        with pytest.raises(MissingToolError, match="bubblewrap") as caught:
            action()
        assert caught.value.problems[0].hint == "sudo apt install bubblewrap"


@pytest.mark.parametrize(
    "said",
    [  # what the three stages of Docker's confinement and Ubuntu's AppArmor make it say
        "bwrap: No permissions to create new namespace, likely because the kernel does not allow it",
        "bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
        "bwrap: setting up uid map: Permission denied",
    ],
)
def test_a_forbidden_sandbox_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for action in (
        lambda: check(HostRunner()),
        lambda: RootRunner(tmp_path, HostRunner()).run(Command(argv=("true",))),
    ):
        with pytest.raises(MissingToolError, match="does not let bubblewrap make a sandbox") as caught:
            action()
        assert caught.value.problems[0].where == said
        assert any(step in caught.value.problems[0].hint for step in ("sudo sysctl -w ", "--security-opt seccomp"))
