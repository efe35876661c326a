"""The image, from its archive alone: docker, podman and skopeo take it, and it serves with the least of rights."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import hosts, images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Built
    from tests.integration.hosts import Host


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
    rows = [line.split() for line in facts.splitlines()]
    for key in ("Uid:", "Gid:"):
        assert {tuple(row[1:]) for row in rows if row[0] == key} == {("65532",) * 4}
    for key in ("CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"):
        assert {row[1] for row in rows if row[0] == key} == {"0" * 16}
    assert {row[1] for row in rows if row[0] == "NoNewPrivs:"} == {"1"}
    write = "import os\nfor p in ('/', '/tmp', '/var/lib/orders', '/opt'): os.open(p, os.O_TMPFILE | os.O_RDWR)"
    assert "Read-only file system" in host.run("/usr/bin/python3.11", "-I", "-S", "-c", write, check=False)


def test_it_holds_no_shell_and_no_installer(host: Host) -> None:
    look = """
import glob, importlib.util as u, pathlib, socket
print([m for m in ("pip", "setuptools", "ensurepip", "wheel") if u.find_spec(m)])
names = ("sh", "bash", "dash", "apt", "dpkg", "gcc", "cc", "ld", "pip", "pip3", "curl", "wget", "perl")
print([p for n in names for p in glob.glob(f"/**/bin/{n}", recursive=True)])
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


def test_podman_loads_it(image: Any, first: Built, tmp_path: Path) -> None:
    """Into a store of the test's own. Whether podman can also run it depends on the machine, not on the image."""
    own = ["podman", "--root", tmp_path / "root", "--runroot", tmp_path / "run", "--storage-driver", "vfs"]
    try:
        done = subprocess.run(
            [*own, "load", "--quiet", "--input", first.file("oci")], check=True, capture_output=True, text=True
        )
        _, _, name = done.stdout.strip().rpartition(" ")
        inspected = subprocess.run([*own, "image", "inspect", name], check=True, capture_output=True).stdout
        (facts,) = json.loads(inspected)
    finally:
        shutil.rmtree(tmp_path / "root")
    assert f"sha256:{facts['Id']}" == image.id
    assert facts["User"] == "65532:65532"
    assert facts["Labels"]["org.opencontainers.image.version"] == first.version


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_skopeo_inspects_and_copies_it(image: Any, first: Built, tmp_path: Path, transport: str) -> None:
    reference = f"{transport}:{first.file('oci')}"
    inspected = subprocess.run(["skopeo", "inspect", reference], check=True, capture_output=True).stdout
    assert json.loads(inspected)["Labels"]["org.opencontainers.image.version"] == first.version
    subprocess.run(["skopeo", "copy", "--quiet", reference, f"dir:{tmp_path / 'out'}"], check=True)
    copied = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert copied["config"]["digest"] == image.id
