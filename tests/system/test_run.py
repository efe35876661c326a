"""Programs: their output, their end, and that nothing of them is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildonce.errors import BuildError, MissingToolError
from buildonce.model import Command
from buildonce.system.run import HostRunner


def shell(script: str, *, capture: bool = False, timeout: float | None = None) -> Command:
    return Command(argv=("sh", "-c", script), capture=capture, timeout=timeout)


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < end, "it is still running"
        time.sleep(0.05)


def test_data_and_log_are_kept_apart(tmp_path: Path) -> None:
    log = tmp_path / "log" / "a.log"
    outcome = HostRunner().run(shell("echo data; echo told >&2", capture=True), log=log)
    assert (outcome.returncode, outcome.stdout, outcome.tail) == (0, b"data\n", "told")
    HostRunner().run(shell("echo more"), log=log)
    assert log.read_text().splitlines() == [
        "+ sh -c 'echo data; echo told >&2'", "told", "+ sh -c 'echo more'", "more",
    ]  # fmt: skip


def test_a_failure_shows_its_end(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="sh ended with exit code 3") as caught:
        HostRunner().run(shell("seq 100; exit 3"), log=tmp_path / "log")
    assert caught.value.log.splitlines() == [str(n) for n in range(61, 101)]
    assert caught.value.log_path == str(tmp_path / "log")
    assert HostRunner().run(shell("exit 3"), check=False).returncode == 3


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(MissingToolError, match="no-such-tool") as caught:
        HostRunner().run(Command(argv=("/usr/bin/no-such-tool",)))
    assert caught.value.exit_code == 5


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_USER", "kept")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    command = Command(argv=("sh", "-c", "echo $OF_THE_USER $LC_ALL $X"), environment=(("X", "x"),), capture=True)
    assert HostRunner().run(command).stdout == b"kept C.UTF-8 x\n"


def test_a_program_that_asks_gets_no_answer() -> None:
    assert HostRunner().run(shell("cat", capture=True)).stdout == b""


def test_time_is_up(tmp_path: Path) -> None:
    script = f"echo $$ >{tmp_path}/pid; sleep 60"
    with pytest.raises(BuildError, match="did not end within 1 s"):
        HostRunner().run(shell(script, timeout=1))
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_ctrl_c_ends_all_that_was_started(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait"
    program = (
        "from buildonce.model import Command; from buildonce.system.run import HostRunner; "
        f"HostRunner().run(Command(argv=('sh', '-c', {script!r})))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 30
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) != 0
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_stop_ends_the_programs_of_all_threads_and_starts_no_other() -> None:
    runner = HostRunner()
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(runner.run, shell("sleep 60"), check=False) for _ in range(2)]
        while len(runner._running) < 2:
            time.sleep(0.01)
        runner.stop()
        for job in jobs:
            with pytest.raises(KeyboardInterrupt):  # not an outcome: half of its work must not be kept
                job.result()
    assert time.monotonic() - began < 30
    with pytest.raises(KeyboardInterrupt):
        runner.run(shell("exit 0"))


def test_stop_again_is_without_mercy() -> None:
    runner = HostRunner()
    with ThreadPoolExecutor() as pool:
        job = pool.submit(runner.run, shell("trap '' TERM; echo ready; while :; do sleep 0.1; done"), check=False)
        while not runner._running:
            time.sleep(0.01)
        time.sleep(0.3)
        runner.stop()
        runner.stop()
        with pytest.raises(KeyboardInterrupt):
            job.result()


def test_a_known_program_that_is_missing_comes_with_its_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError) as caught:
        HostRunner().run(Command(argv=("git", "--version")))
    assert caught.value.problems[0].hint == "sudo apt-get install git"
