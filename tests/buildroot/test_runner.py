"""The sandbox: what is said when there is none. What it does is in ``test_ways.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from buildonce.buildroot import RootRunner, check
from buildonce.errors import MissingToolError
from buildonce.model import Command
from buildonce.system.run import HostRunner

if TYPE_CHECKING:
    from pathlib import Path


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


_MOUNTS_COME_AND_GO = """
mkdir $(seq 60)
while :; do for i in $(seq 60); do mount -t tmpfs none $i; done; for i in $(seq 60); do umount $i; done; done &
"$1" -c 'from buildonce.buildroot import check; from buildonce.system.run import HostRunner as Host
for time in range(100): check(Host())'
answer=$?
kill $!
exit $answer
"""


@pytest.mark.integration
def test_mounts_that_come_and_go_beside_the_check(tmp_path: Path) -> None:
    """As those of a Docker engine's containers do: bwrap gives up when one is gone that it was about to copy."""
    unshare = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "shared")
    argv = (*unshare, "sh", "-c", _MOUNTS_COME_AND_GO, "sh", sys.executable)
    subprocess.run(argv, cwd=tmp_path, check=True)
