"""The two ways to run programs in a build root: what a program sees and cannot do is the same, for every user."""

from __future__ import annotations

import contextlib
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

from buildonce import buildroot
from buildonce.errors import BuildError, MissingToolError, TimeLimitError
from buildonce.model import Bind, Command
from buildonce.system import engine
from buildonce.system.run import HostRunner
from tests.debs import users
from tests.integration import hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.model import RunnerName
    from buildonce.protocols import Runner
    from tests.buildroot.conftest import Made

WAYS: tuple[RunnerName, ...] = ("sandbox", "docker")

_LOOK = r"""
import ctypes, json, os, socket, sys

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
    "init": sorted(set(filter(None,
        open("/proc/1/environ").read().split("\0"))) - {f"{k}={v}" for k, v in os.environ.items()}),
    "files": {name: open(name).read() for name in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")},
    "devices": sorted(set(os.listdir("/dev")) - {"core", "mqueue"}),
    "sys": os.listdir("/sys"),
    "stdin": sys.stdin.read(),
    "ignored": [line for line in open("/proc/self/status") if line.startswith("SigIgn")],
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
from buildonce import buildroot
from buildonce.model import Bind, Command
from buildonce.system.run import HostRunner
way, root, rw, ro, code = sys.argv[1:]
binds = (
    Bind(source=Path(rw), target=PurePosixPath("/build/rw"), writable=True),
    Bind(source=Path(ro), target=PurePosixPath("/build/ro")),
)
given = (("GIVEN", "yes"), ("LC_ALL", "C"))
command = Command(argv=("python3", "-c", code), cwd="/build", environment=given, binds=binds, capture=True)
outcome = buildroot.runner(way, Path(root), HostRunner()).run(command, check=False)
sys.stdout.write(outcome.stdout.decode() or outcome.tail)
"""


@contextlib.contextmanager
def ignoring(*numbers: signal.Signals) -> Iterator[None]:
    """As in what nohup(1) or a script's background job starts."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.integration
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("user", ["", *users.OTHERS])
def test_the_inside_is_the_same_for_every_user(
    made: Made, way: RunnerName, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    groups = ["docker"] if way == "docker" else []
    with users.common_folder() as folder, ignoring(signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
        for name in ("rw", "ro"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)
        saw = json.loads(
            users.run(
                *(_RUN, way, str(made.root), str(folder / "rw"), str(folder / "ro"), _LOOK),
                user=user,
                umask=0o077,
                groups=groups,
            )
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
        "init": [],
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
        "files": {
            "/etc/hosts": "127.0.0.1 localhost build\n::1 localhost\n",
            "/etc/hostname": "build\n",
            "/etc/resolv.conf": "",
        },
        "devices": sorted(
            [
                "fd",
                "full",
                "null",
                "ptmx",
                "pts",
                "random",
                "shm",
                "stderr",
                "stdin",
                "stdout",
                "tty",
                "urandom",
                "zero",
            ]
        ),
        "sys": [],
        "stdin": "",
        "ignored": ["SigIgn:\t0000000001001000\n"],  # Python's own: SIGPIPE, SIGXFSZ
        "processes": 2 if way == "sandbox" else 3,  # one waits for this program, in the engine one for its end, too
        "capabilities": ["0" * 16] * 5,
        "mount": -1,
        "owner": "done",
        "cwd": "/build",
    }


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> RunnerName:
    found: RunnerName = request.param
    return found


@pytest.fixture
def runner(made: Made, way: RunnerName) -> Runner:
    return buildroot.runner(way, made.root, HostRunner())


@pytest.fixture(autouse=True)
def nothing_left_in_the_engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Neither containers nor volumes, whatever happened; but for those of builds that were killed before."""
    if "docker" not in request.node.name:
        yield
        return
    before = hosts.left_in_the_engine()
    yield
    hosts.until(lambda: hosts.left_in_the_engine() <= before, told=lambda: str(hosts.left_in_the_engine() - before))


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
def test_processes_left_behind_are_gone(runner: Runner) -> None:
    length = _unlike_any_other()
    runner.run(Command(argv=("sh", "-c", f"setsid sleep {length} </dev/null >/dev/null 2>&1 & sleep 0.1")))
    assert _gone(length)


@pytest.mark.integration
def test_a_timeout_ends_everything_inside(runner: Runner, tmp_path: Path) -> None:
    length = _unlike_any_other()
    script = f"echo begun; trap '' TERM; setsid sleep {length} & sleep {length}"
    log = tmp_path / "log"
    with pytest.raises(TimeLimitError, match="sh did not end within 2 s") as caught:
        runner.run(Command(argv=("sh", "-c", script), timeout=2), log=log)
    assert (caught.value.log, caught.value.log_path) == ("begun", str(log))
    assert "begun" in log.read_text()
    assert "--time-limit" in caught.value.problems[0].hint
    assert _gone(length)


@pytest.mark.integration
def test_every_command_has_a_limit(made: Made, way: RunnerName) -> None:
    runner = buildroot.runner(way, made.root, HostRunner(), limit=2)
    with pytest.raises(TimeLimitError, match="sleep did not end within 2 s"):
        runner.run(Command(argv=("sleep", _unlike_any_other())))


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_survives_the_tool(made: Made, way: RunnerName, number: signal.Signals) -> None:
    length = _unlike_any_other()
    code = (
        "import sys; from pathlib import Path; from buildonce import buildroot\n"
        "from buildonce.model import Command; from buildonce.system.run import HostRunner\n"
        "runner = buildroot.runner(sys.argv[3], Path(sys.argv[1]), HostRunner())\n"
        "runner.run(Command(argv=('sleep', sys.argv[2])))"
    )
    source = Path(sys.modules["buildonce"].__file__ or "").parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", code, made.root, length, way],
        env=os.environ | {"PYTHONPATH": str(source)},
        stderr=subprocess.DEVNULL,
    )
    while not _sleeps(length):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(10)
    assert _gone(length)
    if way == "docker" and number == signal.SIGKILL:  # nobody could clean up
        assert hosts.left_in_the_engine()
        hosts.until(lambda: engine.sweep(older_than=0) == 0)


@pytest.mark.integration
def test_output_goes_to_the_log_and_data_to_the_outcome(runner: Runner, tmp_path: Path) -> None:
    log = tmp_path / "log"
    outcome = runner.run(Command(argv=("sh", "-c", "echo data; echo talk >&2"), capture=True), log=log)
    assert (outcome.returncode, outcome.stdout, outcome.tail) == (0, b"data\n", "talk")
    with pytest.raises(BuildError, match="sh ended with exit code 3") as caught:
        runner.run(Command(argv=("sh", "-c", "echo why; exit 3")), log=log)
    assert (caught.value.log, caught.value.log_path) == ("why", str(log))
    assert [line for line in log.read_text().splitlines() if not line.startswith("+ ")] == ["talk", "why"]
    assert runner.run(Command(argv=("sh", "-c", "exit 3")), check=False).returncode == 3


@pytest.mark.integration
def test_what_is_not_in_the_root_is_named(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="cargo is not in the build root"):
        runner.run(Command(argv=("cargo", "build")), check=False)
    bind = Bind(source=tmp_path / "absent", target=PurePosixPath("/build/x"))
    with pytest.raises(BuildError, match=r"there is no .*absent"):
        runner.run(Command(argv=("true",), binds=(bind,)))


@pytest.mark.integration
def test_several_at_once(runner: Runner) -> None:
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


@pytest.mark.integration
def test_what_is_written_comes_back_as_it_is(runner: Runner, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "kept/deep").mkdir(parents=True)
    (out / "kept/deep/file").write_text("before")
    (out / "gone").write_text("")
    os.utime(out / "kept/deep/file", (1_000_000_000, 1_000_000_000))
    inode = out.stat().st_ino
    script = """
    rm gone; mkdir -m 555 shut; echo script > run; chmod 755 run; ln -s /usr/bin/true link; ln run again
    printf more >> kept/deep/file; touch -d @1100000000 old; mkfifo pipe; : > "new
line"; chmod 4755 run
    """
    bind = Bind(source=out, target=PurePosixPath("/opt/out"), writable=True)
    runner.run(Command(argv=("sh", "-euc", script), cwd="/opt/out", binds=(bind,)))
    found = {str(path.relative_to(out)): path for path in out.rglob("*") if not path.is_fifo()}
    assert sorted(found) == ["again", "kept", "kept/deep", "kept/deep/file", "link", "new\nline", "old", "run", "shut"]
    assert found["kept/deep/file"].read_text() == "beforemore"
    assert (found["run"].stat().st_mode & 0o777, found["shut"].stat().st_mode & 0o777) == (0o755, 0o555)
    assert found["link"].readlink() == Path("/usr/bin/true")
    assert found["again"].samefile(found["run"])
    assert found["old"].stat().st_mtime == 1_100_000_000
    assert {path.lstat().st_uid for path in found.values()} == {os.getuid()}
    assert out.stat().st_ino == inode


@pytest.mark.integration
def test_a_program_that_is_killed(runner: Runner) -> None:
    assert runner.run(Command(argv=("sh", "-c", "kill -KILL $$")), check=False).returncode == 128 + signal.SIGKILL
    assert runner.run(Command(argv=("sh", "-c", "kill -TERM $$")), check=False).returncode == 128 + signal.SIGTERM


@pytest.mark.integration
def test_full_memory_is_the_build_s_own(runner: Runner) -> None:
    """Each run begins with empty folders, and cannot take more of the machine's memory than a part."""
    script = "fallocate -l 1P /tmp/x || echo full; echo 1 > /tmp/y; ls -A /tmp"
    for _ in range(2):
        assert runner.run(Command(argv=("sh", "-c", script), capture=True)).stdout == b"full\nx\ny\n"
