"""The wheelhouse on a host that has the interpreter and libpq5 from carried .deb files, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uv

from tests.oci.image_stage import download

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.conftest import Built
    from tests.integration.hosts import Host

HOUSE = "/srv/house"
PYTHON = "/usr/bin/python3.11"


@pytest.fixture(scope="module")
def host(python_host: Host, first: Built) -> Host:
    """The host, with the unpacked wheelhouse, and with pip and uv as the files that they are."""
    packed = python_host.put(first.file("wheelhouse"), "/srv")
    python_host.sh(f"mkdir {HOUSE}; tar -xf '{packed}' -C {HOUSE}; rm '{packed}'")
    python_host.put(Path(uv.find_uv_bin()), "/srv/tools")
    (pip,) = download("pip==26.3")
    place = python_host.put(pip, "/srv/tools")
    python_host.sh(
        f"""printf '#!/bin/sh\\nexec "$VIRTUAL_ENV/bin/python" {place}/pip "$@"\\n' >/srv/tools/pip
        chmod +x /srv/tools/pip"""
    )
    return python_host


def manual(host: Host) -> list[str]:
    """The commands of the README that lies in the wheelhouse."""
    text = host.run("cat", f"{HOUSE}/README.txt")
    return [line.split("   ")[0] for line in re.findall(r"^    (.*)$", text, flags=re.MULTILINE)]


def works(host: Host, environment: str, first: Built) -> None:
    """Everything can be imported, exactly the locked set is there, and the command tells the version."""
    python = f"{environment}/bin/python"
    assert host.run(f"{environment}/bin/orders", "--version").strip() == first.version
    modules = (
        "import cryptography.hazmat.bindings._rust, fastapi, orders.app, psycopg2, pydantic_core, sqlalchemy, uvicorn"
    )
    host.run(python, "-I", "-c", modules)
    listing = "import importlib.metadata as m; print(*sorted(f'{d.name}=={d.version}' for d in m.distributions()))"
    found = host.run(python, "-I", "-c", listing).split()
    locked = re.findall(r"^([^ ]+) --hash", host.run("cat", f"{HOUSE}/requirements.txt"), flags=re.MULTILINE)
    assert sorted(map(normal, found)) == sorted(map(normal, locked))


def normal(pin: str) -> str:
    name, _, version = pin.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


def lays_the_tree(host: Host, first: Built, tree: Mapping[str, str]) -> None:
    """The wheelhouse's own installer makes *tree*."""
    command = manual(host)[0]
    assert command == "sh install.sh /opt/venvs/orders"
    said = host.sh(f"cd {HOUSE}; {command}")
    assert said == f"orders {first.version} is installed in /opt/venvs/orders\n"

    works(host, "/opt/venvs/orders", first)
    sums = host.sh("find opt/venvs/orders -type f | LC_ALL=C sort | xargs -d '\\n' sha256sum").splitlines()
    assert {line[66:]: line[:64] for line in sums} == tree
    again = host.sh(f"cd {HOUSE}; {command}")
    assert again == f"orders {first.version} is installed already in /opt/venvs/orders\n"


def test_its_own_installer_lays_the_tree(host: Host, first: Built) -> None:
    """Byte for byte what the deb and the image of this release hold."""
    lays_the_tree(host, first, first.tree)


@pytest.mark.parametrize("line", [1, 2, 3])
def test_pip_and_uv_install_it_as_the_readme_says(host: Host, first: Built, line: int) -> None:
    command = manual(host)[line]
    assert command.startswith(("pip install", "uv pip sync"))
    environment = f"/srv/by-{line}"
    tools = {"PATH": "/srv/tools:/usr/bin:/bin", "VIRTUAL_ENV": environment}
    host.sh(f"{PYTHON} -m venv --without-pip {environment}; cd {HOUSE}; {command}", environment=tools)
    works(host, environment, first)


def test_every_command_of_the_readme_is_run_here(host: Host) -> None:
    assert [command.split()[0] for command in manual(host)] == ["sh", "pip", "pip", "uv"]


def test_a_changed_wheel_is_refused_and_leaves_nothing(host: Host) -> None:
    host.sh(f"cp -r {HOUSE} /srv/changed; cd /srv/changed; printf x >>$(ls wheels/orders-*.whl)")
    said = host.run("sh", "/srv/changed/install.sh", "/srv/never", check=False)
    assert "was changed: its sha256 is not" in said
    assert host.run("sh", "-c", "ls -d /srv/never /srv/.never*", check=False).count("No such file") == 2
