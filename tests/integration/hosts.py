"""Hosts to install on: containers made from Debian packages, without network, compiler, pip or setuptools.

Their images are made by mmdebstrap from the user's own apt sources and kept in the Docker engine under a name
that follows from their recipe. Nothing is pulled from any registry. Containers and volumes carry the label
``LABEL``: ``docker ps -a --filter label=org.buildonce.test`` lists what a killed test run left behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
from platformdirs import user_cache_path

from buildonce import target as targets
from buildonce.debs import lock as deb_lock
from buildonce.system import engine as engines
from buildonce.system import execution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from docker.models.containers import Container

    from buildonce.system.execution import Ended

__all__ = [
    "HERE",
    "HOST",
    "HOSTS",
    "IDLE",
    "LABEL",
    "POSTGRESQL",
    "Host",
    "Image",
    "engine",
    "left_in_the_engine",
    "running",
    "until",
    "volume",
]

LABEL = "org.buildonce.test"
HERE = Path(__file__).parent

# A host that waits to be told what to do.
IDLE = ("sleep", "infinity")

# What systemd 256 and later want to hear where cgroups are of version 1; in a container it is an argument of init.
LEGACY = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"

# Timers and services that write or take apt's lock at times of their own, or want hardware.
UNWANTED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("systemd-tmpfiles-clean.timer", "console-getty.service", "getty.target", "systemd-logind.service"),
    *("dev-hugepages.mount", "sys-fs-fuse-connections.mount", "systemd-udevd.service"),
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """A recipe: the packages that are there beside apt."""

    name: str
    packages: tuple[str, ...]
    target: str = "debian-12"

    def tag(self) -> str:
        """The image in the local engine, made when it is not there."""
        command = self._command()
        recipe = hashlib.sha256(repr(command).encode()).hexdigest()[:12]
        tag = f"buildonce-test/{self.name}:{recipe}"
        place = user_cache_path("buildonce", ensure_exists=True) / f"test-image-{recipe}.lock"
        with engine() as client, place.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of the tests make it once
            try:
                client.images.get(tag)
            except docker.errors.ImageNotFound:
                self._make(client, command, tag)
        return tag

    def _command(self) -> tuple[str, ...]:
        # Complete packages, man pages too: dpkg later takes folders that were left out from lists of other packages.
        # The sources of apt are the builder's; a host without network has none.
        tidy = 'rm -f "$1"/etc/apt/sources.list.d/*; : >"$1"/etc/apt/sources.list'
        quiet = f'test ! -e "$1"/bin/systemctl || systemctl --quiet --root="$1" mask {" ".join(UNWANTED)}'
        return (
            *("mmdebstrap", "--quiet", "--variant=apt", '--aptopt=APT::Install-Recommends "false"'),
            *(f"--include={','.join(self.packages)}", f"--customize-hook={quiet}", f"--customize-hook={tidy}"),
            *(targets.load(self.target).codename, "-", "-"),
        )

    def _make(self, client: docker.DockerClient, command: tuple[str, ...], tag: str) -> None:
        sources = deb_lock.sources(targets.load(self.target)).encode()
        repository, version = tag.split(":")
        with tempfile.TemporaryFile() as packed:  # a stream into the engine would hide why mmdebstrap failed
            subprocess.run(command, input=sources, stdout=packed, check=True)
            packed.seek(0)
            client.api.import_image(packed, repository=repository, tag=version, changes=[f"LABEL {LABEL}={self.name}"])


# systemd and apt, nothing of Python.
HOST = Image(name="host", packages=("systemd", "systemd-sysv", "dbus"))
HOSTS = {target: dataclasses.replace(HOST, target=target) for target in ("debian-12", "debian-13")}
POSTGRESQL = Image(name="postgresql", packages=("postgresql",))


@dataclass(frozen=True)
class Host:
    """A running container."""

    container: Container
    python: str = "/usr/bin/python3.11"

    def run(self, *argv: str, check: bool = True, user: str = "", environment: Mapping[str, str] | None = None) -> str:
        """What the command printed (both streams); fails the test when it failed, unless told otherwise."""
        ended = self.execute(*argv, user=user, environment=environment)
        assert not check or ended.code == 0, f"{' '.join(argv)} ended with {ended.code}:\n{ended.output}"
        return ended.output

    def execute(self, *argv: str, user: str = "", environment: Mapping[str, str] | None = None) -> Ended:
        """The same, whatever its exit code."""
        client = self.container.client.api
        return execution.execute(client, str(self.container.id), argv, user=user, environment=environment)

    def sh(self, script: str, *, user: str = "", environment: Mapping[str, str] | None = None) -> str:
        """The same for lines of shell; the first that fails ends it."""
        return self.run("sh", "-euc", script, user=user, environment=environment)

    def succeeds(self, *argv: str) -> bool:
        """Whether the command ends with 0."""
        return self.execute(*argv).code == 0

    def put(self, path: Path, folder: str) -> str:
        """Copy a file or folder into *folder* of the host; answers its place there."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.add(path, arcname=path.name)
        self.run("mkdir", "-p", folder)
        assert self.container.put_archive(folder, stream.getvalue())
        return f"{folder}/{path.name}"

    def ask(self, method: str, path: str, body: Any = None, *, port: int = 8000) -> tuple[int, Any]:
        """Status and JSON of an answer of the service on this host; status 0 when nobody answers."""
        script = (HERE / "ask.py").read_text("utf-8")
        url, sent = f"http://127.0.0.1:{port}{path}", json.dumps(body)
        said = self.run(self.python, "-I", "-S", "-c", script, method, url, sent)
        status, text = json.loads(said)
        return status, json.loads(text) if text else None

    def healthy(self, **expected: str) -> bool:
        """Whether ``/health`` answers 200 with *expected*."""
        status, facts = self.ask("GET", "/health")
        return status == 200 and expected.items() <= facts.items()

    def too_much(self) -> str:
        """What this host has and an installation must not need: network, compilers, pip, setuptools… Empty is good."""
        return self.run("sh", "-euc", (HERE / "bare.sh").read_text("utf-8"))

    def told(self) -> str:
        """What the container's process printed: for the message of a test that failed."""
        return str(self.container.logs(tail=50).decode(errors="replace"))


@contextlib.contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """The Docker engine that the environment names."""
    client = docker.from_env()
    try:
        yield client
    finally:
        client.close()


def left_in_the_engine() -> set[str]:
    """The marks of containers and volumes of builds that are over: by this process, or by one that is gone.

    Others run builds of their own meanwhile.
    """
    mine = engines.mark(0).partition("@")[0]
    with engine() as client:
        containers = client.api.containers(all=True, filters={"label": engines.LABEL})
        volumes = client.api.volumes(filters={"label": engines.LABEL})["Volumes"] or ()
    found = {one["Labels"][engines.LABEL] for one in (*containers, *volumes)}
    return {label for label in found if label.partition("@")[0] == mine or engines.left(label)}


@contextlib.contextmanager
def running(image: str, *, systemd: bool = False, target: str = "debian-12", **options: Any) -> Iterator[Host]:
    """A host of *target* without network, or on the *network* that is named. With *systemd* its init is process 1, as
    on a real machine; *cap_add* and *tmpfs* then say what it may beside and what is kept in memory.
    """
    quiet = {} if "network" in options else {"network_mode": "none"}
    options = {**quiet, "detach": True, "labels": {LABEL: "host"}, **options}
    if systemd:
        v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        cgroups = {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw" if v2 else "ro"}}
        options |= {
            # Units with a file system of their own need mounts that propagate; the engine makes them private.
            "command": ["sh", "-c", "mount --make-rshared / && exec /sbin/init " + LEGACY],
            "cap_add": ["SYS_ADMIN", "SYS_PTRACE", *options.get("cap_add", ())],
            "environment": {"container": "docker"},
            "stop_signal": "SIGRTMIN+3",
            "tmpfs": {"/run": "exec", "/run/lock": "", "/tmp": "exec", **options.get("tmpfs", {})},
            "volumes": {**cgroups, **options.get("volumes", {})},
            **({"cgroupns": "host"} if v2 else {}),
        }
    with engine() as client:
        container = client.containers.create(image, **options)
        try:
            container.start()
            host = Host(container, str(targets.load(target).interpreter))
            if systemd:
                up = ("running", "degraded")
                until(lambda: host.run("systemctl", "is-system-running", check=False).strip() in up, told=host.told)
            yield host
        finally:
            container.remove(force=True, v=True)


@contextlib.contextmanager
def volume() -> Iterator[str]:
    """The name of an empty volume, for containers that share a folder."""
    with engine() as client:
        made = client.volumes.create(labels={LABEL: "volume"})
        try:
            yield made.name
        finally:
            made.remove(force=True)


def until(happens: Callable[[], object], *, seconds: float = 60, told: Callable[[], str] = str) -> None:
    """Wait for something; fails the test with what *told* says when it does not happen."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, f"it did not happen within {seconds:g} s\n{told()}"
        time.sleep(0.2)
