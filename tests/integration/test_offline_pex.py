"""The pex on a host that has the interpreter and libpq5 from carried .deb files, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration import hosts

if TYPE_CHECKING:
    from tests.integration.conftest import Built
    from tests.integration.hosts import Host

SOMEBODY = "4711:4711"


@pytest.fixture(scope="module")
def pex(python_host: Host, first: Built) -> str:
    """Its place on the host."""
    return python_host.put(first.file("pex"), "/srv/pex")


def test_it_runs(python_host: Host, pex: str, first: Built) -> None:
    assert python_host.run(pex, "--version").strip() == first.version


def test_it_runs_for_somebody_whose_home_cannot_be_written(python_host: Host, pex: str, first: Built) -> None:
    home = {"HOME": "/home/shut"}
    assert "Read-only file system" in python_host.run("touch", "/home/shut/x", check=False)
    said = python_host.run(pex, "--version", user=SOMEBODY, environment=home)
    assert said.splitlines()[-1] == first.version


def test_it_serves(python_host: Host, pex: str, first: Built) -> None:
    serves(python_host, pex, first)


def serves(host: Host, pex: str, release: Built) -> None:
    host.container.exec_run(
        [pex, "serve"], detach=True, user=SOMEBODY, environment={"HOME": "/home/shut", "ORDERS_PORT": "8100"}
    )
    hosts.until(lambda: host.ask("GET", "/health", port=8100)[0])
    status, facts = host.ask("GET", "/health", port=8100)
    assert (status, facts["version"]) == (200, release.version)
