"""The image, from its archive alone: docker, podman and skopeo take it, and it serves with the least of rights."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import hosts, images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Built
    from tests.integration.hosts import Host

Podman = Callable[..., str]


@pytest.fixture(scope="module")
def image(first: Built) -> Iterator[Any]:
    with images.loaded(first) as image:
        yield image


@pytest.fixture(scope="module")
def host(image: Any) -> Iterator[Host]:
    with images.strictly(image) as host:
        yield host


def test_it_serves(host: Host, first: Built) -> None:
    hosts.until(lambda: host.healthy(version=first.version, status="ok"), told=host.told)


def test_the_engine_finds_it_healthy(host: Host) -> None:
    def health() -> str:
        host.container.reload()
        return str(host.container.attrs["State"]["Health"]["Status"])

    hosts.until(lambda: health() == "healthy", told=lambda: str(host.container.attrs["State"]))


def test_it_runs_as_nobody_in_particular_and_can_do_nothing(host: Host) -> None:
    """The facts of every process of the container, as the kernel tells them."""
    read = "import pathlib; print(*(p.read_text() for p in pathlib.Path('/proc').glob('[0-9]*/status')))"
    facts = host.run("/usr/bin/python3.11", "-I", "-S", "-c", read)
    rows = [line.split() for line in facts.splitlines() if line.strip()]
    for key in ("Uid:", "Gid:"):
        assert {tuple(row[1:]) for row in rows if row[0] == key} == {("65532",) * 4}
    for key in ("CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"):
        assert {row[1] for row in rows if row[0] == key} == {"0" * 16}
    assert {row[1] for row in rows if row[0] == "NoNewPrivs:"} == {"1"}
    write = "import os\nfor p in ('/', '/tmp', '/var/lib/orders', '/opt'): os.open(p, os.O_TMPFILE | os.O_RDWR)"
    assert "Read-only file system" in host.run("/usr/bin/python3.11", "-I", "-S", "-c", write, check=False)


def test_it_holds_no_shell_and_no_installer(host: Host) -> None:
    look = """
import importlib.util, os, pathlib
print([name for name in ("pip", "setuptools", "ensurepip", "wheel") if importlib.util.find_spec(name)])
unwanted = {"sh", "bash", "dash", "busybox", "apt", "dpkg", "perl", "gcc", "cc", "ld", "pip", "pip3", "curl", "wget"}
places = [place for top in ("/usr", "/opt", "/home", "/var") for place, _, names in os.walk(top) if unwanted & {*names}]
print([place for place in places if place.endswith("bin")])
print(pathlib.Path("/proc/net/route").read_text().splitlines()[1:])
"""
    assert host.run("python", "-c", look).splitlines() == ["[]"] * 3


def test_it_stops_when_it_is_told(image: Any, first: Built) -> None:
    with images.strictly(image) as host:
        hosts.until(lambda: host.healthy(version=first.version), told=host.told)
        start = time.monotonic()
        host.container.kill("SIGTERM")
        status = host.container.wait(timeout=20)["StatusCode"]
        assert time.monotonic() - start < 3
        assert status in {0, 128 + 15}
        assert "Application shutdown complete" in host.told()


@pytest.fixture
def podman() -> Iterator[Podman]:
    """With a store of the test's own, in a short path: podman refuses one of over 50 characters."""
    folder = tempfile.mkdtemp(prefix="podman-")
    options = ("--root", f"{folder}/root", "--runroot", f"{folder}/run")

    def run(*argv: str | Path) -> str:
        return subprocess.run(["podman", *options, *argv], check=True, capture_output=True, text=True).stdout.strip()

    try:
        yield run
    finally:
        run("rm", "--all", "--force", "--time", "0")
        run("rmi", "--all", "--force")
        shutil.rmtree(folder)


def test_podman_loads_and_runs_it(podman: Podman, image: Any, first: Built) -> None:
    _, _, name = podman("load", "--quiet", "--input", first.file("oci")).rpartition(" ")
    (facts,) = json.loads(podman("image", "inspect", name))
    assert f"sha256:{facts['Id']}" == image.id
    assert facts["User"] == "65532:65532"
    assert facts["Labels"]["org.opencontainers.image.version"] == first.version

    # Limits that every machine can set: podman's own are higher than some containers in containers may ask for.
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    rights = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    podman("run", "--detach", "--name", "orders", *limits, *rights, name)
    script, url = (hosts.HERE / "ask.py").read_text("utf-8"), "http://127.0.0.1:8000/health"

    def health() -> tuple[int, str]:
        said = podman("exec", "orders", "/usr/bin/python3.11", "-I", "-S", "-c", script, "GET", url, "null")
        status, text = json.loads(said)
        return status, text

    hosts.until(lambda: health()[0], told=lambda: podman("logs", "orders"))
    status, text = health()
    assert (status, json.loads(text)["version"]) == (200, first.version)


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_skopeo_inspects_and_copies_it(image: Any, first: Built, tmp_path: Path, transport: str) -> None:
    reference = f"{transport}:{first.file('oci')}"
    inspected = subprocess.run(["skopeo", "inspect", reference], check=True, capture_output=True).stdout
    assert json.loads(inspected)["Labels"]["org.opencontainers.image.version"] == first.version
    subprocess.run(["skopeo", "copy", "--quiet", reference, f"dir:{tmp_path / 'out'}"], check=True)
    copied = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert copied["config"]["digest"] == image.id
