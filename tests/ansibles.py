"""The versions of Ansible that the recipe is for: the newest, of the environment of the tests, and the oldest."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import uv
from platformdirs import user_cache_path

__all__ = ["newest", "oldest"]


def newest() -> Path:
    """The folder of its programs."""
    return Path(sys.executable).parent


def oldest() -> Path:
    """The same of ansible-core 2.14, which Debian 12 has: installed once, from the index of this machine."""
    cache = user_cache_path("buildonce", ensure_exists=True)
    place = cache / "test-ansible-2.14"
    with (cache / "test-ansible-2.14.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of the tests make it once
        if not (place / "made").exists():
            # The last Python that it runs on is 3.11.
            subprocess.run([uv.find_uv_bin(), "venv", "-q", "--clear", "--python", "3.11", place], check=True)
            subprocess.run(
                [
                    uv.find_uv_bin(),
                    "pip",
                    "install",
                    "-q",
                    "--python",
                    place / "bin/python",
                    "ansible-core>=2.14,<2.15",
                ],
                check=True,
            )
            (place / "made").touch()
    return place / "bin"
