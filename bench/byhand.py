"""The same work as people do it by hand, in the same userland: build, pip, pex, dh-virtualenv, docker build.

Every step has its files at hand: nothing is fetched while the clock runs, neither here nor there. Where this way has
choices, it takes the quicker one that is common: no isolation twice, wheels from the wheelhouse, no cache to warm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HERE = Path(__file__).resolve().parent
TOOLS = ("build", "pex", "setuptools", "setuptools-scm", "wheel")
PYTHON = "/usr/bin/python3.11"


class StepError(Exception):
    """A step ended with an error; the message is what it said last."""


@dataclass(frozen=True)
class Bench:
    """A userland, read-only, with one writable folder that it sees as /build."""

    root: Path
    folder: Path
    name: str
    log: Path

    def run(self, script: str) -> None:
        """Lines of shell in the userland, without network."""
        inside = ("--ro-bind", str(self.root), "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp")
        sandbox = ("--unshare-all", "--uid", "0", "--gid", "0", "--die-with-parent", "--clearenv")
        environment = {
            "PATH": "/build/tools/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",
            "LC_ALL": "C.UTF-8",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "/build/fetched",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        settings = [part for pair in environment.items() for part in ("--setenv", *pair)]
        bound = ("--bind", str(self.folder), "/build", "--chdir", "/build/src")
        self.said(["bwrap", *sandbox, *inside, *bound, *settings, "sh", "-euxc", script])

    def said(self, command: list[str]) -> None:
        with self.log.open("ab") as log:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            tail = self.log.read_text(errors="replace").splitlines()[-15:]
            raise StepError("\n".join([f"{command[0]} ended with {done.returncode}", *tail]))


def prepare(bench: Bench, source: Path, files: Iterable[Path], pins: Iterable[str]) -> None:
    """Everything that is there before the clock starts: sources, locked files, tools, the debian folder."""
    fetched = bench.folder / "fetched"
    fetched.mkdir(parents=True)
    for path in files:
        shutil.copy2(path, fetched / path.name)
    python = ("--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp")
    bench.said([sys.executable, "-m", "pip", "download", "--quiet", *python, "--dest", str(fetched), *TOOLS])
    bench.said(["git", "clone", "--quiet", str(source), str(bench.folder / "src")])
    (bench.folder / "src/requirements.txt").write_text("".join(f"{pin}\n" for pin in pins))
    shutil.copytree(HERE / "debian", bench.folder / "src/debian")
    for path in (bench.folder / "src/debian").iterdir():
        path.write_text(path.read_text().replace("@NAME@", bench.name))
    (bench.folder / "src/debian/rules").chmod(0o755)
    bench.run(f"{PYTHON} -m venv /build/tools; pip install --quiet {' '.join(TOOLS)}")


def steps(bench: Bench) -> dict[str, Callable[[], None]]:
    """What is timed, in the order of the work."""
    pex = "pex -r requirements.txt --no-pypi --find-links /build/wheelhouse"
    wheels = "pip wheel --wheel-dir /build/wheelhouse"
    return {
        "build": lambda: bench.run("python -m build --outdir /build/dist"),
        "wheelhouse": lambda: bench.run(f"{wheels} -r requirements.txt /build/dist/*.whl"),
        "pex": lambda: bench.run(f"{pex} /build/dist/*.whl -c {bench.name} -o /build/{bench.name}.pex"),
        "deb": lambda: bench.run("PIP_FIND_LINKS='/build/wheelhouse /build/fetched' dpkg-buildpackage -us -uc -b"),
    }


def timed(step: Callable[[], None]) -> float:
    """Seconds."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


DOCKERFILE = """\
FROM {base}
RUN python3.11 -m venv /opt/venv
COPY wheelhouse /wheelhouse
COPY dist /dist
RUN /opt/venv/bin/pip install --no-index --find-links /wheelhouse /dist/*.whl
CMD ["/opt/venv/bin/{name}"]
"""


def docker_is_there() -> bool:
    """Whether an engine answers, and mmdebstrap can make it a base image."""
    if shutil.which("docker") is None or shutil.which("mmdebstrap") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def docker_step(bench: Bench) -> Callable[[], None]:
    """The image from a Dockerfile; its base is made now."""
    sys.path.insert(0, str(HERE.parent))
    from tests.integration.hosts import Image

    base = Image(name="python", packages=("python3.11", "python3.11-venv", "libpq5")).tag()
    context = bench.folder
    (context / "Dockerfile").write_text(DOCKERFILE.format(base=base, name=bench.name))
    (context / ".dockerignore").write_text("*\n!wheelhouse\n!dist\n")
    tag = f"buildonce-bench/{bench.name}:{os.getpid()}"

    def step() -> None:
        bench.said(["docker", "build", "--network", "none", "--no-cache", "--tag", tag, str(context)])
        subprocess.run(["docker", "image", "rm", tag], capture_output=True, check=False)

    return step
