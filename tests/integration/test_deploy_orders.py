"""`examples/orders` with a real PostgreSQL, in every form and from every source: first, again, the next version, back.

Each form has a host of its own, all at the same time in one fleet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import fleet as fleets
from tests.integration import hosts
from tests.integration.deploying import Deployer, environment, sound, status
from tests.integration.fleet import DOCKER, IMAGE, Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Built, Example
    from tests.integration.fleet import Fleet

# What the application's own needs of Debian are; the host that gets a bundle has them from there.
READY = Engine(image=hosts.Image(name="fleet-orders", packages=(*IMAGE.packages, "libpq5")), options={})
HOSTS = {"bundle": Engine(image=IMAGE, options={}), "apt": READY, "pex": READY, "wheelhouse": READY, "oci": DOCKER}
SETTINGS: dict[str, dict[str, Any]] = {
    "bundle": {"format": "deb"},
    "apt": {"format": "deb", "source": "apt", "publish": "debian"},
    "pex": {"format": "pex"},
    "wheelhouse": {"format": "wheelhouse"},
    "oci": {"format": "oci"},
}


@dataclass(frozen=True)
class Site:
    """The fleet, and somebody who deploys orders to it."""

    fleet: Fleet
    ana: Deployer
    repository: Path
    versions: tuple[str, str]
    too_much: dict[str, str]  # what a host had before anything was deployed and no installation may need


@pytest.fixture(scope="module")
def site(orders: Example, first: Built, second: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("orders")
    repository = folder / "debian"
    repository.mkdir()
    with fleets.running(0, balancer=True, engines=HOSTS, database=True, backend="orders") as fleet:
        url = fleet.web(repository)
        more = f'\n[tool.release.publish.debian]\ntype = "apt"\npath = "{repository}"\nurl = "{url}"\n'
        for name, settings in SETTINGS.items():
            more += environment(name, fleet.inventory_of(name), timeout=60, guard=120, **settings)
        place = orders.root / "pyproject.toml"
        before = place.read_text()
        place.write_text(before + more)
        try:
            for release in (first, second):
                orders.release("publish", str(release.folder), "--to", "debian")
            fleet.web(repository)
            ana, versions = Deployer(orders, folder / "state"), (first.version, second.version)
            yield Site(fleet, ana, repository, versions, {name: fleet.too_much(name) for name in HOSTS})
        finally:
            place.write_text(before)


@pytest.mark.parametrize("form", SETTINGS)
def test_its_life(site: Site, form: str) -> None:
    """What was ordered is there through all of it."""
    old, new = site.versions
    host = site.fleet.nodes[form]
    assert site.fleet.database is not None
    url = site.fleet.database.make(form)
    # An administrator's settings are there before anything is deployed.
    host.run(
        "sh",
        "-euc",
        'mkdir -p /etc/orders; umask 077; printf "%s\\n" "$1" >/etc/orders/env',
        "-",
        f"ORDERS_DATABASE_URL={url}",
    )

    def whole(version: str) -> None:
        kind = SETTINGS[form]["format"]
        sound(site.fleet, version, form, form=kind, name="orders")
        code, facts = host.ask("GET", "/health")
        assert (code, facts["database"]) == (200, "postgresql")

    first = site.ana.report("deploy", form, old)
    assert first.states == {form: "confirmed"}, first.said(form)
    whole(old)
    code, made = host.ask("POST", "/orders", {"item": "a kettle", "quantity": 2})
    assert code == 201

    assert site.ana.report("deploy", form, old).verdict == "unchanged"

    assert site.ana.report("deploy", form, new).versions == {form: (old, new)}
    whole(new)
    assert host.ask("GET", f"/orders/{made['id']}") == (200, {"id": made["id"], "item": "a kettle", "quantity": 2})

    if form == "oci":  # containers of the unit, not of the engine, come back with the machine
        site.fleet.power_cut(form)
        hosts.until(lambda: host.healthy(version=new), told=lambda: host.run("journalctl", "-u", "orders"))
    assert site.ana.report("rollback", form).versions == {form: (new, old)}
    whole(old)
    assert host.ask("GET", f"/orders/{made['id']}")[0] == 200
    events = [line["event"] for line in status(host, "orders")["history"]]
    assert events == ["confirmed"] * 3


def test_bare(site: Site) -> None:
    """None of the hosts had what an installation must not need."""
    assert site.too_much == dict.fromkeys(HOSTS, "")


def test_what_is_not_published(site: Site) -> None:
    found = site.ana.report("deploy", "apt", "9.9.9", code=1)
    assert found.verdict == "aborted"
    assert "not published" in found.said("apt")
